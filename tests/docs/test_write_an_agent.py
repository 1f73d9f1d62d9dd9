"""The how-to about agents shows the example as it is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from kvagents.framework.expression import FUNCTIONS, MAX_CHARS, MAX_NODES
from kvnode.data.schemas import read_schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "how-to" / "write-an-agent.md").read_text()
EXAMPLE = ROOT / "docs" / "examples" / "kvnode-agent-dimmer"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def lines(text: str) -> set[str]:
    return {line.strip() for line in text.splitlines() if line.strip()}


def test_its_code_is_that_of_the_example() -> None:
    agent, packaging = (EXAMPLE / "kvagent_dimmer" / "agent.py").read_text(), (EXAMPLE / "pyproject.toml").read_text()
    spec, kind, bus, contract = blocks("python")
    assert lines(spec) | lines(kind) | lines(bus) <= lines(agent)
    assert lines(*blocks("toml")) <= lines(packaging)
    assert "CONTRACT" in contract
    schema = json.loads((EXAMPLE / "kvagent_dimmer" / "config.schema.json").read_text())["properties"]
    for key, value in json.loads("{" + blocks("json")[0] + "}").items():
        assert schema[key] == value


def test_its_table_has_all_shared_attributes() -> None:
    names = set(re.findall(r"`([a-z_]+)`", " ".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    assert set(read_schema("agent-binding")["properties"]) <= names


def test_it_tells_the_bounds_of_expressions() -> None:
    (told,) = re.findall(r"the functions `([^`]*)`", PAGE)
    assert set(told.split()) == set(FUNCTIONS)
    assert f"at most {MAX_CHARS} characters and {MAX_NODES} parts" in PAGE
