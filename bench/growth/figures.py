"""The charts of docs/explanation/growth.md, drawn from the results beside this folder's `results`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from .plot import Chart, Series

RESULTS: Final = Path(__file__).parent / "results"
PICTURES: Final = Path(__file__).parents[2] / "docs" / "explanation" / "growth"

Rows = list[dict[str, Any]]


def load(name: str) -> dict[str, Any]:
    """The results of one dimension, with the conditions."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def charts() -> Iterator[Chart]:
    """All of them."""
    yield from _nodes(load("nodes")["rows"])
    yield Chart(
        "nodes-heal",
        "A cut is over, both sides wrote: each missing update",
        "nodes",
        "bytes on all links",
        _by_shape(load("heal")["rows"], "heal_bytes_per_update"),
    )
    yield from _keys(load("keys")["rows"])
    yield _watchers(load("watchers")["rows"])
    yield _values(load("values")["rows"])
    yield from _thousand(load("nodes")["rows"], load("filtered")["rows"], load("thousand"))


def _points(rows: Sequence[dict[str, Any]], x: str, y: str) -> list[tuple[float, float]]:
    """What is not positive has no place on a logarithmic axis."""
    return [(row[x], row[y]) for row in rows if row[y] > 0]


def _by_shape(rows: Rows, y: str) -> list[Series]:
    shapes = dict.fromkeys(row["shape"] for row in rows)
    return [Series(shape, _points([r for r in rows if r["shape"] == shape], "nodes", y)) for shape in shapes]


def _nodes(rows: Rows) -> Iterator[Chart]:
    for name, title, y, what in (
        ("update-bytes", "One update of 100 bytes, all nodes together", "bytes on all links", "update_bytes"),
        ("update-cpu", "One update: CPU of core and codec", "µs CPU at each node", "update_cpu_us_per_node"),
        ("rest", "At rest", "bytes a second, each node", "rest_bytes_per_node_s"),
        ("join", "One more node joins a tree of some 500 entries", "bytes on all links", "join_bytes"),
    ):
        yield Chart(f"nodes-{name}", title, "nodes", y, _by_shape(rows, what))


def _keys(rows: Rows) -> Iterator[Chart]:
    def series(*columns: tuple[str, str]) -> list[Series]:
        return [Series(name, _points(rows, "keys", column)) for name, column in columns]

    times = (
        ("scan, node", "scan_node_cpu_us_per_key"),
        ("scan, client", "scan_client_cpu_us_per_key"),
        ("copy, giver", "copy_giver_cpu_us_per_key"),
        ("copy, taker", "copy_taker_cpu_us_per_key"),
        ("start", "start_cpu_us_per_key"),
    )
    sizes = (("memory", "memory_bytes_per_key"), ("disk", "disk_bytes_per_key"))
    yield Chart("keys-cpu", "CPU for each key, values of 100 bytes", "keys", "µs CPU a key", series(*times))
    yield Chart("keys-bytes", "Bytes for each key, values of 100 bytes", "keys", "bytes a key", series(*sizes))


def _watchers(rows: Rows) -> Chart:
    lines = (
        ("all watch the written path", "same_cpu_us_per_update"),
        ("each watches another path", "apart_cpu_us_per_update"),
    )
    series = [Series(name, _points(rows, "watchers", column)) for name, column in lines]
    return Chart("watchers", "One update: CPU of the node", "watchers", "µs CPU an update", series)


def _values(rows: Rows) -> Chart:
    names = ("client", "node", "peer")
    series = [Series(name, _points(rows, "value_bytes", f"{name}_cpu_us_per_put")) for name in names]
    return Chart("values", "One put, on disk at node and peer", "bytes of the value", "µs CPU a put", series)


def _thousand(nodes: Rows, filtered: Rows, expected: dict[str, Any]) -> Iterator[Chart]:
    for name, title, y, what in (
        ("update", "One update of 100 bytes, up to 1 000 nodes", "bytes on all links", "update_bytes"),
        ("rest", "At rest, up to 1 000 nodes", "bytes a second, each node", "rest_bytes_per_node_s"),
    ):
        series: list[Series] = []
        for row in expected["rows"]:
            if row["what"] != what:
                continue
            shape = row["shape"]
            points = _points([r for r in (*nodes, *filtered) if _shape_of(r) == shape], "nodes", what)
            beyond = [(float(n), v) for n, v in row["expected"].items() if int(n) > row["measured_up_to"]]
            series.append(Series(shape, points, beyond))
        yield Chart(f"thousand-{name}", title, "nodes (thin: computed by the fit)", y, series)


def _shape_of(row: dict[str, Any]) -> str:
    shape: str = row["shape"] if "shape" in row else f"filtered, {row['variant']}"
    return shape
