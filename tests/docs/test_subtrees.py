"""The page of subtrees has every prefix that the code knows, and the entries have the form that the code gives them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path as FilePath
from typing import Any

from kvagents.framework.agent import ROOT as AGENT
from kvagents.framework.claim import Claim
from kvnode.core.history import Keep
from kvnode.core.path import ROOT as TREE
from kvnode.core.path import Pattern
from kvnode.core.policy import KINDS, Policy
from kvnode.data.errors import Acknowledgement, ErrorBook
from kvnode.data.sources import Source, state_of

ROOT = FilePath(__file__).parents[2]
PAGE = (ROOT / "docs/reference/subtrees.md").read_text(encoding="utf-8")
PREFIXES = re.findall(r"^\| \[`([a-z@.]+)`\]", PAGE, re.MULTILINE)
CODE = [
    file
    for folder in ("kvnode", "agents/kvagents")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if "testing" not in file.parts
]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def example(section: str, number: int = 0) -> dict[str, Any]:
    """One of the examples under a heading."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found: dict[str, Any] = json.loads(re.findall(r"```json\n(.*?)```", text, re.DOTALL)[number])
    return found


def texts_of(element: ast.expr) -> list[str]:
    """What an element of a path can be, as far as it is written there."""
    if isinstance(element, ast.IfExp):
        return texts_of(element.body) + texts_of(element.orelse)
    if isinstance(element, ast.Name) and element.id == "SYSTEM":
        return ["@"]
    return [element.value] if isinstance(element, ast.Constant) and isinstance(element.value, str) else []


def paths_in(source: str) -> Iterator[str]:
    """The paths below ``@`` in a source, up to the first element that is computed."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Tuple):
            elements: list[list[str]] = []
            for element in node.elts:
                if not (texts := texts_of(element)):
                    break
                elements.append(texts)
            yield from (".".join(path) for path in product(*elements) if path[0:1] == ("@",) and len(path) > 1)


def test_every_prefix_in_the_code_is_on_the_page_and_only_they() -> None:
    found = {path for file in CODE for path in paths_in(file.read_text(encoding="utf-8"))}
    assert found | {str(AGENT)} == set(PREFIXES)


def test_texts_in_the_code_speak_of_what_is_on_the_page() -> None:
    named = {
        (file.name, text)
        for file in CODE
        for text in re.findall(r"@\.[a-z]+(?:\.[a-z]+)*", file.read_text(encoding="utf-8"))
    }
    assert named
    assert not [where for where in named if not any(f"{where[1]}.".startswith(f"{prefix}.") for prefix in PREFIXES)]


def test_each_prefix_has_its_section() -> None:
    headings = {re.sub(r"\W+", "-", text.lower()) for text in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)}
    assert set(re.findall(r"`\]\(#([a-z-]+)\)", PAGE)) == headings


def test_examples_of_settings_are_such() -> None:
    policy, keep = example("Policies"), example("History")
    assert Policy.parse(policy["policy"])
    assert Keep.parse(keep).versions == 20
    for row in (policy, keep, example("Volatile paths")):
        assert Pattern(row["pattern"]).text == row["pattern"]
    for kind in KINDS - {"owner"}:
        assert f"`{kind}`" in PAGE


def test_examples_of_records_have_their_fields() -> None:
    book = ErrorBook(AGENT)
    book.fail(TREE, "code", "text", NOW)
    assert example("Errors").keys() == book[TREE].value().keys()
    assert example("Errors", 1).keys() == Acknowledgement(NOW, "", "", NOW).value().keys()
    assert example("Sources").keys() == Source("", AGENT).value().keys()
    assert example("Claims").keys() == Claim("", "", 1, NOW, 30.0).value().keys()
    assert state_of(example("Status of agents"), NOW) == "running"
