"""``kv agent``, the registry behind it, options and log lines."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import asyncclick as click
import pytest

from kvagents.framework import registry
from kvagents.framework.command import agent
from kvagents.framework.run import options_of
from kvagents.onewire.agent import OneWire

pytestmark = pytest.mark.anyio


def installed(monkeypatch: pytest.MonkeyPatch, **kinds: str) -> None:
    entries = EntryPoints(EntryPoint(name, value, registry.GROUP) for name, value in kinds.items())
    monkeypatch.setattr(registry, "entry_points", lambda group: entries.select(group=group))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def invoke(*args: str) -> Any:
    # With the names that kv has: asyncclick makes a command's help option once, for whoever asks first.
    return await agent.main(args, "kv agent", standalone_mode=False, help_option_names=["-h", "--help"])


def test_the_registry_finds_our_own(monkeypatch: pytest.MonkeyPatch):
    installed(monkeypatch, onewire="kvagents.onewire.agent:OneWire")
    assert isinstance(registry.load("onewire"), OneWire)


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("nothing", "no agent 'nothing'; installed are: broken, onewire, other"),
        ("broken", "the agent 'broken' of package 'no_such_module' does not load"),
        ("other", "the agent 'other' of package 'json' is no AgentKind"),
    ],
)
def test_what_the_registry_says_of_others(monkeypatch: pytest.MonkeyPatch, kind: str, complaint: str):
    installed(
        monkeypatch, onewire="kvagents.onewire.agent:OneWire", broken="no_such_module:Agent", other="json:JSONDecoder"
    )
    with pytest.raises(registry.RegistryError, match=complaint):
        registry.load(kind)


def test_knowing_the_kinds_imports_nothing(monkeypatch: pytest.MonkeyPatch):
    installed(monkeypatch, onewire="kvagents.onewire.agent:OneWire", broken="no_such_module:Agent")
    assert list(registry.known()) == ["broken", "onewire"]


async def test_outside_kv_it_says_so():
    with pytest.raises(click.UsageError, match="runs within kv"):
        await invoke("list")


async def test_help_of_a_kind(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    installed(monkeypatch, onewire="kvagents.onewire.agent:OneWire", broken="no_such_module:Agent")
    await invoke("run", "onewire", "--help")
    told = capsys.readouterr().out
    assert "--server HOST:PORT" in told
    assert "agent.onewire.NAME" in told
    await invoke("run", "--help")
    assert "broken" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["run", "onewire", "attic", "--server", "a:b:c"], "--server: expected HOST, HOST:PORT"),
        (["run", "onewire", "attic", "--interval", "often"], "--interval: expected seconds, not 'often'"),
        (["run", "onewire", "attic", "--node", "nonsense"], "'nonsense' lacks a port"),
        (["run", "onewire", ""], "must not be empty"),
        (["run", "onewire"], "Missing argument"),
        (["run", "broken", "x"], "does not load"),
        (["run", "nothing", "x"], "No such command"),
    ],
)
async def test_wrong_commands_are_one_line(monkeypatch: pytest.MonkeyPatch, args: list[str], complaint: str):
    installed(monkeypatch, onewire="kvagents.onewire.agent:OneWire", broken="no_such_module:Agent")
    with pytest.raises(click.ClickException) as caught:
        await invoke(*args)
    assert complaint in caught.value.format_message()
    assert "\n" not in caught.value.format_message()


def test_options_become_attributes():
    given = {"server": "ow.lan", "dest": "home.sensors", "interval": "2.5", "name": "ignored"}
    assert options_of(OneWire(), given) == {"server": "ow.lan", "dest": "home.sensors", "interval": 2.5}
    assert options_of(OneWire(), {"server": None}) == {}
