"""``kv agent``, the registry behind it, options and log lines."""

from __future__ import annotations

import io
import json
import logging
from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import asyncclick as click
import pytest

from kvagents.framework import registry
from kvagents.framework.command import agent
from kvagents.framework.logs import set_up_logging
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
    return await agent.main(args, "kv agent", standalone_mode=False)


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


async def test_listing_imports_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    installed(monkeypatch, onewire="kvagents.onewire.agent:OneWire", broken="no_such_module:Agent")
    await invoke("list")
    assert capsys.readouterr().out == "broken  no_such_module\nonewire  kvagents.onewire.agent\n"


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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def loggers() -> Any:
    names = ("kvagents", "kvnode")
    before = [(log.handlers[:], log.level, log.propagate) for log in map(logging.getLogger, names)]
    yield
    for name, (handlers, level, propagate) in zip(names, before, strict=True):
        log = logging.getLogger(name)
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)


def test_log_lines_are_json_in_a_pipe(loggers: None):
    stream = io.StringIO()
    set_up_logging("onewire/attic", stream=stream)
    log = logging.getLogger("kvagents.test")
    log.debug("not this")
    log.warning("it %s", "fails\x1b[2J", extra={"path": "a.b"})
    row = json.loads(stream.getvalue())
    assert row["time"].endswith("Z")
    assert {k: row[k] for k in ("level", "agent", "message", "path")} == {
        "level": "warning",
        "agent": "onewire/attic",
        "message": "it fails\x1b[2J",
        "path": "a.b",
    }


def test_log_lines_are_text_on_a_terminal_and_cannot_drive_it(loggers: None):
    stream = Terminal()
    set_up_logging("onewire/attic", stream=stream)
    try:
        raise ZeroDivisionError("x")
    except ZeroDivisionError:
        logging.getLogger("kvagents.test").exception("it fails\x1b[2J\r", extra={"path": "a.b"})
    first, second, *_ = stream.getvalue().splitlines()
    assert first.endswith("ERROR   onewire/attic  it fails\\x1b[2J\\r  path=a.b")
    assert second == "Traceback (most recent call last):"
