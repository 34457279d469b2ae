"""The front against its definition, on points with many ties."""

from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.pareto_front import front, staircase

grid = st.integers(0, 4).map(float)
points = st.lists(st.tuples(grid, grid), max_size=12)


def dominates(one, other):
    return one != other and one[0] <= other[0] and one[1] <= other[1]


@given(points)
def test_the_front_consists_of_the_points_that_no_other_dominates(values):
    items = list(enumerate(values))  # equal points are still different items
    expected = [item for item in items if not any(dominates(other, item[1]) for other in values)]
    assert sorted(front(items, lambda item: item[1])) == expected


@given(points)
def test_the_front_is_sorted_and_stable(values):
    optimal = front(enumerate(values), lambda item: item[1])
    assert optimal == sorted(optimal, key=lambda item: (item[1][0], item[0]))


def test_equal_points_are_on_the_front_together():
    assert front("aabc", {"a": (1.0, 1.0), "b": (1.0, 2.0), "c": (2.0, 0.5)}.__getitem__) == ["a", "a", "c"]


def test_the_staircase_bounds_what_the_front_dominates():
    """A model at cost 2 is only as good as the one at cost 1: the line rises where the next model is."""
    corners = [(1.0, 10.0), (3.0, 20.0)]
    assert staircase(corners, 5.0, 0.0) == [(1.0, 0.0), (1.0, 10.0), (3.0, 10.0), (3.0, 20.0), (5.0, 20.0)]
    assert staircase(corners[:1], 5.0, 0.0) == [(1.0, 0.0), (1.0, 10.0), (5.0, 10.0)]
