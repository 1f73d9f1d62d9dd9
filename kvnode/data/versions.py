"""Which version of kvnode this is."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
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
