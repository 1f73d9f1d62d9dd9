"""The list of what mypyc compiles, and that nothing stale is run."""

from __future__ import annotations

import ast
import tomllib
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
    """It says nothing, but drops what stands beside the bases of a class, such as ``frozen=True`` of a struct."""
    for file in files(LISTS["modules"]) - files(LISTS["interpreted"]):
        for node in ast.walk(ast.parse(file.read_text())):
            assert not (isinstance(node, ast.ClassDef) and node.keywords), f"{file}: {node.name}"


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
    env = compiled.environment()
    assert env["PYTHONPATH"].startswith(str(compiled.FOLDER))
    assert env["PYTHONSAFEPATH"], "else the working directory, which is the checkout, comes before"
