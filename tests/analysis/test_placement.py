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


def test_no_leader_strikes_through_the_name_of_another_point():
    points = [
        *((287, 104), (210, 119), (189, 105), (104, 102), (100, 92), (163, 99)),
        *((97, 116), (217, 116), (90, 97), (125, 100), (180, 98), (75, 91)),
    ]
    placed = place(points, [(60, 8)] * len(points), [], FRAME)
    leaders = [each for each in placed if each.leader is not None]
    assert len(leaders) > 3
    for each in leaders:
        x, y = each.leader
        spots = [(each.point[0] + x * part / 50, each.point[1] + y * part / 50) for part in range(51)]
        for other in placed:
            assert other is each or min(map(other.box.distance, spots)) > 0


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
