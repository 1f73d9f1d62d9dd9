"""The command: ``python -m bench.growth DIMENSION [SIZE ...]``, see the package's text."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import bench.growth

from . import filtered, keys, measure, thousand, values, watchers
from .figures import PICTURES, RESULTS, charts, load
from .plot import draw
from .shapes import SHAPES

Row = dict[str, Any]
NODES: Final = (3, 5, 10, 20, 30)
HEALED: Final = (3, 5, 10, 20)
FILTERED: Final = (10, 30, 100, 200)


def _nodes(sizes: Sequence[int]) -> Iterator[Row]:
    for name, shape in SHAPES.items():
        for size in sizes:
            yield asdict(measure.measure(name, shape, size))


def _heal(sizes: Sequence[int]) -> Iterator[Row]:
    for name, shape in SHAPES.items():
        for size in sizes:
            yield asdict(measure.heal(name, shape, size))


def _filtered(sizes: Sequence[int]) -> Iterator[Row]:
    for size in sizes:
        for variant in filtered.VARIANTS:
            yield asdict(filtered.measure(size, variant))


def _each(one: Callable[[int], Row]) -> Callable[[Sequence[int]], Iterator[Row]]:
    return lambda sizes: (one(size) for size in sizes)


DIMENSIONS: Final[dict[str, tuple[Callable[[Sequence[int]], Iterator[Row]], Sequence[int]]]] = {
    "nodes": (_nodes, NODES),
    "heal": (_heal, HEALED),
    "filtered": (_filtered, FILTERED),
    "keys": (_each(keys.measure), keys.COUNTS),
    "watchers": (_each(watchers.measure), watchers.COUNTS),
    "values": (_each(values.measure), values.SIZES),
}


def conditions() -> Row:
    """Under which the results came about."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "kvnode": version("kvnode"),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
    }


def _save(name: str, content: Row) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def _run(name: str, sizes: Sequence[int]) -> None:
    run, usual = DIMENSIONS[name]
    rows: list[Row] = []
    before = conditions()
    for row in run(sizes or usual):
        rows.append({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})
        print(json.dumps(rows[-1]), flush=True)
        _save(name, {"conditions": before, "rows": rows})


def _plot() -> None:
    PICTURES.mkdir(exist_ok=True)
    for chart in charts():
        (PICTURES / f"{chart.name}.svg").write_text(draw(chart))
        print(Path(PICTURES.name) / f"{chart.name}.svg")


def main(words: Sequence[str]) -> int:
    """Do what the first word says."""
    name, *sizes = words or ("",)
    if name in DIMENSIONS:
        try:
            _run(name, [int(size) for size in sizes])
        except filtered.NotCompiled as why:
            print(f"bench.growth: {why}", file=sys.stderr)
            return 1
    elif name == "thousand":
        rows = thousand.expect(load("nodes")["rows"], load("filtered")["rows"])
        _save(name, {"rows": rows, "model": thousand.floors()})
    elif name == "plot":
        _plot()
    else:
        print(bench.growth.__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
