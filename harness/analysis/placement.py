"""Names beside points, without overlap: each goes where it hides least, nearest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import cos, hypot, radians, sin
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

REACHES = (7, 12, 18, 25, 33, 42)
"""Distances from point to text that are tried, in points (1/72 inch)."""
ANGLES = (0, 180, 90, 270, 45, 315, 135, 225, 20, 340, 160, 200)
"""Directions that are tried, in degrees, the nicest first."""
LEADER = 9
"""Texts further from their point than this get a thin line to it."""


Pixel = tuple[float, float]
"""A place or an extent on the canvas."""


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    @property
    def area(self) -> float:
        return (self.right - self.left) * (self.top - self.bottom)


def name_points(
    axes: Axes,
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    lines: Sequence[Sequence[tuple[float, float]]] = (),
    fontsize: float = 6.5,
) -> list[Annotation]:
    """Write each name near its point (data coordinates), clear of points, `lines` and other names.

    Greedy: points with the most neighbours choose first. The axes' limits must be final.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # the layout decides where pixels are
    pixels = figure.dpi / 72
    spots = [_pixel(axes, point) for point in points]
    inside = Box(*axes.get_window_extent().extents)
    taken = [_around(spot, 4 * pixels) for spot in spots]
    taken += [_around(spot, 1.5 * pixels) for line in lines for spot in _along(axes, line, 3 * pixels)]
    annotations: dict[int, Annotation] = {}
    for index in sorted(range(len(spots)), key=lambda i: (_loneliness(i, spots), i)):
        text = axes.annotate(
            names[index],
            points[index],
            xytext=(0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=fontsize,
        )
        extent = text.get_window_extent()
        size = (extent.width / pixels, extent.height / pixels)
        offset = min(_offsets(size), key=lambda each: _cost(spots[index], each, size, pixels, taken, inside))
        text.set_position(offset)
        taken += _covered(spots[index], offset, size, pixels)
        if hypot(*_gap(offset, size)) > LEADER:
            axes.annotate(
                "",
                points[index],
                xytext=_gap(offset, size),
                textcoords="offset points",
                arrowprops={
                    "arrowstyle": "-",
                    "color": "#8a8a8a",
                    "linewidth": 0.5,
                    "shrinkA": 0,
                    "shrinkB": 3,
                },
            )
        annotations[index] = text
    return [annotations[index] for index in range(len(points))]


def _offsets(size: tuple[float, float]) -> Iterator[tuple[float, float]]:
    """Centres of the text relative to the point, in points: the text's edge is `reach` away."""
    for reach in REACHES:
        for angle in ANGLES:
            across, up = cos(radians(angle)), sin(radians(angle))
            yield across * reach + _sign(across) * size[0] / 2, up * reach + _sign(up) * size[1] / 2


def _pixel(axes: Axes, point: tuple[float, float]) -> Pixel:
    x, y = axes.transData.transform(point)
    return float(x), float(y)


def _sign(value: float) -> int:
    return 0 if abs(value) < 0.2 else (1 if value > 0 else -1)


def _gap(offset: tuple[float, float], size: tuple[float, float]) -> tuple[float, float]:
    """From the point to the nearest place on the text's edge."""
    half = (size[0] / 2, size[1] / 2)
    return (
        max(abs(offset[0]) - half[0], 0.0) * _sign(offset[0]),
        max(abs(offset[1]) - half[1], 0.0) * _sign(offset[1]),
    )


def _covered(spot: Pixel, offset: Pixel, size: Pixel, pixels: float) -> list[Box]:
    """What a text and its leader would hide."""
    x, y = spot[0] + offset[0] * pixels, spot[1] + offset[1] * pixels
    width, height = size[0] * pixels / 2 + 1, size[1] * pixels / 2 + 1
    covered = [Box(x - width, y - height, x + width, y + height)]
    gap = _gap(offset, size)
    if hypot(*gap) > LEADER:
        parts = [part / 8 for part in range(2, 9)]
        ends = [(spot[0] + part * gap[0] * pixels, spot[1] + part * gap[1] * pixels) for part in parts]
        covered += [_around(end, 1.5 * pixels) for end in ends]
    return covered


def _cost(spot: Pixel, offset: Pixel, size: Pixel, pixels: float, taken: Sequence[Box], inside: Box) -> float:
    covered = _covered(spot, offset, size, pixels)
    hidden = sum(mine.overlap(other) for mine in covered for other in taken)
    outside = covered[0].area - covered[0].overlap(inside)
    return hidden + 4 * outside + hypot(*_gap(offset, size))


def _around(spot: Pixel, radius: float) -> Box:
    return Box(spot[0] - radius, spot[1] - radius, spot[0] + radius, spot[1] + radius)


def _along(axes: Axes, line: Sequence[tuple[float, float]], step: float) -> Iterator[tuple[float, float]]:
    """Pixels along a line, `step` apart."""
    corners = [_pixel(axes, point) for point in line]
    for start, end in pairwise(corners):
        count = max(1, round(hypot(end[0] - start[0], end[1] - start[1]) / step))
        for index in range(count + 1):
            part = index / count
            yield start[0] + part * (end[0] - start[0]), start[1] + part * (end[1] - start[1])


def _loneliness(index: int, spots: Sequence[Pixel]) -> float:
    """Distance to the third nearest point: who is crowded chooses first."""
    here = spots[index]
    distances = sorted(hypot(here[0] - there[0], here[1] - there[1]) for there in spots)
    return distances[min(3, len(distances) - 1)]
