"""The page of promises names tests and commands that there are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explanation/promises.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`python -m (kvnode\.testing\.[\w.]+)((?: [^`]+)?)`", PAGE)))


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/.]+)`", PAGE))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_scenario_that_is_named_exists() -> None:
    have = {file.name[:2] for file in (ROOT / "tests/sim/scenarios").glob("*.txt")}
    named = {n for text in re.findall(r"(?:scenarios`?:?) ((?:\d\d(?:, )?)+)", PAGE) for n in re.findall(r"\d\d", text)}
    assert named
    assert named <= have


def test_every_law_that_is_named_exists() -> None:
    named = set(re.findall(r"\*([a-z]+)\*", " ".join(re.findall(r"laws? \*.*?[;|]", PAGE))))
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "kvnode/testing/sim").glob("*.py"))
    assert named
    assert [law for law in sorted(named) if f'("{law}"' not in code and f'"{law}",' not in code] == []


@pytest.mark.parametrize(("module", "options"), COMMANDS)
def test_every_command_that_is_named_takes_its_options(module: str, options: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    for option in re.findall(r"--[\w-]+", options):
        assert option in done.stdout
