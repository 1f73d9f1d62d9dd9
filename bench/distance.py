"""How far kvnode is from what the machine itself can do: ``python -m bench.distance RESULTS.json FLOOR.json``.

The files are those of ``python -m bench --json RESULTS.json`` and ``python -m bench.floor --json > FLOOR.json``, taken
one right after the other.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.compare import Results, load_results
from bench.report import number, table
from bench.stages import ROWS

Floor = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Bottom:
    """What no store in these processes can beat: in words, and from the rows of the floor, in the measure's unit."""

    measure: str
    words: str
    value: Callable[[Floor], float]


def _round_trip_ms(floor: Floor) -> float:
    return floor["loopback there and back, protocol of uvloop, p50"] / 1e3


BOTTOMS: Final = (
    Bottom("get-1", "there and back once", _round_trip_ms),
    Bottom("far", "client, node, node, client: there and back one and a half times", lambda f: 1.5 * _round_trip_ms(f)),
    Bottom("put-1", "there and back once, one sync", lambda f: _round_trip_ms(f) + f["append and fdatasync, p50"]),
    Bottom("put-64", "a plain log in groups of 64", lambda f: f["plain log, groups of 64"]),
    Bottom("batch", "a plain log in groups of 1000", lambda f: f["plain log, groups of 1000"]),
)


def distances(results: Results, floor: Floor) -> str:
    """A table: what was reached, the floor, how many times as far."""
    rows = {row.name: row for row in ROWS}
    lines = []
    for bottom in BOTTOMS:
        samples = results.samples("kvnode", bottom.measure)
        if not samples:
            continue
        row, reached, least = rows[bottom.measure], statistics.median(s.value for s in samples), bottom.value(floor)
        times = least / reached if row.more_is_better else reached / least
        unit = row.unit if row.unit != "/s" else "per s"
        lines.append(
            (row.title, f"{number(reached)} {unit}", bottom.words, f"{number(least)} {unit}", f"{number(times)}x")
        )
    return table(("measure", "kvnode", "floor", "which is", "distance"), lines)


def main() -> None:
    """Print the table."""
    rows = json.loads(Path(sys.argv[2]).read_text())["rows"]
    print(distances(load_results(Path(sys.argv[1])), {title: value for title, _, value in rows}))


if __name__ == "__main__":
    main()
