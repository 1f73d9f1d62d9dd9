"""The 1-Wire agent and the simulated owserver as programs: command line, signals, exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvagents.onewire.chips import Sensor
from kvagents.onewire.model import Rom
from kvagents.onewire.simtree import SimulatedBus
from kvagents.onewire.simulator import Fault
from kvnode.testing.processes import NodeProcess, free_port
from tests.integration.onewire_counterparts import ThreadedSimulator

pytestmark = pytest.mark.integration

ROM = Rom.parse("28.67452301EF00")
DEST = "home.28:.67452301EF00"
PATIENCE_S = 60.0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    with NodeProcess("a", tmp_path) as process:
        yield process


@pytest.fixture
def simulator() -> Iterator[ThreadedSimulator]:
    runner = ThreadedSimulator(SimulatedBus([Sensor(ROM, lambda: 21.5, time.monotonic, speed=20)]))
    runner.start()
    yield runner
    runner.stop()


@contextmanager
def program(module: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A program of ours, killed at the end if it still runs."""
    env = {key: value for key, value in os.environ.items() if key != "KV_NODE"}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *args],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def value(node: NodeProcess, path: str) -> object:
    done = node.kv("get", path, "--format", "json", check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and standard error."""
    _, errors = process.communicate(timeout=PATIENCE_S)
    return process.returncode, errors


def test_the_shortest_command_that_works(node: NodeProcess, simulator: ThreadedSimulator):
    server = f"127.0.0.1:{simulator.port}"
    arguments = ("attic", "--node", node.address, "--server", server, "--dest", "home")
    with program("kvagents.onewire", *arguments) as agent:
        until(lambda: value(node, DEST) == 21.5, "no reading arrived")
        assert value(node, "agent.onewire.attic") == {"server": server, "dest": "home"}
        agent.terminate()
        status, errors = ended(agent)
    assert status == 0, errors
    assert "Traceback" not in errors
    lines = [json.loads(line) for line in errors.splitlines()]
    assert {line["agent"] for line in lines} == {"onewire/attic"}
    record = value(node, "@.status.agent.onewire.attic")
    assert isinstance(record, dict)
    assert record["state"] == "stopped"


def test_another_node_takes_over(node: NodeProcess, simulator: ThreadedSimulator, tmp_path: Path):
    """What is measured after the first node was killed is written at the second, and known to the first later."""
    with NodeProcess("b", tmp_path, peers=[node.address]) as other:
        arguments = ("attic", "--node", node.address, "--node", other.address)
        more = ("--server", f"127.0.0.1:{simulator.port}", "--dest", "home", "--interval", "0.5")
        with program("kvagents.onewire", *arguments, *more):
            until(lambda: value(other, DEST) == 21.5, "no reading arrived")
            node.kill()
            simulator.server.bus.sensors[ROM].temperature = lambda: 22.5
            until(lambda: value(other, DEST) == 22.5, "no reading arrived at the second node")
            node.start()
            until(lambda: value(node, DEST) == 22.5, "the first node did not learn of it")


@pytest.mark.parametrize("fault", [Fault.SILENT, Fault.BUSY])
def test_sigterm_while_a_call_hangs(node: NodeProcess, simulator: ThreadedSimulator, fault: Fault):
    arguments = ("attic", "--node", node.address, "--server", f"127.0.0.1:{simulator.port}", "--dest", "home")
    with program("kvagents.onewire", *arguments) as agent:
        until(lambda: simulator.server.requests > 0, "the agent does not call")
        simulator.set_fault(fault)
        before = simulator.server.requests
        until(lambda: simulator.server.requests > before, "the agent does not poll")
        agent.terminate()
        status, errors = ended(agent)
    assert status == 0, errors
    assert "Traceback" not in errors


def test_sigterm_while_everything_is_away():
    arguments = ("attic", "--node", f"127.0.0.1:{free_port()}", "--server", "127.0.0.1:9", "--dest", "home")
    with program("kvagents.onewire", *arguments) as agent:
        assert agent.stderr is not None
        assert json.loads(agent.stderr.readline())["message"] == "started"
        with pytest.raises(subprocess.TimeoutExpired):  # an agent waits for its node
            agent.wait(1)
        agent.terminate()
        status, errors = ended(agent)
    assert status == 0, errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required: NAME"),
        (["attic", "--server", "a:b:c"], "expected HOST, HOST:PORT"),
        (["attic", "--dest", "a..b"], "empty element in 'a..b'"),
        (["attic", "--node", "nonsense"], "'nonsense' lacks a port"),
        ([""], "must not be empty"),
    ],
)
def test_a_wrong_command_line_is_one_line(arguments: list[str], complaint: str):
    with program("kvagents.onewire", *arguments) as agent:
        status, errors = ended(agent)
    assert status == 2
    assert complaint in errors.splitlines()[-1]
    assert "Traceback" not in errors


def test_the_simulator_as_a_program():
    with program("kvagents.onewire.simulator", "--port", "0", "--sensors", "4", "--seed", "7") as simulator:
        assert simulator.stdout is not None
        line = simulator.stdout.readline()
        assert line.startswith("simulated owserver on 127.0.0.1:")
        assert line.split(": ")[1].split() == [
            "28.67452301EF00",
            "28.67452301EF01",
            "28.67452301EF02",
            "10.67452301EF03",
        ]
        simulator.terminate()
        status, errors = ended(simulator)
    assert (status, errors) == (0, "")


def test_the_simulator_on_a_busy_port(simulator: ThreadedSimulator):
    with program("kvagents.onewire.simulator", "--port", str(simulator.port)) as second:
        status, errors = ended(second)
    assert status == 1
    assert errors.startswith("cannot listen on 127.0.0.1:")
    assert errors.count("\n") == 1
