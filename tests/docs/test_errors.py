"""The page of error codes has every code that the code knows, with the exit code that `kv` gives it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from kvnode.cli.errors import explain
from kvnode.cli.store import _exit_of
from kvnode.client.errors import _CLASSES, error
from kvnode.node.errors import NodeError, StartError
from kvnode.store.backup import BadBackup
from kvnode.store.base import StoreError

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/errors.md").read_text(encoding="utf-8")
CALLS, STORES = (
    {code: int(exit_code) for code, exit_code in re.findall(r"^\| `([a-z_]+)` \| (\d+) \|", part, re.MULTILINE)}
    for part in PAGE.split("## Of stores and starts")
)
RAISED_BY = {"refused": 0, "error": 0, "RequestError": 0, "Refused": 0, "Fail": 1, "_refuse": 1, "unavailable": 2}
"""What makes an error of a call, and at which place it is given the code."""
T = TypeVar("T")
FOLDERS = [ROOT / "kvnode" / name for name in ("cli", "client", "core", "node")]


def subclasses(kind: type[T]) -> Iterator[type[T]]:
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


def codes_in(source: str) -> Iterator[str]:
    """The codes that calls in this source give as they stand there."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        at = RAISED_BY.get(name)
        given = [] if at is None else [*node.args[at : at + 1], *(k.value for k in node.keywords if k.arg == "code")]
        yield from (c.value for c in given if isinstance(c, ast.Constant) and isinstance(c.value, str))


def test_every_code_of_a_call_is_on_the_page_and_only_they() -> None:
    written = {code for folder in FOLDERS for file in folder.glob("*.py") for code in codes_in(file.read_text())}
    of_nodes = {kind.code for kind in subclasses(NodeError)} - {StartError.code}
    assert {"cas_failed", "limit", "occupied", "too_old"} <= written
    assert written | of_nodes | set(_CLASSES) | {"bad_request", "too_old"} == set(CALLS)


def test_every_code_of_stores_and_starts_is_on_the_page_and_only_they() -> None:
    assert issubclass(BadBackup, StoreError)
    of_stores = {kind.code: kind for kind in subclasses(StoreError)}
    assert of_stores.keys() | {StartError.code} == STORES.keys()
    assert {code: int(_exit_of(kind.__new__(kind))) for code, kind in of_stores.items()} == {
        code: STORES[code] for code in of_stores
    }


def test_the_exit_codes_are_those_of_kv() -> None:
    assert {code: int(explain(error(code, "text"))[0]) for code in CALLS} == CALLS


def test_the_page_is_sorted() -> None:
    assert list(CALLS) == sorted(CALLS)
