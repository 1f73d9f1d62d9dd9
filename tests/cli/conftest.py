"""Running ``kv`` inside the test: on a client without a node, or on a real one without the cost of a process."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from kvnode.cli import session
from kvnode.cli.main import main
from tests.cli.fake import FakeClient


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """The client that commands get in place of a real one."""
    made = FakeClient()

    @asynccontextmanager
    async def open_client(address: str, timeout_s: float) -> AsyncIterator[FakeClient]:
        made.address, made.timeout_s = address, timeout_s
        yield made

    monkeypatch.setattr(session, "open_client", open_client)
    monkeypatch.delenv("KV_NODE", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("kvnode.cli.address.SERVICE_DIR", "/nonexistent")
    monkeypatch.setenv("COLUMNS", "100")
    return made


@pytest.fixture
def kv(fake: FakeClient, kv_here: Callable[..., Result]) -> Callable[..., Result]:
    """Run a command line on the fake client."""
    return kv_here


@pytest.fixture
def kv_here(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run a command line in this process, on whatever node it names."""

    def run(*args: str) -> Result:
        code = main(args)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
