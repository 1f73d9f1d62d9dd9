"""``kv util``: times with the machine's zone, and values from one form to another."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import anyio
import cbor2
import pytest

from kvnode.cli import util
from kvnode.data.until import Fields
from kvnode.testing.processes import environment
from tests.cli.conftest import Result

Kv = Callable[..., Result]


def _kv(*args: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "kvnode", "util", *args]
    return subprocess.run(command, input=data, capture_output=True, env=environment(), timeout=60, check=False)


# -- until ---------------------------------------------------------------------------------------------------


def test_until_prints_a_time_with_its_zone(kv: Kv) -> None:
    done = kv("util", "until", "2199-12-24", "18:00")
    found = datetime.fromisoformat(done.out.strip())
    assert found.tzinfo is not None
    assert found.replace(tzinfo=None).isoformat() == "2199-12-24T18:00:00"
    data = json.loads(kv("util", "until", "2199-12-24", "--format", "json").out)
    assert datetime.fromisoformat(data["time"]).year == 2199
    assert data["seconds"] > 10**9


def test_until_says_how_long_it_is(kv: Kv) -> None:
    assert kv("util", "until", "2199", "yr", "--human").out.split()[1] == "d"
    assert kv("util", "until", "2000", "yr", "-b", "--human").out.endswith(" ago\n")
    assert kv("util", "until", "2000", "yr", "--inverted", "--human").out == "now\n"


@pytest.mark.parametrize(
    ("clock", "options", "says"),
    [
        ("13:37:42.000000", {}, "now"),
        ("13:37:42.000001", {}, "now"),
        ("13:37:42.999999", {}, "now"),
        ("13:37:42.999999", {"backwards": True}, "now"),
        ("13:37:43.000000", {"backwards": True}, "1 s ago"),
        ("13:37:41.000000", {}, "1 s"),
        ("12:00:00.000000", {}, "1 h 37 min"),
        ("13:37:43.000000", {}, "23 h 59 min"),
    ],
)
def test_a_second_that_runs_is_now(clock: str, options: dict[str, bool], says: str) -> None:
    now = datetime.fromisoformat(f"2026-11-22T{clock}").astimezone()
    fields = Fields(hour=13, minute=37, second=42)
    found = util.next_time(fields, now, **({"inverted": False, "backwards": False} | options))
    assert util.span_text(util.time_left(found, now)) == says


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("5", "m"), "write min or mo"),
        (("30", "d", "2", "mo"), "that never happens again"),
        (("9:30", "--sleep", "-b"), "--sleep waits for what is to come"),
    ],
)
def test_until_refuses_in_one_line(kv: Kv, args: tuple[str, ...], says: str) -> None:
    done = kv("util", "until", *args)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert says in done.err


def test_until_sleeps_no_longer_than_it_must(kv: Kv) -> None:
    assert kv("util", "until", "2000", "yr", "--inverted", "--sleep").out == ""


@pytest.mark.anyio
async def test_a_clock_that_is_set_while_we_sleep_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(anyio, "sleep", sleep)
    found = datetime.fromisoformat("2026-11-22T13:37:42+00:00")
    seen = iter([found - timedelta(seconds=left) for left in (200, 140, 600, 5, -1)])
    await util.sleep_until(found, lambda: next(seen))
    assert slept == [60, 60, 60, 5]


def test_a_time_that_summer_time_leaves_out_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        now = datetime.fromisoformat("2027-03-27T12:00:00").astimezone()
        found = util.next_time(Fields(hour=2, minute=30), now, inverted=False, backwards=False)
        assert found.isoformat() == "2027-03-29T02:30:00+02:00"
        back = util.next_time(Fields(hour=2), found.replace(day=28, hour=12), inverted=False, backwards=True)
        assert back.isoformat() == "2027-03-27T02:59:59+01:00"
    finally:
        monkeypatch.undo()
        time.tzset()


# -- convert -------------------------------------------------------------------------------------------------


def test_convert_goes_by_the_ending_or_by_from(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("a: on\nb: [1, 2]\n---\nc: 1\n")
    done = _kv("convert", str(file), "--to", "jsonl")
    assert (done.returncode, done.stdout) == (0, b'{"a": "on", "b": [1, 2]}\n{"c": 1}\n')
    done = _kv("convert", "--from", "jsonl", "--to", "cbor", data=b'{"$bytes": "aGk="}\n5\n')
    assert done.stdout == cbor2.dumps(b"hi") + cbor2.dumps(5)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "standard input: of which form is it? Say --from json|"),
        (("x.txt",), "x.txt: of which form is it?"),
        (("none.json",), "none.json: No such file or directory"),
        (("--from", "json", "--shorten", "--lengthen"), "either --shorten or --lengthen"),
    ],
)
def test_convert_refuses_in_one_line(kv: Kv, args: tuple[str, ...], says: str) -> None:
    done = kv("util", "convert", *args)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert says in done.err


def test_convert_says_which_value_is_wrong() -> None:
    done = _kv("convert", "--from", "json", data=b"[1")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"standard input: value 1: " in done.stderr
