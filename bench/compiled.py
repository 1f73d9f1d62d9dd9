"""Run Python with the compiled modules of this checkout (see hatch_build.py), in this process and all that it starts:

    python -m bench.compiled -m bench.core             the core's cost, compiled
    python -m bench.compiled -m bench --systems kvnode nodes and client compiled
    python -m bench.compiled -m pytest tests/unit/core tests on what is compiled
    python -m bench.compiled                           build only

The wheel is built as pip would build it and unpacked below build/compiled, from where Python is told to import first.
The checkout itself gets no extension module, so nothing can hide a source there. The folder is named after a hash of
all sources: so what runs is never older than they are, and what runs already is left alone by the next build.
"""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from zipfile import ZipFile

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "build" / "compiled"
SOURCES: Final = ("agents/kvagents", "kvnode", "schema", "hatch_build.py", "pyproject.toml")


def made_from() -> str:
    """A hash over all that the compiled modules depend on."""
    seen = blake2b(f"{sys.version} {version('mypy')}".encode(), digest_size=16)
    for source in SOURCES:
        top = ROOT / source
        for file in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if file.is_file() and file.suffix != ".pyc":
                seen.update(f"{file.relative_to(ROOT)} {file.stat().st_size} ".encode() + file.read_bytes())
    return seen.hexdigest()


def build() -> Path:
    """The folder with what belongs to the sources as they are, built if it is not there. Raises CalledProcessError."""
    folder = FOLDER / made_from()
    if folder.exists():
        return folder
    sys.stderr.write("compiling kvnode with mypyc; this takes a minute or two\n")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=FOLDER) as made:
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", made]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"HATCH_BUILD_HOOKS_ENABLE": "1"}, check=True, stdout=2)
        (wheel,) = Path(made).glob("*.whl")
        with ZipFile(wheel) as archive:  # without what is said of it, which the editable installation has
            archive.extractall(f"{made}/all", [name for name in archive.namelist() if ".dist-info/" not in name])
        Path(made, "all").rename(folder)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """With this, Python finds the compiled modules before the checkout's, and pytest leaves it so."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "PYTHONSAFEPATH": "1",
        "PYTEST_ADDOPTS": f"{os.environ.get('PYTEST_ADDOPTS', '')} -o pythonpath=".strip(),
    }


def main() -> int:
    env = environment(build())
    arguments = sys.argv[1:] or ["-m", "kvnode", "--version"]
    os.chdir(ROOT)
    os.execve(sys.executable, [sys.executable, *arguments], env)


if __name__ == "__main__":
    sys.exit(main())
