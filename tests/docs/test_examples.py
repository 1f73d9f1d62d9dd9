"""Every example of these pages does what the page says."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.docs.console import Session, steps_of

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(page.relative_to(ROOT)) for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")] if steps_of(page)
)


def test_the_pages_for_beginners_have_examples() -> None:
    assert {"README.md", "docs/tutorial.md", "docs/how-to/onewire.md"} <= set(PAGES)


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
def test_nothing_to_type_is_left_out(name: str) -> None:
    """There, whatever stands in a block is a step: no block is of another kind, and none is skipped."""
    text = (ROOT / name).read_text(encoding="utf-8")
    fences = re.findall(r"^ *```+(.*)$", text, re.MULTILINE)
    assert {fence.split(" ")[0] for fence in fences[::2]} == {"console"}
    assert set(fences[1::2]) == {""}
    typed = [line.strip() for line in text.splitlines() if re.match(r" *(\$ |\^C)", line)]
    assert len([step for step in steps_of(ROOT / name) if step.command]) == len(typed)


@pytest.mark.integration
@pytest.mark.parametrize("name", PAGES)
def test_examples(name: str, tmp_path: Path) -> None:
    session = Session(ROOT / name, tmp_path, Path(sys.executable).parent, ROOT)
    try:
        for step in steps_of(ROOT / name):
            wrong = session.run(step)
            assert wrong is None, f"{name}:{step.line}: {step.command}\n{wrong}"
    finally:
        session.close()
