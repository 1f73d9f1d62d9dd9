"""The list of what mypyc compiles, and that nothing stale is run."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import compiled

PROJECT = tomllib.loads((compiled.ROOT / "pyproject.toml").read_text())
LISTS = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]


def files(patterns: list[str]) -> set[Path]:
    found = {pattern: set(compiled.ROOT.glob(pattern)) for pattern in patterns}
    assert all(found.values()), f"a pattern without a file: {found}"
    return set().union(*found.values())


def test_the_interpreted_modules_are_among_those_listed() -> None:
    assert files(LISTS["interpreted"]) <= files(LISTS["modules"])


def test_what_mypyc_gets_wrong_is_not_compiled() -> None:
    """It says nothing, but does something else than Python."""
    found = [
        f"{file.relative_to(compiled.ROOT)}, line {node.lineno}: {what}"
        for file in sorted(files(LISTS["modules"]) - files(LISTS["interpreted"]))
        for node in ast.walk(ast.parse(file.read_text()))
        for what in wrong(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("class A(Struct, frozen=True): ...", "its options are dropped"),
        ("class A(ValueError):\n    code = 'x'", "an exception has no attributes of its class"),
        ("async def f():\n    try: ...\n    except ValueError: await x", "waits while it handles an exception"),
        ("async def f():\n    try: ...\n    finally:\n        with x: await y", "waits while it handles an exception"),
        ("async def f():\n    async with x: ...", "waits while it handles an exception"),
        ("def f():\n    try: ...\n    finally: yield", "waits while it handles an exception"),
        ("def f():\n    try: ...\n    except A as e: ...\n    except B as e: ...", "e is an A wherever it is used"),
    ],
)
def test_it_is_found(text: str, what: str) -> None:
    assert [told for node in ast.walk(ast.parse(text)) for told in wrong(node)] == [what]


def wrong(node: ast.AST) -> Iterator[str]:
    """What mypyc makes of this that is not what Python makes of it, as far as we have met it."""
    if isinstance(node, ast.ClassDef):
        if node.keywords:
            yield "its options are dropped"
        bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
        if any(name.endswith("Error") or name == "Exception" for name in bases) and any(
            isinstance(part, ast.Assign) for part in node.body
        ):
            yield "an exception has no attributes of its class"
    if isinstance(node, ast.AsyncWith):  # waits for __aexit__
        yield "waits while it handles an exception"
    if isinstance(node, ast.Try) and any(
        isinstance(below, (ast.Await, ast.Yield, ast.YieldFrom))
        for part in (*node.handlers, *node.finalbody)
        for below in ast.walk(part)
    ):
        yield "waits while it handles an exception"
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        first: dict[str, str] = {}
        for part in ast.walk(node):
            if isinstance(part, ast.ExceptHandler) and part.name and part.type:
                kind = ast.unparse(part.type)
                if first.setdefault(part.name, kind) != kind:
                    yield f"{part.name} is an {first[part.name]} wherever it is used"


def test_a_changed_source_is_compiled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / "kvnode" / "module.py"
    module.parent.mkdir()
    module.write_text("x = 1\n")
    monkeypatch.setattr(compiled, "SOURCES", ("kvnode",))
    monkeypatch.setattr(compiled, "ROOT", tmp_path)
    before = compiled.made_from()
    assert compiled.made_from() == before
    module.write_text("x = 2\n")
    assert compiled.made_from() != before


def test_python_is_told_to_import_the_compiled_modules_first() -> None:
    env = compiled.environment(Path("/somewhere"))
    assert env["PYTHONPATH"] == f"/somewhere:{compiled.ROOT}"
    assert env["PYTHONSAFEPATH"], "else the working directory, which is the checkout, comes before"
