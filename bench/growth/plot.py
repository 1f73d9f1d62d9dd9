"""Line charts as SVG, by hand: both axes logarithmic, readable in black and white, equal bytes for equal data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 380
LEFT: Final = 70
RIGHT: Final = 20
TOP: Final = 34
BOTTOM: Final = 46
LEGEND_LINE: Final = 16
DASHES: Final = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 2")
MARKERS: Final = (
    "M-4,0A4,4 0 1 0 4,0A4,4 0 1 0 -4,0Z",
    "M-4,-4H4V4H-4Z",
    "M0,-5L5,4H-5Z",
    "M-4,-4L4,4M-4,4L4,-4",
    "M0,-5L5,0L0,5L-5,0Z",
    "M-5,0H5M0,-5V5",
)
_UNITS: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True, slots=True)
class Series:
    """A named line. Where it is `guessed` from on, it was computed and not measured, and has no markers."""

    name: str
    points: Sequence[tuple[float, float]]
    guessed: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: the name of its file, its title, the labels of its axes, its lines."""

    name: str
    title: str
    x: str
    y: str
    series: Sequence[Series]


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where a value lies: `low` to `high` as powers of ten, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        low, high = math.log10(min(values)), math.log10(max(values))
        room = max((high - low) * 0.04, 0.02)
        return cls(low - room, high + room, start, end)

    def at(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """1, 2, 5 times powers of ten, or only the powers where there are many."""
        steps = (1, 2, 5) if self.high - self.low < 2.5 else (1,)
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        all_ = [step * 10.0**power for power in powers for step in steps]
        return [value for value in all_ if self.low <= math.log10(value) <= self.high]


def draw(chart: Chart) -> str:
    """The chart as an SVG document."""
    every = [point for series in chart.series for point in (*series.points, *series.guessed)]
    x = _Axis.over([px for px, _ in every], LEFT, WIDTH - RIGHT)
    y = _Axis.over([py for _, py in every], HEIGHT - BOTTOM, TOP)
    height = HEIGHT + LEGEND_LINE * ((len(chart.series) + 1) // 2)
    body = [*_frame(chart, x, y)]
    for number, series in enumerate(chart.series):
        body += _line(series, number, x, y)
        body += _legend(series, number)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="none" stroke="black">'
    )
    paper = f'<rect width="{WIDTH}" height="{height}" fill="white" stroke="none"/>'
    return "\n".join([head, f"<title>{escape(chart.title)}</title>", paper, *body, "</svg>", ""])


def _frame(chart: Chart, x: _Axis, y: _Axis) -> Iterator[str]:
    yield _text(WIDTH / 2, 18, chart.title, "middle", weight="bold")
    yield _text((x.start + x.end) / 2, HEIGHT - 10, chart.x, "middle")
    yield _text(-(y.start + y.end) / 2, 14, chart.y, "middle", turned=True)
    for value in x.ticks():
        yield _rule(x.at(value), y.start, x.at(value), y.end)
        yield _text(x.at(value), y.start + 16, short(value), "middle")
    for value in y.ticks():
        yield _rule(x.start, y.at(value), x.end, y.at(value))
        yield _text(x.start - 6, y.at(value) + 4, short(value), "end")


def _line(series: Series, number: int, x: _Axis, y: _Axis) -> Iterator[str]:
    dash = f' stroke-dasharray="{DASHES[number % len(DASHES)]}"' if DASHES[number % len(DASHES)] else ""
    for points, width in ((series.points, "1.6"), ([*series.points[-1:], *series.guessed], "0.8")):
        if len(points) > 1:
            places = " ".join(f"{x.at(px):.1f},{y.at(py):.1f}" for px, py in points)
            yield f'<polyline points="{places}" stroke-width="{width}"{dash}/>'
    for px, py in series.points:
        yield _marker(number, x.at(px), y.at(py))


def _legend(series: Series, number: int) -> Iterator[str]:
    left = LEFT + (number % 2) * (WIDTH - LEFT) / 2
    top = HEIGHT + 4 + LEGEND_LINE * (number // 2)
    dash = f' stroke-dasharray="{DASHES[number % len(DASHES)]}"' if DASHES[number % len(DASHES)] else ""
    yield f'<line x1="{left:.1f}" y1="{top}" x2="{left + 30:.1f}" y2="{top}" stroke-width="1.6"{dash}/>'
    if series.points:
        yield _marker(number, left + 15, top)
    yield _text(left + 36, top + 4, series.name, "start")


def _marker(number: int, x: float, y: float) -> str:
    fill = ("black", "white")[number % 2]
    return f'<path d="{MARKERS[number % len(MARKERS)]}" transform="translate({x:.1f},{y:.1f})" fill="{fill}"/>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ccc" stroke-width="0.6"/>'


def _text(x: float, y: float, text: str, anchor: str, *, weight: str = "", turned: bool = False) -> str:
    more = (f' font-weight="{weight}"' if weight else "") + (' transform="rotate(-90)"' if turned else "")
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="black" stroke="none"{more}>{escape(text)}</text>'


def short(value: float) -> str:
    """A number of an axis: 20k, 1M, 0.5."""
    for unit, letter in _UNITS:
        if value >= unit:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"
