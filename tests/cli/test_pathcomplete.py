"""Completing paths: against a real node, and in silence where there is none."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from kvnode.cli.pathcomplete import split
from kvnode.client import Put
from kvnode.core.path import ROOT
from kvnode.core.path import Path as KvPath
from kvnode.testing.processes import NodeProcess, environment, free_port
from tests.cli.conftest import Result
from tests.support.nodes import ask

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
    assert logging.root.manager.disable == logging.NOTSET, "the silence is over"


def test_the_node_of_the_command_line_is_asked(node: NodeProcess) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    assert complete(nobody, "get", "--node", node.address, "knx.") == ["knx.:1."]
    assert complete(nobody, "get", "knx.") == []
    assert complete(f"unix:{os.devnull}", "get", "knx.") == []


def test_elements_are_split_where_no_dot_is_escaped() -> None:
    assert split("a.b:.c") == (KvPath(("a",)), "b:.c")
    assert split("a::.b") == (KvPath(("a:",)), "b")
    assert split("a:.b") == (ROOT, "a:.b")
    assert split("") == (ROOT, "")
