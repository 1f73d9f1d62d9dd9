"""The judgement of a soak, on measurements that are made up: what grows must be found, what only wobbles must not."""

from __future__ import annotations

import csv
import itertools
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from kvnode.core.entry import Version, body_of, encode_record, ordered
from kvnode.core.path import Path as KvPath
from kvnode.core.ticks import Dot, incarnation
from kvnode.testing.served import served_client
from kvnode.testing.soak.__main__ import main
from kvnode.testing.soak.measure import Counts, Files, Process, Row, counts_now, process_now
from kvnode.testing.soak.run import Plan, Report, write_csv
from kvnode.testing.soak.trend import (
    MAX_POINTS,
    WARM_UP,
    Bound,
    Point,
    judge,
    lows,
    quantile,
    theil_sen,
    thinned,
    without_warm_up,
)
from kvnode.testing.soak.verdicts import MEMORY, Rest, verdicts_of

TIMES = [5.0 * number for number in range(120)]
"""Ten minutes."""


def series(slope: float, noise: float = 0.0, base: float = 50_000.0, seed: int = 1) -> list[Point]:
    rng = random.Random(seed)
    return [(at, base + slope * at + rng.gauss(0, noise)) for at in TIMES]


# -- the slope -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [-3.0, 0.0, 0.25, 1000.0])
def test_the_slope_of_a_line_is_exact(slope: float) -> None:
    assert theil_sen(series(slope)) == pytest.approx(slope)


def test_a_quarter_of_wild_points_does_not_matter() -> None:
    rng = random.Random(2)
    wild = [(at, value + 1e6 if rng.random() < 0.25 else value) for at, value in series(2.0)]
    assert theil_sen(wild) == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("points", [[], [(1.0, 5.0)], [(1.0, 5.0), (1.0, 9.0)]])
def test_no_slope_without_two_moments(points: list[Point]) -> None:
    assert theil_sen(points) == 0.0


def test_a_long_series_is_thinned_and_keeps_its_slope() -> None:
    long = [(float(at), 3.0 * at) for at in range(10 * MAX_POINTS + 7)]
    assert len(thinned(long)) <= MAX_POINTS
    assert theil_sen(thinned(long)) == pytest.approx(3.0)
    assert thinned(long[:MAX_POINTS]) == long[:MAX_POINTS]
    assert thinned([]) == []


def test_a_busy_neighbour_is_no_latency_that_grows() -> None:
    """It comes in bursts, more of them towards the end; the node between them is as fast as ever."""
    calm = series(0.0, noise=0.5, base=10.0)
    rng = random.Random(3)
    busy = [(at, value + (40.0 if rng.random() < at / 1200 else 0.0)) for at, value in calm]
    bound = Bound(absolute=2.0, share=0.2)
    assert judge("n1", "p50", "ms", lows(busy), bound).ok
    slower = [(at, value + at / 60) for at, value in busy]
    assert not judge("n1", "p50", "ms", lows(slower), bound).ok
    assert lows([(1, 5), (2, 3), (3, 4), (4, 9)], 3) == [(2, 3), (4, 9)]


def test_quantiles() -> None:
    assert [quantile(range(100), part) for part in (0.0, 0.5, 0.99, 1.0)] == [0, 50, 99, 99]
    assert quantile([], 0.5) == 0.0


# -- one series ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_what_only_wobbles_is_flat(seed: int) -> None:
    assert judge("n1", "memory", "KiB", series(0.0, noise=2_000, seed=seed), MEMORY).ok


@pytest.mark.parametrize("seed", range(20))
def test_a_leak_under_the_same_noise_is_found(seed: int) -> None:
    """20 KiB a second: a hundred bytes with each of 200 calls."""
    verdict = judge("n1", "memory", "KiB", series(20.0, noise=2_000, seed=seed), MEMORY)
    assert not verdict.ok
    assert "an hour" in verdict.text


def test_growth_while_it_warms_up_is_none() -> None:
    warm = TIMES[-1] * WARM_UP
    points = [(at, min(at, warm) * 1000) for at in TIMES]
    assert without_warm_up(points)[0][0] >= warm
    assert judge("n1", "memory", "KiB", points, Bound(absolute=1.0, share=0.0)).ok


def test_a_bound_is_the_greater_of_its_two() -> None:
    bound = Bound(absolute=100, share=0.1)
    assert (bound.allowed(500), bound.allowed(5_000)) == (100, 500)
    time_s = TIMES[-1] - without_warm_up(series(0))[0][0]
    assert judge("n1", "x", "", series(99 / time_s, base=0.0), bound).ok
    assert not judge("n1", "x", "", series(130 / time_s, base=0.0), bound).ok


def test_what_shrinks_does_not_grow() -> None:
    assert judge("n1", "memory", "KiB", series(-50.0), MEMORY).ok


def test_too_little_is_no_verdict() -> None:
    verdict = judge("n1", "memory", "KiB", series(0.0)[:4], MEMORY)
    assert not verdict.ok
    assert "for longer" in verdict.text


# -- all of them ---------------------------------------------------------------------------------------------


def row(at_s: float, node: str, **changed: Any) -> Row:
    usual = Row(at_s, node, 60_000, 20, 6, 400, 4_000, 600, 5, 3, 100, 0, 2.0, 9.0)
    return usual._replace(**changed)


