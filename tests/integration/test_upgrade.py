"""Upgrading: real nodes of the release before, node by node, under load; refusals; and the ways back.

docs/reference/compatibility.md is the promise that this checks, together with tests/unit/test_releases.py.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kvnode.client import Refused
from kvnode.store.migrations import SCHEMA_VERSION
from kvnode.testing.processes import COMMAND_TIMEOUT_S, NodeProcess, environment, run_kv
from tests.support.nodes import Three, Writer, ask, dump_of, equal_dumps, put, status, values, wait_for
from tests.support.releases import RELEASES, copied_store, environment_of, unpacked

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BEFORE = "0.1.0"
PAUSE_S = 0.02
"""Between two writes of the load: what counts here is the mixture of versions, not the rate."""
FUTURE = """
import sys, kvnode.core.messages as m
m.PROTOCOL_MIN, m.PROTOCOL_MAX = {low}, {high}
from kvnode.cli.main import run
run()
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(BEFORE, tmp_path_factory.mktemp("release"))


@pytest.fixture
def old(release: Path) -> dict[str, str]:
    """The environment in which ``python -m kvnode`` is the release before."""
    return environment_of(release)


def old_kv(
    old: dict[str, str], *args: str, check: bool = True, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the ``kv`` of the release before."""
    done = subprocess.run(
        [sys.executable, "-m", "kvnode", *args],
        env=environment(old),
        input=input,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def test_the_release_is_what_runs(old: dict[str, str]) -> None:
    assert old_kv(old, "--version").stdout == f"kvnode {BEFORE}\n"


# -- node by node --------------------------------------------------------------------------------------------


@pytest.fixture
def three(old: dict[str, str], tmp_path: Path) -> Iterator[Three]:
    with ExitStack() as stack:
        nodes = Three(stack, tmp_path, env=old)
        nodes.wait_linked()
        yield nodes


def clash(three: Three, path: str) -> None:
    """Both sides of a cut write the same path; one deletes what the other one keeps writing."""
    a, c = three.a, three.c
    put(a, f"{path}.gone", 1, ack="all")
    three.cut_off_c()
    put(a, path, "of a")
    put(c, path, "of c")
    ask(c, lambda kv: kv.delete(f"{path}.gone"))
    three.heal()
    three.wait_linked()
    wait_for(lambda: all(siblings(node, path) == {"of a", "of c"} for node in three.all), f"the conflict at {path}")


def siblings(node: NodeProcess, path: str) -> set[Any]:
    return {sibling.value for sibling in ask(node, lambda kv: kv.get(path)).siblings}


def test_node_by_node_under_load(three: Three) -> None:
    a, b, c = three.all
    with Writer(a, PAUSE_S) as on_a, Writer(b, PAUSE_S) as on_b, Writer(c, PAUSE_S) as on_c:
        writers = (on_a, on_b, on_c)
        for node in three.all:
            for writer in writers:
                writer.wait(20)
            if node is b:
                b.kill()  # with a log that nobody wrote back
            else:
                assert node.terminate() == 0
            node.env = {}
            node.start()
            three.wait_linked()
            clash(three, f"clash.{node.name}")
        for writer in writers:
            writer.wait(20)
    found = values(equal_dumps(a, b, c))
    for writer in writers:
        writer.check(found)
    assert [sorted(found[f"clash.{name}"]) for name in "abc"] == [["of a", "of c"]] * 3
    assert not [path for path in found if path.endswith(".gone")]
    put(b, "clash.a", "settled", ack="all")
    wait_for(lambda: {status(node)["conflicts"] for node in three.all} == {2}, "one conflict less")
    wait_for(lambda: {status(node)["tombstones"] for node in three.all} == {0}, "all deletes to be forgotten")
    assert all(not status(node)["reports"] for node in three.all)


# -- clients -------------------------------------------------------------------------------------------------


Kv = Callable[..., subprocess.CompletedProcess[str]]


def talk(kv: Kv, env: dict[str, str], node: NodeProcess) -> None:
    """What every ``kv`` and every node can do with each other: set, watch, dump, delete, load, get, status."""
    to = ("--node", node.address)
    kv("set", "room.temp", "21.5", *to)
    assert watched(env, node, "room", change=("room.hall", {"a": [1]})) == [
        {"path": "room.temp", "value": 21.5},
        {"path": "room.hall", "value": {"a": [1]}},
    ]
    dump = kv("dump", "room", *to).stdout
    assert values(dump) == {"room.hall": [{"a": [1]}], "room.temp": [21.5]}
    kv("delete", "room.temp", *to)
    assert "room.temp" not in values(dump_of(node))
    kv("load", "-", *to, input=dump)
    assert kv("get", "room.temp", "--format", "json", *to).stdout == "21.5\n"
    assert json.loads(kv("status", "--format", "json", *to).stdout)["node"] == node.name


def watched(env: dict[str, str], node: NodeProcess, path: str, change: tuple[str, Any]) -> list[dict[str, Any]]:
    """Path and value of each line that ``kv watch`` prints, with a change made behind the snapshot."""
    how = ("--count", "1", "--format", "jsonl", "--node", node.address)
    command = [sys.executable, "-m", "kvnode", "watch", path, *how]
    with subprocess.Popen(command, env=environment(env), stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        rows = []
        for line in watch.stdout:
            row = json.loads(line)
            if "uptodate" in row:
                put(node, *change)
            else:
                rows.append({"path": row["path"], "value": row["value"]})
        assert watch.wait(COMMAND_TIMEOUT_S) == 0
    return rows


def test_an_old_kv_gets_on_with_a_new_node(old: dict[str, str], tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        talk(partial(old_kv, old), old, node)


def test_a_new_kv_gets_on_with_an_old_node_and_says_what_it_cannot_do(old: dict[str, str], tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path, env=old) as node:
        talk(run_kv, {}, node)
        with pytest.raises(
            Refused, match="the node a is too old for compacting its store; upgrade it, or ask a newer one"
        ) as told:
            ask(node, lambda kv: kv.compact())
        assert told.value.code == "too_old"
        put(node, "room.after", 1)


def test_output_for_programs_keeps_its_fields(old: dict[str, str], tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        put(node, "room.temp", 21.5)
        for command in (("status",), ("list", "room"), ("set", "room.temp", "22"), ("get", "room.nothing")):
            how = (*command, "--format", "json", "--node", node.address)
            then, now = old_kv(old, *how, check=False), run_kv(*how, check=False)
            assert then.returncode == now.returncode
            assert bool(fields(then.stdout)) == (then.returncode == 0)
            assert fields(then.stdout) <= fields(now.stdout), command


def fields(text: str) -> set[str]:
    """The names in a JSON text, dotted."""
    return set(_fields(json.loads(text), "")) if text else set()


def _fields(value: Any, path: str) -> Iterator[str]:
    for inner in value if isinstance(value, list) else ():
        yield from _fields(inner, path)
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield path + name
        yield from _fields(inner, f"{path}{name}.")


# -- stores --------------------------------------------------------------------------------------------------


def test_a_node_serves_the_store_of_the_release_before(tmp_path: Path) -> None:
    copied_store(BEFORE, tmp_path).rename(tmp_path / "a")
    expected = (RELEASES / BEFORE / "dump.jsonl").read_text(encoding="utf-8")
    with NodeProcess("a", tmp_path) as node:
        found, wanted = values(dump_of(node)), values(expected)
        assert found.pop("@.nodes.a")[0]["addresses"] == [node.address]
        del wanted["@.nodes.a"]
        assert found == wanted
        assert status(node)["tombstones"] >= 2, "deletes that b has not heard of are kept"
        assert not status(node)["reports"]
        put(node, "room.temp", 23.0)
        node.kill()
        node.start()
        assert values(dump_of(node))["room.temp"] == [23.0]


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line in which a node does not start."""
    assert done.returncode == 70
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


def run_on(data: Path) -> tuple[str, ...]:
    return ("node", "run", "--name", "a", "--data", str(data), "--listen", "127.0.0.1:0", "--socket", "none")


def test_the_release_before_refuses_a_newer_store_and_leaves_it_alone(old: dict[str, str], tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        put(node, "x", 1)
        assert node.terminate() == 0
        file = node.data / "kv.sqlite"
        before = file.read_bytes()
        assert refusal(old_kv(old, *run_on(node.data), check=False)) == (
            f"kv: {file}: has schema {SCHEMA_VERSION}, this kvnode knows schemas up to 1; "
            "install the kvnode that wrote it, or start with an empty directory and let the peers fill it"
        )
        assert file.read_bytes() == before
        node.start()
        assert values(dump_of(node))["x"] == [1]


def test_this_release_refuses_the_store_of_the_next_one(tmp_path: Path) -> None:
    data = copied_store(BEFORE, tmp_path)
    with closing(sqlite3.connect(data / "kv.sqlite")) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    line = refusal(run_kv(*run_on(data), check=False))
    assert f"has schema {SCHEMA_VERSION + 1}, this kvnode knows schemas up to {SCHEMA_VERSION}" in line
    assert line.endswith("start with an empty directory and let the peers fill it")


# -- the ways back -------------------------------------------------------------------------------------------


def test_back_to_the_release_before_through_the_peers(old: dict[str, str], tmp_path: Path) -> None:
    """As the refusal says: an empty directory, and the peers, which stay new, fill it."""
    a = NodeProcess("a", tmp_path)
    b = NodeProcess("b", tmp_path, peers=[a.address])
    with a, b:
        with Writer(a, PAUSE_S) as on_a, Writer(b, PAUSE_S) as on_b:
            on_a.wait()
            on_b.wait()
        put(b, "last", 1, ack="all")
        assert b.terminate() == 0
        b.data.rename(tmp_path / "kept")
        b.env = old
        b.start()
        put(b, "after", "the way back", ack="all")
        found = values(equal_dumps(a, b))
        on_a.check(found)
        on_b.check(found)
        assert found["after"] == ["the way back"]


def test_back_to_the_release_before_by_a_dump(old: dict[str, str], tmp_path: Path) -> None:
    """For a node without peers: its history of deletes stays behind, its values come along."""
    dump = tmp_path / "dump.jsonl"
    with NodeProcess("a", tmp_path) as node:
        rooms = {f"room.n{number}": {"number": number} for number in range(5)}
        for path, value in rooms.items():
            put(node, path, value)
        dump.write_text(node.dump(), encoding="utf-8")
        node.terminate()
        node.data.rename(tmp_path / "kept")
        node.env = old
        node.start()
        old_kv(old, "load", str(dump), "--node", node.address)
        found = values(dump_of(node))
        assert {path: value for path, value in found.items() if path in rooms} == {p: [v] for p, v in rooms.items()}


# -- protocols -----------------------------------------------------------------------------------------------


class Future(NodeProcess):
    """A node of this tree that speaks the protocols `low` to `high` with its peers."""

    low, high = 2, 3

    def command(self) -> list[str]:
        _, _, _, *rest = super().command()
        return [sys.executable, "-c", FUTURE.format(low=self.low, high=self.high), *rest]


class Between(Future):
    """One release earlier: it still speaks today's protocol."""

    low, high = 1, 2


def test_protocols_are_negotiated(old: dict[str, str], tmp_path: Path) -> None:
    a = NodeProcess("a", tmp_path, env=old)
    b = Between("b", tmp_path, peers=[a.address])
    with a, b:
        put(a, "x", 1, ack="all")
        put(b, "y", 2, ack="all")
        equal_dumps(a, b)


def test_a_peer_without_a_common_protocol_is_refused_in_a_line_on_both_sides(tmp_path: Path) -> None:
    a = NodeProcess("a", tmp_path, args=["--log-format", "json"])
    b = Future("b", tmp_path, peers=[a.address], args=["--log-format", "json"])
    with a, b:
        wait_for(lambda: bool(unfit(a) and unfit(b)), "both to say why")
        assert unfit(a)[0] == "it speaks protocol 2 to 3, this node 1 to 1: upgrade this node"
        assert unfit(b)[0] == "it speaks protocol 1 to 1, this node 2 to 3: upgrade the node a"
        (row,) = status(b)["peers"]
        assert row["error"].endswith("upgrade the node a")
        put(a, "x", 1)


def unfit(node: NodeProcess) -> list[str]:
    """Why peers were refused, by the node's log."""
    rows = (json.loads(line) for line in node.read_log().splitlines())
    return [row["why"] for row in rows if "unfit" in str(row)]
