from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.placement import MARKER, Box, name_points, place

FRAME = Box(0, 0, 400, 250)
somewhere = st.tuples(st.integers(60, 340), st.integers(30, 220))


@given(st.lists(somewhere, min_size=1, max_size=6, unique=True))
@settings(max_examples=30, deadline=None)
def test_few_names_never_overlap_each_other_and_stay_in_the_frame(points):
    placed = place(points, [(40, 8)] * len(points), [], FRAME)
    for one, other in combinations(placed, 2):
        assert one.box.overlap(other.box) == 0
    for each in placed:
        assert each.box.left >= 0 and each.box.right <= 400 and each.box.bottom >= 0 and each.box.top <= 250


@given(st.lists(somewhere, min_size=1, max_size=6, unique=True))
@settings(max_examples=30, deadline=None)
def test_a_name_never_hides_its_own_marker(points):
    for each in place(points, [(40, 8)] * len(points), [], FRAME):
        assert each.box.distance(each.point) > MARKER / 2


def test_a_lone_name_stands_right_beside_its_point_without_a_leader():
    (placed,) = place([(200, 100)], [(40, 8)], [], FRAME)
    assert placed.box.left == 207 and placed.leader is None


def test_a_name_at_the_right_edge_moves_to_the_left():
    (placed,) = place([(395, 100)], [(40, 8)], [], FRAME)
    assert placed.box.right < 395


def test_the_order_of_equal_points_does_not_change_from_run_to_run():
    points = [(100, 100), (100, 100), (100, 100)]
    assert place(points, [(40, 8)] * 3, [], FRAME) == place(points, [(40, 8)] * 3, [], FRAME)


def test_names_are_written_into_axes():
    from harness.analysis import style

    axes = style.new_figure(4, 3).subplots()
    axes.set(xlim=(0, 10), ylim=(0, 10))
    name_points(axes, [(2, 2), (8, 8)], ["left", "right"], lines=[[(0, 0), (10, 10)]])
    assert {text.get_text() for text in axes.texts} >= {"left", "right"}
