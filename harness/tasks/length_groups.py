"""The split of a batch into groups of examples of similar length, so that each group needs little padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MAX_GROUPS = 4
"""Groups of a batch at most."""

GROUP_COST = 64
"""What one more group costs, in padded tokens: a forward and a backward pass take some time however small the group is.
On a CPU that is about 130 tokens of a student of 3 layers and width 384 (a pass touches the gradient of the whole
embedding matrix), and fewer of larger ones."""


def split_by_length(lengths: Sequence[int] | NDArray[np.int64], *, most: int, cost: int) -> list[int]:
    """The sizes of the groups, in order, of rows that are sorted by length, the longest first.

    Minimises the padded tokens, each group padded to its longest row, plus `cost` for each group, over all splits into
    at most `most` consecutive groups. Of equally good splits it takes one with the fewest groups. Exact, by dynamic
    programming: O(`most` B^2) for B rows.
    """
    longest = np.asarray(lengths, dtype=np.int64)
    count = len(longest)
    ends = np.arange(count + 1)
    # tokens[first, end]: of the group of rows first .. end - 1, padded to its longest row, which is its first one.
    tokens = np.where(ends[None, :] > ends[:-1, None], longest[:, None] * (ends[None, :] - ends[:-1, None]), 2**60)
    best = tokens[0]  # of the first `end` rows in one group
    starts: list[NDArray[np.int64]] = []
    totals = [int(best[count]) + cost]
    for groups in range(2, min(most, count) + 1):
        ways = best[:-1, None] + tokens  # [start of the last group, end]
        starts.append(ways.argmin(0))
        best = ways.min(0)
        totals.append(int(best[count]) + cost * groups)
    groups = int(np.argmin(totals)) + 1
    cuts = [count]
    for chosen in reversed(starts[: groups - 1]):
        cuts.append(int(chosen[cuts[-1]]))
    edges = [0, *reversed(cuts)]
    return [end - first for first, end in pairwise(edges)]
