"""The version of the installed package, by the name of its folder or else by its metadata; and its form."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import kvnode.core.replica
from kvnode.data import versions
from kvnode.data.versions import installed_version

asked = installed_version.__wrapped__


def test_it_is_that_of_the_metadata() -> None:
    assert asked() == version("kvnode")


def test_the_folder_that_comes_first_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, found in (("a", "1.2.3"), ("b", "4.5.6")):
        (tmp_path / place / f"kvnode-{found}.dist-info").mkdir(parents=True)
    (tmp_path / "a" / "kvnode_more-9.9.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "missing"), str(tmp_path / "a"), str(tmp_path / "b"), *sys.path])
    assert asked() == "1.2.3"


def test_without_a_folder_the_metadata_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.data.versions._named", lambda: iter(()))
    assert asked() == version("kvnode")


def test_compiled_is_what_is_imported_as_an_extension_module() -> None:
    assert versions.is_compiled() == (Path(kvnode.core.replica.__file__).suffix != ".py")


@pytest.mark.parametrize(("compiled", "told"), [(False, "1.2"), (True, "1.2, compiled")])
def test_people_are_told_version_and_form(monkeypatch: pytest.MonkeyPatch, compiled: bool, told: str) -> None:
    monkeypatch.setattr(versions, "installed_version", lambda: "1.2")
    monkeypatch.setattr(versions, "is_compiled", lambda: compiled)
    assert versions.software() == told
