"""The contract of agents, on ours and on the example of a package that adds one; and that package itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path as FilePath
from typing import Any

import anyio
import pytest

from kvagents.framework import registry
from kvagents.framework.agent import Agent
from kvagents.framework.testing.contract import CONTRACT, QUICK, Bench, Check, until
from kvnode.client import connect
from kvnode.core.path import Path
from kvnode.testing.processes import NodeProcess, environment
from tests.contract.agent_benches import DimmerBench, NodeBench, OneWireBench

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

EXAMPLE = FilePath(__file__).parents[2] / "docs" / "examples" / "kvnode-agent-dimmer"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FilePath]:
    """Where the example is installed, as its user would install it; importable while the tests of this module run."""
    folder = tmp_path_factory.mktemp("site")
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", *install, str(EXAMPLE)], check=True, timeout=100)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


BACKENDS = {"onewire": ("asyncio", {"use_uvloop": True}), "dimmer": ("trio", {})}


@pytest.fixture(params=BACKENDS)
def agent_name(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Each agent on another backend; the framework's own tests run on both."""
    name = request.getfixturevalue("agent_name") if "agent_name" in request.fixturenames else "dimmer"
    return BACKENDS[name]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One for all, which the checks start, kill and start again."""
    made = NodeProcess("n", tmp_path_factory.mktemp("node"))
    yield made
    made.kill()


@pytest.fixture
def bench(request: pytest.FixtureRequest, agent_name: str, node: NodeProcess) -> Iterator[Bench]:
    name = request.node.callspec.params["check"].__name__
    makers: dict[str, Callable[[], NodeBench]] = {
        "onewire": lambda: OneWireBench(node, name),
        "dimmer": lambda: DimmerBench(node, name, request.getfixturevalue("site")),
    }
    with makers[agent_name]() as made:
        yield made  # type: ignore[misc]  # its parts come with the device


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_contract(bench: Bench, check: Check):
    await check(bench)


def test_no_agent_is_without_the_contract():
    assert set(registry.known()) <= set(BACKENDS)


def test_an_installed_package_adds_its_agent(site: FilePath):
    done = subprocess.run(
        [sys.executable, "-m", "kvnode", "agent", "list", "--format", "jsonl"],
        env=environment({"PYTHONPATH": str(site)}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    rows = {row["kind"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["dimmer"] == {"kind": "dimmer", "package": "kvnode-agent-dimmer", "version": "1.0.0"}
    assert "onewire" in rows


async def test_the_example_sets_its_lamps(site: FilePath, node: NodeProcess):
    with DimmerBench(node, "house", site) as bench:
        bench.start_node()
        lamp = {"src": "home.lamp.set", "state": "home.lamp.is", "scale": 0.01, "fail_safe": 0}
        async with connect(bench.address, author="test") as kv:
            agent = Agent(bench.kind, "house", kv, overrides={**bench.good, **lamp}, policy=QUICK)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(agent.run)
                await kv.set("home.lamp.set", 0.4)
                await until(kv, Path.parse("home.lamp.is"), lambda value: value == 0.4)
                assert bench.box.levels[3] == 40
                await until(kv, bench.reading, lambda value: value == 0.4)
                await kv.set("home.lamp.set", 1.2)
                record = await until(kv, Path.parse("@.errors.dimmer.house"), bool)
                assert "says to 'set 3 120': ? what" in record["message"]
                await kv.set("home.lamp.set", 0.7, ttl=0.5)
                await until(kv, Path.parse("home.lamp.is"), lambda value: value == 0.7)
                await until(kv, bench.reading, lambda value: value == 0)
                await kv.set("home.lamp.set", 0.2)
                await until(kv, bench.reading, lambda value: value == 0.2)
                tasks.cancel_scope.cancel()
        assert bench.box.levels[3] == 0, "the fail-safe value"
