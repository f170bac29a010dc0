"""A line chart as SVG: axes, curves, a legend. The same numbers give the same bytes; it measures nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WIDTH: Final = 720
_HEIGHT: Final = 360
_LEFT: Final = 64
_RIGHT: Final = 208
_TOP: Final = 16
_BOTTOM: Final = 48
_INK: Final = "#808080"
"""Of words and axes: to be read on white and on black alike."""


class Curve(NamedTuple):
    """One line: its name in the legend, its points, its colour."""

    name: str
    points: Sequence[tuple[float, float]]
    colour: str
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """What is told along one side: from the first tick to the last, each with its label; in logarithms or not."""

    title: str
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 to 1; what is beyond an end lies at it."""
        low, high, value = (self._scaled(each) for each in (self.ticks[0][0], self.ticks[-1][0], value))
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-300)) if self.log else value


def drawn(title: str, across: Axis, up: Axis, curves: Sequence[Curve]) -> str:
    """Draw the curves; `title` is read out by screen readers, and is not seen."""
    lines = [*_axes(across, up), *(line for curve in curves for line in _curve(curve, across, up)), *_legend(curves)]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="{_INK}">'
    )
    return "\n".join([head, f"<title>{escape(title)}</title>", *lines, "</svg>", ""])


def _x(share: float) -> float:
    return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _axes(across: Axis, up: Axis) -> Iterator[str]:
    for value, label in across.ticks:
        x = _x(across.place(value))
        yield f'<path d="M{x:.1f} {_y(0):.1f}V{_y(1):.1f}" stroke="{_INK}" stroke-opacity=".2"/>'
        yield f'<text x="{x:.1f}" y="{_y(0) + 16:.1f}" text-anchor="middle">{escape(label)}</text>'
    for value, label in up.ticks:
        y = _y(up.place(value))
        yield f'<path d="M{_x(0):.1f} {y:.1f}H{_x(1):.1f}" stroke="{_INK}" stroke-opacity=".2"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'
    yield f'<text x="{_x(0.5):.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(across.title)}</text>'
    turned = f'transform="translate(14 {_y(0.5):.1f}) rotate(-90)"'
    yield f'<text {turned} text-anchor="middle">{escape(up.title)}</text>'


def _curve(curve: Curve, across: Axis, up: Axis) -> Iterator[str]:
    points = " ".join(f"{_x(across.place(x)):.1f},{_y(up.place(y)):.1f}" for x, y in curve.points)
    yield f'<polyline points="{points}" {_stroke(curve)}/>'


def _legend(curves: Sequence[Curve]) -> Iterator[str]:
    x = _WIDTH - _RIGHT + 14
    for number, curve in enumerate(curves):
        y = _TOP + 12 + 20 * number
        yield f'<path d="M{x} {y}h24" {_stroke(curve)}/>'
        yield f'<text x="{x + 30}" y="{y + 4}">{escape(curve.name)}</text>'


def _stroke(curve: Curve) -> str:
    dashes = ' stroke-dasharray="6 4"' if curve.dashed else ""
    return f'fill="none" stroke="{curve.colour}" stroke-width="2"{dashes}'
