"""Three real processes: one killed, one cut off, writes on both sides, healed: equal dumps, nothing lost."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from kvnode.client import Unavailable
from kvnode.testing.processes import NodeProcess, ProcessError, run_kv
from tests.support.nodes import Three, Writer, ask, equal_dumps, linked, put, status, values, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def on(*backends: str) -> pytest.MarkDecorator:
    """Which backends the nodes of a test run on. (Everything below the process is tested on each elsewhere.)"""
    return pytest.mark.parametrize("three", backends, indirect=True)


@pytest.fixture
def three(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Three]:
    with ExitStack() as stack:
        nodes = Three(stack, tmp_path, request.param)
        nodes.wait_linked()
        yield nodes


@on("asyncio", "trio")
def test_kill_one_cut_one_off_write_on_both_sides_heal(three: Three) -> None:
    a, b, c = three.all
    put(a, "room.temp", 20.0)
    put(a, "room.gone", 1)
    equal_dumps(a, b, c)
    with Writer(a) as on_a, Writer(b) as on_b, Writer(c) as on_c:
        for writer in (on_a, on_b, on_c):
            writer.wait()
        three.cut_off_c()
        put(a, "room.temp", 21.0)
        put(c, "room.temp", 22.0)
        ask(c, lambda kv: kv.delete("room.gone"))
        b.kill()
        on_a.wait()
        on_c.wait()
        b.start()
        on_b.wait()
        put(b, "room.after", "the crash")
        three.heal()
        three.wait_linked()
        on_a.wait()
    dump = equal_dumps(a, b, c)
    found = values(dump)
    assert sorted(found["room.temp"]) == [21.0, 22.0], "both sides' writes are there, as a conflict"
    assert "room.gone" not in found
    assert found["room.after"] == ["the crash"]
    for writer in (on_a, on_b, on_c):
        writer.check(found)
    for node in three.all:
        assert status(node)["conflicts"] == 1
    put(b, "room.temp", 23.0)
    assert values(equal_dumps(a, b, c))["room.temp"] == [23.0]


@on("asyncio")
def test_levels_and_what_a_lost_node_does_to_them(three: Three) -> None:
    a, b, c = three.all
    put(a, "x", 1, ack="all")
    put(b, "x", 2, ack="peer:2")
    c.kill()
    put(a, "x", 3, ack="peer:1")
    done = a.kv("set", "x", "4", "--ack", "all", "--timeout", "2", check=False)
    assert done.returncode == 5, done.stderr
    assert "stands" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    c.start()
    assert values(equal_dumps(a, b, c))["x"] == [4]


@on("trio")
def test_a_frozen_link_is_noticed_and_heals(three: Three) -> None:
    a, b, c = three.all
    for name in ("ac", "bc"):
        three.between[name].freeze()
    wait_for(lambda: linked(c) == set() and linked(a) == {"b"}, "the silence to be noticed")
    put(a, "x", "a")
    put(c, "y", "c")
    three.heal()
    found = values(equal_dumps(a, b, c))
    assert (found["x"], found["y"]) == (["a"], ["c"])


@on("asyncio")
def test_a_process_that_hangs_for_a_while_comes_back(three: Three) -> None:
    a, b, c = three.all
    b.pause()
    try:
        put(a, "x", 1)
        wait_for(lambda: linked(a) == {"c"}, "the hanging node to be noticed")
    finally:
        b.resume()
    three.wait_linked()
    assert values(equal_dumps(a, b, c))["x"] == [1]


def test_the_chain_relays(tmp_path: Path) -> None:
    a = NodeProcess("a", tmp_path)
    b = NodeProcess("b", tmp_path, peers=[a.address])
    c = NodeProcess("c", tmp_path, peers=[b.address])
    with a, b, c:
        put(a, "x", 1)
        put(c, "y", 2)
        found = values(equal_dumps(a, b, c))
        assert (found["x"], found["y"]) == ([1], [2])
        ask(a, lambda kv: kv.delete("y"))
        assert "y" not in values(equal_dumps(a, b, c))
        put(a, "x", 3, ack="all")
        assert "c" not in linked(a)  # nodes of one machine keep the links they were given


# -- one process ---------------------------------------------------------------------------------------------


def test_sigterm_ends_a_node_in_order(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        with Writer(node) as writer:
            writer.wait()
            assert node.terminate() == 0
        node.start()
        found = values(node.dump())
        writer.check(found)
    assert "error" not in node.read_log()


def test_ctrl_c_is_as_good(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        put(node, "x", 1)
        assert node.terminate(signal.SIGINT) == 0
        assert "Traceback" not in node.read_log()


def test_one_line_says_why_a_node_does_not_start(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        same_port = run_kv(*start(tmp_path / "other", node.address), check=False)
        assert same_port.returncode != 0
        assert same_port.stderr.splitlines() == [
            f"kv: cannot listen on {node.address}: address already in use; --listen chooses another place"
        ]
        same_store = run_kv(*start(node.data, "127.0.0.1:0"), check=False)
        assert same_store.returncode != 0
        (line,) = same_store.stderr.splitlines()
        assert "in use by process" in line
    outside = run_kv(*start(tmp_path / "out", "0.0.0.0:0"), check=False)
    assert outside.returncode == 2
    assert "--insecure" in outside.stderr


def start(data: Path, listen: str) -> list[str]:
    return ["node", "run", "--name", "x", "--data", str(data), "--listen", listen, "--socket", "none"]


def test_the_local_socket_is_private_and_goes_away(tmp_path: Path) -> None:
    runtime = tmp_path / "run"
    runtime.mkdir()
    node = NodeProcess("a", tmp_path, args=["--socket", "auto"], env={"XDG_RUNTIME_DIR": str(runtime)})
    path = runtime / "kvnode" / "a.sock"
    with node:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        run_kv("set", "x", "1", "--node", f"unix:{path}")
        node.kill()
        assert path.exists(), "nobody could remove it"
        node.start()
        assert run_kv("get", "x", "--node", f"unix:{path}", "--format", "json").stdout == "1\n"
        node.terminate()
        assert not path.exists()


def test_a_node_without_a_place_for_its_socket_says_so_and_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    args = ["--socket", "auto", "--log-format", "text"]
    long_name = "n" * 60
    node = NodeProcess(long_name, tmp_path, args=args, env={"XDG_RUNTIME_DIR": str(tmp_path / ("d" * 80))})
    (tmp_path / ("d" * 80)).mkdir()
    with node:
        put(node, "x", 1)
        assert "no local socket" in node.read_log() or Path(f"/run/kvnode/{long_name}.sock").exists()
        node.terminate()  # in order: a root's node has a socket after all, outside of our folder, and that goes with it


def test_strangers_do_no_harm(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        for data in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\xff\xff\xff\xff",
            b"\0\0\0\x01\xc1",
            b"\0\0\0\x02\x91\x7f",
        ):
            with socket.create_connection(("127.0.0.1", node.port), timeout=60) as stranger:
                stranger.sendall(data)
                assert stranger.recv(100) in (b"",) or data.endswith(b"\x7f")
        put(node, "x", 1)


def test_a_dead_node_is_unavailable(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as node:
        node.kill()
        with pytest.raises(Unavailable):
            put(node, "x", 1)
        with pytest.raises(ProcessError):
            node.kv("get", "x")