def rest(**changed: Any) -> Rest:
    """Two nodes at rest; what is changed is so on the first."""
    made = Rest(errors=Counter({"unavailable": 3}))
    for name, other in (("n1", "n2"), ("n2", "n1")):
        made.processes[name] = Process(60_000, 20, 6)
        made.files[name] = Files(400, 4_000)
        made.counts[name] = Counts(600, 0, 3, 110.0, "abcd", frozenset({other}))
    for table in (made.processes, made.files, made.counts):
        now: Any = table["n1"]
        fields = {key: value for key, value in changed.items() if key in now._fields}
        table["n1"] = now._replace(**fields)
    return made


def failing(rows: list[Row], after: Rest) -> set[tuple[str, str]]:
    verdicts = verdicts_of(rows, rest(), after, ["n1"])
    assert {(v.subject, v.what) for v in verdicts} >= {("n1", "memory"), ("n2", "file"), ("all", "at rest")}
    assert not [v for v in verdicts if v.subject == "n2" and v.what == "memory"], "it is restarted all the time"
    return {(v.subject, v.what) for v in verdicts if not v.ok}


ROWS = [row(at, node) for at in TIMES for node in ("n1", "n2")]


def test_a_flat_run_is_flat() -> None:
    assert failing(ROWS, rest()) == set()


@pytest.mark.parametrize(
    ("field", "per_s", "what"),
    [("rss_kib", 20.0, "memory"), ("db_kib", 5.0, "store"), ("p50_ms", 0.05, "p50"), ("p99_ms", 0.5, "p99")],
)
def test_whatever_grows_is_named(field: str, per_s: float, what: str) -> None:
    rows = [one._replace(**{field: getattr(one, field) + per_s * one.at_s}) for one in ROWS]
    assert failing(rows, rest()) == {("n1", what)}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"fds": 21}, ("n1", "descriptors")),
        ({"threads": 7}, ("n1", "threads")),
        ({"db_kib": 960}, ("n1", "file")),
        ({"tombstones": 1}, ("all", "at rest")),
        ({"digest": "other"}, ("all", "at rest")),
        ({"linked": frozenset()}, ("all", "at rest")),
    ],
)
def test_what_is_left_at_rest_is_named(changed: dict[str, Any], found: tuple[str, str]) -> None:
    assert failing(ROWS, rest(**changed)) == {found}


def test_a_log_that_is_not_written_back_is_named() -> None:
    rows = [*ROWS, row(600.0, "n2", wal_kib=80_000)]
    assert failing(rows, rest()) == {("n2", "log")}


def test_errors_that_churn_does_not_explain_are_named() -> None:
    after = rest()
    after.errors["ack_timeout"] = 1
    assert failing(ROWS, after) == {("all", "errors")}


# -- measuring -----------------------------------------------------------------------------------------------


NUMBERS = itertools.count(1)


def record(path: str, *values: bytes | None) -> bytes:
    """Siblings as stored, each of an incarnation of its own; None is a delete."""
    siblings = [
        Version.make(Dot(incarnation("Z", next(NUMBERS)), 1), {}, body_of(KvPath.parse(path), 5, value))
        for value in values
    ]
    return encode_record(ordered(siblings))


@pytest.mark.anyio
async def test_a_delete_beside_a_value_is_not_waited_for() -> None:
    """Only a person or an agent settles that conflict: it is no delete that should have been forgotten."""
    async with served_client() as (_, kv):
        await kv.load([record("@.nodes.ghost", b"\x80")])  # a member that acknowledges nothing, so nothing is forgotten
        before = await counts_now(kv)
        await kv.load([record("both", b"\x01", None), record("gone", None), record("here", b"\x02")])
        after = await counts_now(kv)
    assert (before.tombstones, after.tombstones) == (0, 1)
    assert after.entries - before.entries == 2
    assert after.live_kib > before.live_kib
    assert after.digest != before.digest
    assert after.linked == frozenset()


# -- the command ---------------------------------------------------------------------------------------------


def test_the_summary_and_the_file(tmp_path: Path) -> None:
    report = Report(rows=ROWS, verdicts=verdicts_of(ROWS, rest(), rest(fds=21), ["n1"]), visits=5, cuts=2, restarts=1)
    assert not report.is_flat
    assert report.lines()[0] == "24000 calls (0 failed), 5 visits, 2 cuts, 1 restarts"
    assert [line for line in report.lines() if line.startswith("FAIL")] == [
        "FAIL n1      descriptors  20 at rest before, 21 after"
    ]
    assert not report.verdict("n1", "descriptors").ok
    with pytest.raises(KeyError):
        report.verdict("n1", "luck")
    write_csv(report.rows, tmp_path / "soak.csv")
    with (tmp_path / "soak.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(ROWS)
    assert lines[0]["rss_kib"] == "60000"


def test_windows_and_restarts_fit_the_time() -> None:
    short, long = Plan(load_s=40.0), Plan(load_s=36_000.0)
    assert (short.window_s, short.restart_every_s) == (2.0, 20.0)
    assert (long.window_s, long.restart_every_s) == (5.0, 72.0)


@pytest.mark.parametrize(
    "args", [[], ["--minutes", "-1"], ["--minutes", "1", "--nodes", "1"], ["--hours", "1", "--rate", "0"]]
)
def test_nonsense_is_refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 2
    assert capsys.readouterr().out.startswith("soak: say how long")


def test_segments_of_the_log_are_no_descriptors_that_leak(tmp_path: Path) -> None:
    """They are opened when they are first written to, which is long after the first rest."""
    before = process_now(os.getpid()).fds
    with (tmp_path / "kv.sqlite-log1").open("wb"):
        assert process_now(os.getpid()).fds == before
        with (tmp_path / "other").open("wb"):
            assert process_now(os.getpid()).fds == before + 1
