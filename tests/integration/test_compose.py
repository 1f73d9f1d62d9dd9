"""docker-compose.yml: read by the real Compose, and what it would start is held against the programs themselves."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kvagents.framework import command
from kvnode.cli.main import main
from kvnode.node.settings import load
from tests.integration.build_context import ROOT

pytestmark = pytest.mark.integration

NODES = ("attic", "cellar", "garage")


def compose(*arguments: str) -> str:
    program = str(Path(sys.executable).parent / "docker-compose")
    # Nothing of this machine's own Docker may change the result.
    env = {key: value for key, value in os.environ.items() if not key.startswith(("COMPOSE", "DOCKER"))}
    done = subprocess.run(
        [program, "-f", "docker-compose.yml", *arguments],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def services() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(compose("config", "--format", "json"))["services"]
    return found


def image_environment() -> dict[str, str]:
    """What the last stage of the Dockerfile sets."""
    final = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    (block,) = re.findall(r"^ENV ((?:.*\\\n)*.*)$", final, re.MULTILINE)
    return dict(part.split("=", 1) for part in shlex.split(block.replace("\\\n", " ")))


def test_compose_takes_it() -> None:
    assert compose("config", "--quiet") == ""


def test_nothing_is_published_beyond_this_machine(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert len(ports) == len(NODES)
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


@pytest.mark.parametrize("name", NODES)
def test_a_node_takes_its_environment(services: dict[str, Any], name: str) -> None:
    service = services[name]
    settings = load(env=image_environment() | service["environment"])
    assert settings.warnings == ()
    assert settings.config.name == name
    assert {peer.host for peer in settings.config.peer_addresses} == set(NODES) - {name}
    (port,) = service["ports"]
    assert port["target"] == settings.config.listen_address.port
    assert all(peer.port == port["target"] for peer in settings.config.peer_addresses)
    (volume,) = service["volumes"]
    assert volume["target"] == settings.config.data


def test_the_agent_takes_its_command(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    async def record(*arguments: Any) -> None:
        started.append(arguments)

    monkeypatch.setattr(command, "run_until_signal", record)
    monkeypatch.setattr(command, "set_up_logging", lambda *arguments, **options: None)
    assert services["onewire"]["entrypoint"] is None, "the image's own: kv"
    assert main(services["onewire"]["command"]) == 0
    ((kind, name, nodes, attributes),) = started
    assert (kind.kind, name, attributes["dest"]) == ("onewire", "house", "home.sensors")
    assert {node.split(":")[0] for node in nodes} <= set(NODES)
    assert attributes["server"].split(":")[0] in services
