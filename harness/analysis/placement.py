"""Names beside points, without overlap: each goes where it hides least, nearest first.

Lengths are in points (1/72 inch), so that what is found holds at any resolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import cos, hypot, radians, sin
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REACHES = (7, 12, 18, 25, 33, 42)
"""Distances from point to text that are tried."""
ANGLES = (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200)
"""Directions that are tried, in degrees, the nicest first."""
LEADER = 10
"""Texts further from their point than this get a thin line to it."""
CROSSING = 0.3
"""What hiding a part of a line costs, beside hiding as much of a marker or a text."""
MARKER = 4
"""Half the width of a marker."""

Point = tuple[float, float]


class Box(NamedTuple):
    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def distance(self, point: Point) -> float:
        return hypot(
            max(self.left - point[0], 0.0, point[0] - self.right),
            max(self.bottom - point[1], 0.0, point[1] - self.top),
        )


@dataclass(frozen=True)
class Placement:
    """A text whose centre lies `offset` from its point."""

    point: Point
    offset: Point
    size: Point
    ambiguous: bool  # another point is about as near as its own

    @cached_property
    def box(self) -> Box:
        return _box(self.point, self.offset, self.size)

    @cached_property
    def leader(self) -> Point | None:
        """Where a line from the point would meet the text, relative to the point; None: needs none."""
        x = max(abs(self.offset[0]) - self.size[0] / 2, 0.0) * (1 if self.offset[0] > 0 else -1)
        y = max(abs(self.offset[1]) - self.size[1] / 2, 0.0) * (1 if self.offset[1] > 0 else -1)
        return (x, y) if self.ambiguous or hypot(x, y) > LEADER else None

    @cached_property
    def covered(self) -> list[Box]:
        """What the text and its leader hide."""
        if self.leader is None:
            return [self.box]
        x, y = self.leader
        spots = [*_along([(0.3 * x, 0.3 * y), (x, y)], step=2)]  # closer by, its own marker lies
        return [self.box, *(_box(self.point, spot, (2, 2)) for spot in spots)]

    def cost(self, taken: Sequence[Box], crossed: Sequence[Box], frame: Box) -> float:
        """Area hidden, area outside of the frame, distance, ambiguity.

        `taken` (markers, texts) must stay clear; a line may be `crossed` where room is scarce.
        """
        hidden = sum(mine.overlap(other) for mine in self.covered for other in taken)
        hidden += CROSSING * sum(mine.overlap(other) for mine in self.covered for other in crossed)
        outside = self.size[0] * self.size[1] - self.box.overlap(frame)
        return 4 * (hidden + outside) + self.box.distance(self.point) + 25 * self.ambiguous


def place(
    points: Sequence[Point], sizes: Sequence[Point], lines: Sequence[Box], frame: Box
) -> list[Placement]:
    """Where texts of these sizes go. Greedy: who has near neighbours chooses first."""
    taken = [_box(point, (0, 0), (2 * MARKER, 2 * MARKER)) for point in points]
    found: dict[int, Placement] = {}
    for index in sorted(range(len(points)), key=lambda i: (_loneliness(points[i], points), i)):
        crossed = [box for box in lines if box.distance(points[index]) < REACHES[-1] + sizes[index][0]]
        choices = [
            (round(choice.cost(taken, crossed, frame), 3), choice)
            for choice in _choices(index, points, sizes[index])
        ]
        best = min(choices, key=itemgetter(0))[1]
        taken += best.covered
        found[index] = best
    return [found[index] for index in range(len(points))]


def name_points(
    axes: Axes, points: Sequence[Point], names: Sequence[str], lines: Sequence[Sequence[Point]] = ()
) -> None:
    """Write each name near its point (data coordinates), clear of points, `lines` and other names.

    The limits of the axes must be final.
    """
    from matplotlib.patheffects import withStroke

    figure = cast("Figure", axes.figure)
    figure.draw_without_rendering()  # the layout decides where things are
    scale = figure.dpi / 72

    def position(point: Point) -> Point:
        x, y = axes.transData.transform(point)
        return float(x) / scale, float(y) / scale

    halo = withStroke(linewidth=1.8, foreground="white")  # readable where it crosses a line
    style: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "va": "center", "fontsize": 6.5}
    style |= {"path_effects": [halo], "zorder": 5}
    texts = [
        axes.annotate(name, point, xytext=(0, 0), **style) for name, point in zip(names, points, strict=True)
    ]
    extents = [text.get_window_extent() for text in texts]
    places = place(
        [position(point) for point in points],
        [(extent.width / scale, extent.height / scale) for extent in extents],
        [_box(spot, (0, 0), (3, 3)) for line in lines for spot in _along([*map(position, line)])],
        Box(*(float(edge) / scale for edge in axes.get_window_extent().extents)),
    )
    line = {"arrowstyle": "-", "color": "#8a8a8a", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
    for text, point, found in zip(texts, points, places, strict=True):
        text.set_position(found.offset)
        if found.leader is not None:
            axes.annotate("", point, xytext=found.leader, textcoords="offset points", arrowprops=line)


def _choices(index: int, points: Sequence[Point], size: Point) -> Iterator[Placement]:
    here = points[index]
    others = [point for i, point in enumerate(points) if i != index]
    for reach in REACHES:
        for angle in ANGLES:
            across, up = cos(radians(angle)), sin(radians(angle))
            offset = (
                across * reach + _side(across) * size[0] / 2,
                up * reach + _side(up) * size[1] / 2,
            )
            box = _box(here, offset, size)
            nearest = min((box.distance(other) for other in others), default=float("inf"))
            yield Placement(here, offset, size, ambiguous=nearest < box.distance(here) + 2)


def _side(value: float) -> int:
    """Which edge of the text faces the point: along an axis neither."""
    return 0 if abs(value) < 0.2 else (1 if value > 0 else -1)


def _box(point: Point, offset: Point, size: Point) -> Box:
    x, y = point[0] + offset[0], point[1] + offset[1]
    return Box(x - size[0] / 2, y - size[1] / 2, x + size[0] / 2, y + size[1] / 2)


def _along(corners: Sequence[Point], step: float = 3) -> Iterator[Point]:
    """Points along a line, `step` apart."""
    for start, end in pairwise(corners):
        count = max(1, round(hypot(end[0] - start[0], end[1] - start[1]) / step))
        for index in range(count + 1):
            part = index / count
            yield start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])


def _loneliness(here: Point, points: Sequence[Point]) -> float:
    """Distance to the third nearest point."""
    distances = sorted(hypot(here[0] - there[0], here[1] - there[1]) for there in points)
    return distances[min(3, len(distances) - 1)]
