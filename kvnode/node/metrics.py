"""Metrics as values, and their Prometheus text form (exposition format 0.0.4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family: its name, what it tells, and a sample for each set of labels (``()``: the only one).

    A counter's name ends in ``_total``; units are base units and stand in the name (``_seconds``, ``_bytes``).
    Raises ValueError for a name or label that Prometheus would not take.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: Mapping[Labels, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a metric")
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name}: counters, and only they, end in _total")
        for labels in self.samples:
            for label, _ in labels:
                if not _LABEL.fullmatch(label):
                    raise ValueError(f"{self.name}: {label!r} is no name of a label")


def gauge(name: str, help: str, value: float | Mapping[Labels, float]) -> Metric:
    """A value that goes up and down."""
    return Metric(name, "gauge", help, value if isinstance(value, Mapping) else {(): value})


def counter(name: str, help: str, value: float | Mapping[Labels, float]) -> Metric:
    """A value that only grows while the process runs."""
    return Metric(name, "counter", help, value if isinstance(value, Mapping) else {(): value})


def render(metrics: Iterable[Metric]) -> str:
    """The text form. Raises ValueError if a name comes twice."""
    lines: list[str] = []
    seen: set[str] = set()
    for metric in metrics:
        if metric.name in seen:
            raise ValueError(f"the metric {metric.name} comes twice")
        seen.add(metric.name)
        lines.append(f"# HELP {metric.name} {_escape(metric.help)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += [f"{metric.name}{_labels(labels)} {_number(value)}" for labels, value in metric.samples.items()]
    return "".join(f"{line}\n" for line in lines)


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value, quotes=True)}"' for name, value in labels) + "}"


def _escape(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    text = text.replace('"', '\\"') if quotes else text
    # Half a surrogate pair has no UTF-8 form.
    return text.encode("utf-8", "replace").decode()


def _number(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(float(value))
