"""Completing paths: against a real node, and in silence where there is none."""

from __future__ import annotations

import logging
import os
import pty
import select
import shlex
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator

import pytest

from kvnode.cli import pathcomplete
from kvnode.cli.pathcomplete import split
from kvnode.client import Put
from kvnode.core.path import ROOT
from kvnode.core.path import Path as KvPath
from kvnode.testing.processes import NodeProcess, environment, free_port
from tests.cli.conftest import Result
from tests.support.nodes import ask, wait_for

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with NodeProcess("n", tmp_path_factory.mktemp("complete")) as running:
        paths = ("home.attic.temp", "home.attic", "home.cellar.temp", "ho:.me", "knx.:1.:2")
        ask(running, lambda kv: kv.batch([Put(path, 1) for path in paths]))
        yield running


def question(address: str, *words: str) -> dict[str, str]:
    """What the shell's script puts into the environment."""
    line = shlex.join(["kv", *words]) if words[-1] else shlex.join(["kv", *words[:-1]])
    return {
        "_KV_COMPLETE": "bash_complete",
        "KV_NODE": address,
        "COMP_CWORD": str(len(words)),
        "COMP_WORDS": line,
    }


def offered(out: str) -> list[str]:
    return [line.partition(",")[2] for line in out.splitlines() if line]


def complete(address: str, *words: str) -> list[str]:
    """As a shell asks: in a process of its own."""
    command = [sys.executable, "-m", "kvnode"]
    env = environment(question(address, *words))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return offered(done.stdout)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("", ["ho:.me", "home.", "knx."]),
        ("ho", ["ho:.me", "home."]),
        ("home.", ["home.attic", "home.attic.", "home.cellar."]),
        ("home.a", ["home.attic", "home.attic."]),
        ("home.attic.", ["home.attic.temp"]),
        ("knx.", ["knx.:1."]),
        ("knx.:1.", ["knx.:1.:2"]),
        ("@", ["@."]),
        ("@.n", ["@.nodes."]),
        ("none.", []),
        ("home..", []),
    ],
)
def test_paths_complete(
    node: NodeProcess,
    kv_here: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    typed: str,
    wanted: list[str],
) -> None:
    for name, value in question(node.address, "get", typed).items():
        monkeypatch.setenv(name, value)
    done = kv_here()
    assert (offered(done.out), done.err) == (wanted, "")


def test_others_may_log_while_a_path_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    async def children(address: str, path: KvPath) -> list[str]:
        seen.append(logging.getLogger("kvnode.node").isEnabledFor(logging.CRITICAL))
        return []

    monkeypatch.setattr(pathcomplete, "_children", children)
    pathcomplete.complete_path("home", f"127.0.0.1:{free_port()}")
    assert seen == [True]


def test_what_is_logged_meanwhile_is_not_shown() -> None:
    program = """
import logging
from kvnode.cli import pathcomplete

async def children(address, path):
    logging.getLogger("kvnode.client").error("loud")
    raise ValueError

pathcomplete._children = children
print(pathcomplete.complete_path("home", "127.0.0.1:1"))
"""
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_node_of_the_command_line_is_asked(node: NodeProcess) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    assert complete(nobody, "get", "--node", node.address, "knx.") == ["knx.:1."]
    assert complete(nobody, "get", "knx.") == []
    assert complete(f"unix:{os.devnull}", "get", "knx.") == []


@pytest.mark.parametrize(
    ("shell", "lines"),
    [
        ("bash", ["plain,home.attic", "plain,home.attic."]),
        ("zsh", ["plain", "home.attic", "_", "plain", "home.attic.", "_"]),
        ("fish", ["plain,home.attic", "plain,home.attic."]),
    ],
)
def test_each_shell_is_answered_in_its_own_form(
    node: NodeProcess, kv_here: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, shell: str, lines: list[str]
) -> None:
    for name, value in question(node.address, "get", "home.a").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_KV_COMPLETE", f"{shell}_complete")
    if shell == "fish":
        monkeypatch.setenv("COMP_CWORD", "home.a")
    assert kv_here().out.splitlines() == lines


def typed_into_bash(node: NodeProcess, *keys: str) -> list[str]:
    """What stands on the line of an interactive bash after each of these."""
    bin_folder = os.path.dirname(sys.executable)
    env = environment(
        {"KV_NODE": node.address, "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb"}
    )
    master, slave = pty.openpty()
    bash = ["bash", "--norc", "--noprofile", "-i"]
    process = subprocess.Popen(bash, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
    os.close(slave)

    def answer(line: str, end: str) -> str:
        os.write(master, line.encode())
        shown = ""
        while end not in shown:
            assert select.select([master], [], [], 60)[0], shown
            shown += os.read(master, 65536).decode()
        return shown.partition(end)[0]

    try:
        quiet = "PS1=; bind 'set enable-bracketed-paste off'; bind 'set bell-style none'"
        answer(f"{quiet}; source <(kv completion bash); echo REA''DY\n", "READY\r\n")
        # Until it reads the next line, what is typed is echoed by the terminal as it is.
        wait_for(lambda: not termios.tcgetattr(master)[3] & termios.ICANON, "bash to read single keys")
        # Clear the line, type, and put an end after what bash made of it.
        return [answer(f"\x15{key}\t#", "#").rpartition("\r")[2] for key in keys]
    finally:
        process.kill()
        process.wait()
        os.close(master)


def test_bash_completes_paths_with_colons_and_sets_no_blank_where_they_lead_on(node: NodeProcess) -> None:
    keys = ("kv get kn", "kv get knx.:1.", "kv watch --lat")
    assert typed_into_bash(node, *keys) == ["kv get knx.", "kv get knx.:1.:2 ", "kv watch --latest "]


def test_elements_are_split_where_no_dot_is_escaped() -> None:
    assert split("a.b:.c") == (KvPath(("a",)), "b:.c")
    assert split("a::.b") == (KvPath(("a:",)), "b")
    assert split("a:.b") == (ROOT, "a:.b")
    assert split("") == (ROOT, "")
