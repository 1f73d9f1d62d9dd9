"""Build hook: a wheel whose hot modules are compiled by mypyc. Off unless it is asked for:

    HATCH_BUILD_HOOKS_ENABLE=1 pip install .

Which modules, and why not the others, stands in pyproject.toml. All of them become one shared library; beside each
source lies a small extension module of its name, which Python finds before the source. The sources are there all the
same, for tracebacks. hatch-mypyc is not used since it builds inside the tree, where a compiled module would go on
hiding its source after that was changed, and hides pyproject.toml meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Compiled(BuildHookInterface):
    """Compiles, and puts the extension modules into the wheel. `modules` and `interpreted` are its settings: patterns
    of files, below the root.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """An editable installation stays interpreted: it is there for sources that change."""
        if version == "editable":
            return
        self._built = TemporaryDirectory(prefix="kvnode-mypyc-")
        command = [sys.executable, __file__, self._built.name, *self._modules()]
        if subprocess.run(command, cwd=self.root, check=False).returncode:
            raise RuntimeError("mypyc could not compile it; see above. Without HATCH_BUILD_HOOKS_ENABLE none is needed")
        found = Path(self._built.name, "lib")
        build_data["force_include"] |= {str(file): str(file.relative_to(found)) for file in found.rglob("*.so")}
        build_data["infer_tag"] = True
        build_data["pure_python"] = False

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written."""
        if version != "editable":
            self._built.cleanup()

    def _modules(self) -> list[str]:
        """The files to compile, each relative to the root."""
        root = Path(self.root)
        stay = {file for pattern in self.config["interpreted"] for file in root.glob(pattern)}
        files = {file for pattern in self.config["modules"] for file in root.glob(pattern)}
        return sorted(str(file.relative_to(root)) for file in files - stay)


def compile_into(folder: Path, files: list[str]) -> None:
    """Compile these files of the working directory; the extension modules are then below ``lib`` in `folder`."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    made = mypycify(
        ["--cache-dir", str(folder / "mypy"), *files],
        opt_level="3",
        debug_level="0",
        target_dir=str(folder / "c"),
        group_name="kvnode",
    )
    command = build_ext(Distribution({"name": "kvnode", "ext_modules": made}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "o")
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    compile_into(Path(sys.argv[1]), sys.argv[2:])
