"""The SQLite store and the end of its process: killed at any moment, power cut at any byte of the log, a disk that
takes no more. What was acknowledged is there; a commit is there as a whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.core.ticks import Ticks
from kvnode.store.base import StoreLocked
from kvnode.store.logged import LoggedStore
from kvnode.store.sqlite import FILE_NAME, SqliteStore
from kvnode.testing.store_contract import INC, Held, persist, read_all, refused

COMMITTER = """
import sys
from kvnode.store import LoggedStore, SqliteStore
from kvnode.core.ticks import Ticks
from kvnode.testing.store_contract import INC, persist

store = LoggedStore(sys.argv[1], log_bytes=int(sys.argv[2])) if int(sys.argv[2]) else SqliteStore(sys.argv[1])
count, each = map(int, sys.argv[3:5])
number = int(store.load().meta.get("number", b"0"))
print("ready", flush=True)
while True:
    number += 1
    text = b"%d" % number
    group = {b"group%d" % n: text + bytes(each * n) for n in range(count)}
    store.commit([
        persist(2 * number, {b"one%d" % number: text, **group}),
        persist(2 * number + 1, {b"%d" % (number % 50): text}, {INC: Ticks.upto(number)}, {"number": text}),
    ], dense=number % 3 > 0)
    print(number, flush=True)
"""

IO_ERROR = """
import resource, sys
from kvnode.store.base import StoreIOError
from kvnode.store.sqlite import SqliteStore
from kvnode.testing.store_contract import persist

store = SqliteStore(sys.argv[1])
store.load()
store.commit([persist(1, {b"a": b"before"})])
unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
for _ in range(2):
    try:
        store.commit([persist(2, {b"a": b"lost", b"large": bytes(500_000)})])
    except StoreIOError as error:
        print(error)
store.commit([persist(3, {b"b": b"small"})])
resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
store.commit([persist(4, {b"large": bytes(500_000)})])
store.close()
"""

HOLDER = """
import sys
from kvnode.store.sqlite import SqliteStore

store = SqliteStore(sys.argv[1])
store.load()
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def child(program: str, directory: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(directory), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def held(directory: Path, *, log: bool = False) -> Held:
    store = LoggedStore(directory) if log else SqliteStore(directory)
    try:
        return read_all(store.load())
    finally:
        store.close()


@pytest.mark.integration
@pytest.mark.parametrize("rows", [("6", "900"), ("100", "2")], ids=["long rows", "many short ones"])
@pytest.mark.parametrize(
    ("log_bytes", "rounds"),
    [(0, (0, 1, 2, 3)), (0, (9, 30, 5)), (20_000, (0, 1, 30)), (20_000, (150, 40)), (8 << 20, (150, 3))],
)
def test_a_killed_process_loses_nothing_that_it_acknowledged(
    tmp_path: Path, log_bytes: int, rounds: tuple[int, ...], rows: tuple[str, str]
) -> None:
    """0: without a log. With a short log, one segment or the other is on its way into the snapshot most of the time.
    Commits of many short rows are compressed there, two out of three.
    """
    for acknowledgements in rounds:
        with child(COMMITTER, tmp_path, str(log_bytes), *rows) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            for _ in range(acknowledgements):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read()
        check_commits(held(tmp_path, log=log_bytes > 0), int(rest.split("\n")[-2]) if "\n" in rest else 0)


def check_commits(found: Held, acknowledged: int) -> None:
    """`acknowledged` commits are there, perhaps one more, each as a whole."""
    number = int(found.meta.get("number", b"0"))
    assert found.doubts == ()
    assert number >= acknowledged
    assert {key for key in found.rows if key.startswith(b"one")} == {b"one%d" % n for n in range(1, number + 1)}
    assert {int(record.rstrip(b"\0")) for key, record in found.rows.items() if key.startswith(b"group")} <= {number}
    assert found.known == ({INC: Ticks.upto(number)} if number else {})


@pytest.mark.integration
def test_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    """The system refuses the writes of one commit; what was stored stays, smaller commits and a repetition work."""
    with child(IO_ERROR, tmp_path) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.count("\n") == 2
    assert "disk I/O error" in said
    assert held(tmp_path) == Held({b"a": b"before", b"b": b"small", b"large": bytes(500_000)}, {}, {})


@pytest.mark.integration
def test_the_lock_names_the_other_process_and_dies_with_it(tmp_path: Path) -> None:
    with child(HOLDER, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        error = refused(StoreLocked, lambda: held(tmp_path))
        assert error.pid == process.pid
        assert f"is in use by process {process.pid}; " in str(error)
        process.kill()
        process.wait()
        assert held(tmp_path).doubts == ()


# -- power ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Held], list[int]]:
    """A store whose process ended without closing it; what it held after each commit; how long the log was then."""
    directory = tmp_path_factory.mktemp("running")
    store = SqliteStore(directory)
    states, lengths = [read_all(store.load())], [0]
    for number in range(1, 13):
        rows = {b"%d" % (n % 9): b"%d" % number * (100 * n) for n in range(number, number + 6)}
        store.commit([persist(number, rows, {INC: Ticks.upto(number)})])
        states.append(read_all(store.load()))
        lengths.append((directory / f"{FILE_NAME}-wal").stat().st_size)
    crashed = tmp_path_factory.mktemp("crashed")
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        shutil.copy(directory / name, crashed / name)
    store.close()
    return crashed, states, lengths


def after_power_cut(crashed: Path, log: bytes) -> Held:
    with tempfile.TemporaryDirectory() as name:
        shutil.copy(crashed / FILE_NAME, Path(name) / FILE_NAME)
        (Path(name) / f"{FILE_NAME}-wal").write_bytes(log)
        return held(Path(name))


def test_every_commit_is_in_the_log_as_a_whole(cut_off: tuple[Path, list[Held], list[int]]) -> None:
    crashed, states, lengths = cut_off
    log = (crashed / f"{FILE_NAME}-wal").read_bytes()
    for state, length, before in zip(states[1:], lengths[1:], states, strict=False):
        assert after_power_cut(crashed, log[:length]) == state
        assert after_power_cut(crashed, log[: length - 1]) == before


@given(st.integers(0, 1 << 30), st.binary(max_size=64))
def test_a_torn_log_gives_an_earlier_state_and_no_other(
    cut_off: tuple[Path, list[Held], list[int]], cut: int, tail: bytes
) -> None:
    """Whatever part of the log reached the disk, and whatever garbage stands behind it."""
    crashed, states, lengths = cut_off
    log = (crashed / f"{FILE_NAME}-wal").read_bytes()
    at = cut % (len(log) + 1)
    found = after_power_cut(crashed, log[:at] + tail)
    whole = sum(1 for length in lengths if length <= at) - 1
    assert found in states[whole : whole + 2]
    assert found.doubts == ()


@given(st.integers(0, 1 << 30), st.integers(1, 255))
def test_a_damaged_log_gives_an_earlier_state_and_no_other(
    cut_off: tuple[Path, list[Held], list[int]], at: int, flip: int
) -> None:
    """SQLite stops at the first frame with a wrong checksum: an older state, which is sound."""
    crashed, states, _ = cut_off
    log = bytearray((crashed / f"{FILE_NAME}-wal").read_bytes())
    log[at % len(log)] ^= flip
    assert after_power_cut(crashed, bytes(log)) in states
