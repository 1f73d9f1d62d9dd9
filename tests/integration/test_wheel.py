"""The wheel: what is in it, and that it works where it is installed, far from this tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.integration.build_context import ROOT, copy_build_context

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

ENTRY_CHECK = """
import json, sys
from importlib.metadata import entry_points, version
import kvagents, kvnode
from kvnode.data.schemas import read_schema
print(json.dumps({
    "version": version("kvnode"),
    "places": [kvnode.__file__, kvagents.__file__],
    "schema": read_schema("node")["title"],
    "agents": sorted(entry.name for entry in entry_points(group="kvnode.agents")),
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what a Docker build sees, so this holds for the image too."""
    place = tmp_path_factory.mktemp("wheel")
    context, out = place / "context", place / "dist"
    copy_build_context(context)
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(context)], place)
    (wheel,) = out.glob("*.whl")
    return wheel


def run(command: list[str], cwd: Path) -> str:
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "KV"))}
    env["XDG_RUNTIME_DIR"] = str(cwd)
    done = subprocess.run(
        command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_it_holds_the_sources_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in inside} == {"kvnode", "kvagents"}
    tracked = subprocess.run(
        ["git", "ls-files", "kvnode", "agents/kvagents", "schema"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    expected = {name.removeprefix("agents/").replace("schema/", "kvnode/schema/") for name in tracked}
    assert expected - inside == set()
    assert not [name for name in inside if "__pycache__" in name or name.endswith(".pyc")]
    assert {"kvnode/py.typed", "kvagents/py.typed", "kvnode/schema/node.schema.json"} <= inside


def test_it_works_installed(wheel: Path, tmp_path: Path) -> None:
    """With nothing but its declared dependencies."""
    place = tmp_path / "venv"
    venv.create(place)
    python, kv = str(place / "bin/python"), str(place / "bin/kv")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", f"{wheel}[onewire]"], tmp_path)
    told = json.loads(run([python, "-c", ENTRY_CHECK], tmp_path))
    assert all(path.startswith(str(place)) for path in told["places"])
    assert told["schema"] == "Configuration of a kvnode node"
    assert "onewire" in told["agents"]
    assert run([kv, "--version"], tmp_path).strip() == f"kvnode {told['version']}"
    assert "Commands:" in run([kv, "--help"], tmp_path)
    listed = run([kv, "node", "run", "--name", "a", "--data", "a", "--show-config", "--format", "jsonl"], tmp_path)
    assert {"key": "name", "value": "a", "origin": "--name"} in map(json.loads, listed.splitlines())
    run([python, "-c", IMPORT_ALL], tmp_path)


IMPORT_ALL = """
import importlib, pkgutil, kvagents, kvnode

def fail(name):
    raise

# What tests use may need what only tests have.
for package in (kvnode, kvagents):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=fail):
        if not module.name.endswith("__main__") and ".testing" not in module.name:
            importlib.import_module(module.name)
"""
