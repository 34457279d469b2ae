"""Groups of similar length within a batch, to reduce padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

MAX_GROUPS = 4
"""Maximum number of groups of a batch."""

GROUP_COST = 64
"""Cost of one more group, in tokens: the fixed cost of a forward and a backward pass.

On a CPU it is about 130 tokens for a student of 3 layers and hidden size 384, since a pass touches the gradient of the
complete embedding matrix, and less for larger students."""


def split_by_length(lengths: Sequence[int] | NDArray[np.int64], *, max_groups: int, group_cost: int) -> list[int]:
    """Split rows, sorted by length in descending order, into consecutive groups; return the group sizes.

    Minimizes the number of tokens, each group padded to its longest row, plus `group_cost` for each group, over all
    splits into at most `max_groups` groups. Of several optimal splits it returns one with the fewest groups. Exact, by
    dynamic programming in O(max_groups B^2) for B rows.
    """
    longest = np.asarray(lengths, dtype=np.int64)
    count = len(longest)
    ends = np.arange(count + 1)
    # tokens[first, end]: padded tokens of the group of rows first .. end - 1, whose first row is the longest.
    tokens = np.where(ends[None, :] > ends[:-1, None], longest[:, None] * (ends[None, :] - ends[:-1, None]), 2**60)
    best = tokens[0]  # [end], the first `end` rows in one group
    starts: list[NDArray[np.int64]] = []
    totals = [int(best[count]) + group_cost]
    for groups in range(2, min(max_groups, count) + 1):
        candidates = best[:-1, None] + tokens  # [start of the last group, end]
        starts.append(candidates.argmin(0))
        best = candidates.min(0)
        totals.append(int(best[count]) + group_cost * groups)
    groups = int(np.argmin(totals)) + 1
    cuts = [count]
    for last_start in reversed(starts[: groups - 1]):
        cuts.append(int(last_start[cuts[-1]]))
    edges = [0, *reversed(cuts)]
    return [end - first for first, end in pairwise(edges)]
