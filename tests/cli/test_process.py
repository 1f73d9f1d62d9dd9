"""``kv`` as a process on a real node: signals, pipes, terminals, start-up, dump and load."""

from __future__ import annotations

import json
import os
import pty
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvnode.testing.processes import NodeProcess, environment, free_port, run_kv
from tests.cli.conftest import Result
from tests.support.nodes import ask, dump_of, put, status, wait_for

Kv = Callable[..., Result]

pytestmark = pytest.mark.integration

KV = [sys.executable, "-m", "kvnode"]
WAIT_S = 60.0
FULL = (
    "kv: standard output: No space left on device; "
    "the output is not complete: make room where it goes, or send it elsewhere\n"
)
START_S = 0.25
"""What ``kv get`` may cost on a quiet machine,"""
PLAIN_S = 0.07
"""where starting Python with asyncio costs this."""
HEAVY = {"aiohttp", "jsonschema", "kvagents", "rich", "ruamel", "sqlite3", "trio", "uvloop", "yaml"}
HEAVY |= {"kvnode.node", "kvnode.store", "kvnode.testing", "kvnode.cli.demo", "kvnode.cli.dump"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One node for all tests here; each uses paths of its own."""
    with NodeProcess("a", tmp_path_factory.mktemp("node")) as running:
        yield running


def _start(*args: str, **options: object) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen([*KV, *args], env=environment(), text=True, **pipes)  # type: ignore[call-overload]


# -- a node --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_node_run_prints_one_line_and_ends_with_0(tmp_path: Path, backend: str, number: signal.Signals) -> None:
    node = NodeProcess("n", tmp_path, args=["--backend", backend])
    process = _start(*node.command()[3:])
    assert process.stdout is not None
    assert process.stdout.readline() == f"kvnode n ready on {node.address}\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--name", "n"), 2),
        (("--name", "no name", "--data", "x"), 2),
        (("--name", "n", "--store", "memory", "--listen", "0.0.0.0:0"), 2),
        (("--name", "n", "--store", "memory", "--config", "/nonexistent.yaml"), 2),
    ],
)
def test_a_node_that_cannot_run_says_why(kv_here: Kv, args: tuple[str, ...], code: int) -> None:
    done = kv_here("node", "run", *args)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("kv: ")
    assert done.err.count("\n") == 1


def test_a_node_without_a_store_says_why() -> None:
    where = ("--data", "/dev/null/x", "--socket", "none", "--listen", "127.0.0.1:0")
    done = run_kv("node", "run", "--name", "n", *where, check=False)
    assert (done.returncode, done.stdout) == (70, "")
    assert done.stderr.startswith("kv: ")
    assert "Traceback" not in done.stderr


def test_show_config(tmp_path: Path) -> None:
    file = tmp_path / "node.yaml"
    file.write_text("name: attic\nstore: memory\n")
    rows = [
        json.loads(line)
        for line in run_kv(
            "--format", "jsonl", "node", "run", "--config", str(file), "--http", "127.0.0.1:9", "--show-config"
        ).stdout.splitlines()
    ]
    found = {row["key"]: (row["value"], row["origin"]) for row in rows}
    assert found["name"] == ("attic", f"{file}:1")
    assert found["http"] == ("127.0.0.1:9", "--http")
    assert found["peers"] == ([], "default")


def test_the_one_local_node_is_found(tmp_path: Path) -> None:
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with NodeProcess("a", tmp_path, args=["--socket", "auto"], env=env):
        found = subprocess.run(
            [*KV, "status", "--format", "json"], env=environment(env), capture_output=True, text=True, check=True
        )
        assert json.loads(found.stdout)["node"] == "a"
        with NodeProcess("b", tmp_path, args=["--socket", "auto"], env=env):
            done = subprocess.run([*KV, "status"], env=environment(env), capture_output=True, text=True, check=False)
            assert done.returncode == 2
            assert done.stderr.count("\n") == 1
            for name in ("a", "b"):
                assert f"unix:{tmp_path}/kvnode/{name}.sock" in done.stderr


def test_no_node_is_code_3_without_a_wait() -> None:
    done = run_kv("get", "x", "--node", f"127.0.0.1:{free_port()}", "--timeout", "3600", check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.count("\n") == 1


def test_a_node_that_is_silent_is_code_3_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run_kv("get", "x", "--node", address, "--timeout", "0.3", check=False)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1


# -- signals and pipes ---------------------------------------------------------------------------------------


def test_a_watch_prints_at_once_and_ends_silently_on_ctrl_c(node: NodeProcess) -> None:
    with _start("watch", "watched", "--format", "jsonl", "--node", node.address) as watch:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline()) == {"uptodate": True}
        node.kv("set", "watched.x", "1")
        assert json.loads(watch.stdout.readline())["value"] == 1
        node.kv("delete", "watched.x")
        assert "value" not in json.loads(watch.stdout.readline())
        watch.send_signal(signal.SIGINT)
        out, err = watch.communicate(timeout=WAIT_S)
    assert (watch.returncode, out, err) == (0, "", "")


def test_an_error_that_is_acknowledged_while_it_is_watched(node: NodeProcess) -> None:
    time = {"$time": "2026-01-01T00:00:00Z"}
    record = {"subsystem": "x", "path": {"$path": "a.b"}, "code": "c", "message": "no answer", "severity": "error"}
    record |= {"count": 1, "first": time, "opened": time, "last": time, "resolved": None}
    run_kv("set", "@.errors.x.b", json.dumps(record), "--node", node.address)
    process = _start("errors", "watch", "x", "--node", node.address, "--format", "jsonl")
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["state"] == "open"
        run_kv("errors", "ack", "x.b", "a cable", "--node", node.address)
        row = json.loads(process.stdout.readline())
        assert (row["state"], row["acknowledged"]["comment"]) == ("known", "a cable")
    finally:
        process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=WAIT_S) == ("", "")


def test_a_closed_pipe_is_silent(node: NodeProcess) -> None:
    with _start("watch", "piped", "--format", "jsonl", "--node", node.address) as watch:
        assert watch.stdout is not None
        watch.stdout.readline()
        watch.stdout.close()
        node.kv("set", "piped.x", "1")
        assert watch.wait(WAIT_S) == 0
        assert watch.stderr is not None
        assert watch.stderr.read() == ""


def test_ctrl_c_while_standard_input_is_read(node: NodeProcess) -> None:
    reading, writing = os.pipe()
    with _start("set", "x", "-", "--node", node.address, stdin=reading) as waiting:
        try:
            _wait_for_thread(waiting.pid)
            waiting.send_signal(signal.SIGINT)
            out, err = waiting.communicate(timeout=WAIT_S)
        finally:
            os.close(reading)
            os.close(writing)
    assert (waiting.returncode, out, err) == (130, "", "")


def _wait_for_thread(pid: int) -> None:
    """Until the process has begun to read, which it does in a thread of its own."""
    until = time.monotonic() + WAIT_S
    while len(os.listdir(f"/proc/{pid}/task")) < 2:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "line",
    ["--help", "get --help", "--version", "completion bash", "plugins", "get home.attic", "list", "dump", "watch home"],
)
def test_a_full_disk_at_the_output_is_one_line(node: NodeProcess, line: str, unbuffered: str) -> None:
    node.kv("set", "home.attic", "1")
    env = environment({"KV_NODE": node.address, "PYTHONUNBUFFERED": unbuffered})
    with open("/dev/full", "w") as full:
        done = subprocess.run([*KV, *line.split()], env=env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (70, FULL)


def test_completion_to_a_full_disk_is_one_line() -> None:
    env = environment({"COMP_WORDS": "kv ge", "COMP_CWORD": "1", "_KV_COMPLETE": "bash_complete"})
    with open("/dev/full", "w") as full:
        done = subprocess.run(KV, env=env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (70, FULL)


def test_what_was_done_stands_if_its_answer_cannot_be_told(node: NodeProcess) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*KV, "set", "told.nobody", "1", "--node", node.address],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert (done.returncode, done.stderr) == (70, FULL)
    assert node.kv("get", "told.nobody").stdout == "1\n"


def test_a_closed_output_is_one_line() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *KV, "--help"], env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert done.returncode == 70
    assert done.stderr == "kv: standard output is closed: send it to a file, a pipe or /dev/null\n"


@pytest.mark.parametrize("line", ["--help", "get --help", "completion bash"])
def test_a_pipe_that_nobody_reads_is_silent(line: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run([*KV, *line.split()], env=environment(), stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


# -- a terminal ----------------------------------------------------------------------------------------------


def _on_terminal(*args: str, env: dict[str, str]) -> str:
    """What a command prints on a terminal."""
    master, slave = pty.openpty()
    try:
        done = subprocess.Popen([*KV, *args], env=environment(env), stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        parts: list[bytes] = []
        while select.select([master], [], [], WAIT_S)[0]:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            parts.append(part)
        assert done.wait(WAIT_S) == 0
        return b"".join(parts).decode()
    finally:
        os.close(master)


def test_colour_only_on_a_terminal_that_wants_it(node: NodeProcess) -> None:
    node.kv("set", "shown.x", '"\\u001b[2Jtext"')
    args = ("list", "shown", "--node", node.address)
    plain = {"NO_COLOR": "1", "TERM": "xterm"}
    assert "\x1b[" in _on_terminal(*args, env={"TERM": "xterm-256color", "NO_COLOR": ""})
    for env in (plain, {"TERM": "dumb"}):
        shown = _on_terminal(*args, env=env)
        assert "\x1b[3" not in shown
        assert "shown.x" in shown
        assert "\x1b[2J" not in shown
    assert "\x1b" not in node.kv(*args[:2]).stdout
    assert "\x1b[2J" not in _on_terminal("get", "shown.x", "--node", node.address, env=plain)
    tree = _on_terminal("tree", "shown", "--node", node.address, env=plain)
    assert tree.split()[0] == "shown"
    assert "x = " in tree


def test_long_work_tells_a_terminal_how_far_it_is(node: NodeProcess) -> None:
    master, slave = pty.openpty()
    env = environment({"TERM": "xterm", "NO_COLOR": "1"})
    args = [*KV, "load", "-", "--node", node.address]
    process = subprocess.Popen(args, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    try:
        assert process.stdin is not None
        shown = b""
        until = time.monotonic() + WAIT_S
        while b"paths read" not in shown:
            assert time.monotonic() < until
            process.stdin.write(b'{"path": "progress", "value": 1}\n' * 512)
            process.stdin.flush()
            if select.select([master], [], [], 0.1)[0]:
                shown += os.read(master, 65536)
        out, _ = process.communicate(timeout=WAIT_S)
    finally:
        process.kill()
        os.close(master)
    assert process.returncode == 0
    assert b"paths read" in out
    assert b"paths read" in shown


def test_lines_of_a_list_can_be_loaded(node: NodeProcess) -> None:
    node.kv("load", "-", input='{"path": "hand.a", "value": {"$time": "2026-01-01T00:00:00Z"}}\n')
    node.kv("set", "hand.b", "[1, 2]")
    listed = node.kv("list", "hand", "--format", "jsonl").stdout
    node.kv("delete", "hand", "--recursive", "--yes")
    node.kv("load", "-", input=listed)
    again = [(row["path"], row["value"]) for row in map(json.loads, listed.splitlines())]
    assert again == [("hand.a", {"$time": "2026-01-01T00:00:00Z"}), ("hand.b", [1, 2])]
    now = node.kv("list", "hand", "--format", "jsonl").stdout
    assert [(row["path"], row["value"]) for row in map(json.loads, now.splitlines())] == again
    node.kv("set", "hand.c", "1", "--ttl", "1h")
    lease = node.kv("list", "hand.c", "--format", "jsonl").stdout
    done = node.kv("load", "-", input=lease, check=False)
    assert (done.returncode, done.stderr) == (2, "kv: standard input, line 1: a lease; it takes a dump to load one\n")


# -- dump and load -------------------------------------------------------------------------------------------


def _line(path: str, value: object, **more: object) -> str:
    version = {"dot": "x~0123456789abcdef:1", "stamp": 1, "value": value, "author": "", **more}
    return json.dumps({"path": path, "versions": [version]}) + "\n"


def test_dump_and_load(tmp_path: Path, kv_here: Kv) -> None:
    with NodeProcess("one", tmp_path) as one, NodeProcess("two", tmp_path) as two:
        lines = [_line("a.b", 1), _line("a", "on"), _line("c.:3", {"x": [1, 2.5]}), _line("b", {"$bytes": "aGk="})]
        one.kv("load", "-", input="".join(lines) + _line("gone", 1) + _line("expired", 1, expiry=1))
        ask(one, lambda kv: kv.delete("gone"))
        file = tmp_path / "dump.jsonl"
        file.write_text(kv_here("dump", "--known", "--records", "--node", one.address).out)
        assert set(json.loads(file.read_text().splitlines()[0])) == {"known"}
        plain = one.dump()
        assert [json.loads(line)["path"] for line in plain.splitlines()] == ["@.nodes.one", "a", "a.b", "b", "c.:3"]

        done = kv_here("load", str(file), "--format", "json", "--node", two.address).json
        assert (done["written"], done["unchanged"], done["skipped"]) == (4, 0, 1)
        file.write_text(plain)
        again = kv_here("load", str(file), "--format", "json", "--node", two.address).json
        assert (again["written"], again["unchanged"]) == (0, 4)
        assert _values(dump_of(two)) == _values(plain)


def test_versions_come_back_under_their_own_dots(tmp_path: Path, node: NodeProcess, kv_here: Kv) -> None:
    file = tmp_path / "dump.jsonl"
    file.write_text(_line("old.a", 1) + _line("old.b", {"x": 1}) + _line("old.gone", 1))
    assert kv_here("load", str(file), "--node", node.address).code == 0
    ask(node, lambda kv: kv.delete("old.gone"))
    file.write_text(kv_here("dump", "old", "--records", "--node", node.address).out)
    with NodeProcess("other", tmp_path) as other:
        load = ("load", str(file), "--versions", "--format", "json", "--node", other.address)
        assert kv_here(*load).json["written"] >= 2  # the delete may be forgotten by now
        dumps = [kv_here("dump", "old", "--node", of.address).out for of in (other, node)]
        assert dumps[0] == dumps[1]
        assert kv_here(*load).json["written"] == 0
        assert kv_here("get", "old.gone", "--node", other.address).code == 1


def _values(dump: str) -> dict[str, list[object]]:
    rows = [json.loads(line) for line in dump.splitlines()]
    return {r["path"]: [v["value"] for v in r["versions"]] for r in rows if not r["path"].startswith("@")}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nonsense", "not JSON"),
        ("[]", "no path"),
        ('{"path": "a:b", "versions": []}', "unknown escape"),
        ('{"path": "a"}', "missing required field `versions`"),
        ('{"path": "a", "versions": [{"stamp": 1, "value": 1}]}', "missing required field `dot`"),
        (
            '{"path": "a", "versions": [{"stamp": "x", "dot": "a~0123456789abcdef:1", "value": 1}]}',
            "$.versions[0].stamp",
        ),
        ('{"path": "a", "versions": [{"stamp": 1, "dot": "a:1", "value": 1}]}', "is no dot"),
        ('{"path": "a", "versions": [{"stamp": 1, "dot": "a~0123456789abcdef:1", "value": {"$bytes": 1}}]}', "$bytes"),
        ('{"path": "a", "versions": 7}', "not a line of a dump"),
    ],
)
def test_a_broken_dump_names_the_line(tmp_path: Path, node: NodeProcess, kv_here: Kv, line: str, says: str) -> None:
    file = tmp_path / "dump.jsonl"
    file.write_text(f'{{"known": {{}}}}\n\n{line}\n')
    done = kv_here("load", str(file), "--node", node.address)
    assert done.code == 2
    assert done.err.startswith(f"kv: {file}, line 3: ")
    assert says in done.err
    assert done.err.count("\n") == 1


def test_versions_need_records(node: NodeProcess) -> None:
    done = node.kv("load", "-", "--versions", check=False, input=dump_of(node))
    assert done.returncode == 2
    assert done.stderr.startswith("kv: standard input, line 1: ")
    assert "kv dump --records" in done.stderr


# -- start-up ------------------------------------------------------------------------------------------------


def test_get_imports_only_what_it_needs(node: NodeProcess) -> None:
    node.kv("set", "quick", "1")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kvnode", "get", "quick", "--node", node.address],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "kvnode.client" in loaded
    assert not loaded & HEAVY


def test_start_up_costs_less_than_a_quarter_of_a_second(node: NodeProcess, tmp_path: Path) -> None:
    """Processor time, the best of some runs; on a busy machine in proportion to what Python's own start takes there."""
    node.kv("set", "quick", "1")
    env = environment({"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""})
    plain, ours = [], []
    for _ in range(4):
        plain.append(_cost([sys.executable, "-c", "import asyncio"], env))
        ours.append(_cost([*KV, "get", "quick", "--node", node.address], env))
    assert min(ours) < START_S * max(1.0, min(plain) / PLAIN_S), (plain, ours)


def _cost(command: list[str], env: dict[str, str]) -> float:
    """Seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


# -- a real conflict -----------------------------------------------------------------------------------------


def test_a_conflict_is_listed_and_resolved(tmp_path: Path, kv_here: Kv) -> None:
    with NodeProcess("a", tmp_path) as a:
        put(a, "home.target", 21)
        assert a.terminate() == 0
        with NodeProcess("b", tmp_path, peers=[a.address]) as b:
            put(b, "home.target", 18)
            a.start()
            wait_for(lambda: status(b)["conflicts"] == 1, "the conflict")
            (row,) = kv_here("conflicts", "list", "--format", "jsonl", "--node", b.address).lines
            assert row["path"] == "home.target"
            assert [(s["node"], s["value"]) for s in row["siblings"]] == [("b", 18), ("a", 21)]
            assert b.kv("get", "home.target").stdout == "18\n"
            b.kv("conflicts", "resolve", "home.target", "--take", "a", "--ack", "all", "--timeout", "60")
            assert a.kv("get", "home.target").stdout == "21\n"
            assert kv_here("conflicts", "list", "--node", a.address).out == "no conflicts\n"
            assert kv_here("status", "--format", "json", "--node", a.address).json["peers"][0]["name"] == "b"
