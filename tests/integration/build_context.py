"""The files that a Docker build sees: what git tracks, less what .dockerignore leaves out."""

from __future__ import annotations

import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def copy_build_context(target: Path) -> None:
    """Copy them to `target`. Knows the forms that our .dockerignore has: ``*``, ``!NAME`` and ``**/PATTERN``."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    kept = {line.removeprefix("!") for line in lines if line.startswith("!")}
    dropped = [line.removeprefix("**/") for line in lines if line.startswith("**/")]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        parts = Path(name).parts
        if parts[0] not in kept or any(fnmatch(part, pattern) for part in parts for pattern in dropped):
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy)
