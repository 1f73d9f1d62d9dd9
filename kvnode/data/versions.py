"""Which version of kvnode this is, and in which form."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.machinery import PathFinder
from typing import Final

UNKNOWN = "unknown (not installed)"
_FOLDER: Final = re.compile(r"kvnode-(.+)\.dist-info")


@cache
def installed_version() -> str:
    """The version of the installed package; :data:`UNKNOWN` if it runs from a tree that is not installed."""
    if found := next(_named(), None):
        return found
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kvnode")
    except PackageNotFoundError:
        return UNKNOWN


def _named() -> Iterator[str]:
    """The versions in the names of the folders that installers make. importlib.metadata looks at the same folders, and
    takes a tenth of the time that a command has to be imported.
    """
    for place in sys.path:
        with suppress(OSError):
            for name in os.listdir(place or os.curdir):
                if match := _FOLDER.fullmatch(name):
                    yield match[1]


@cache
def is_compiled() -> bool:
    """Whether the hot modules are machine code, made by mypyc; else all of it is interpreted (see hatch_build.py)."""
    core = os.path.join(os.path.dirname(os.path.dirname(__file__)), "core")
    spec = PathFinder.find_spec("replica", [core])  # without importing anything
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")


def software() -> str:
    """Version and form, for people: ``0.2.0`` or ``0.2.0, compiled``."""
    return installed_version() + (", compiled" if is_compiled() else "")
