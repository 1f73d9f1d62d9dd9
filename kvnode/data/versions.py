"""Which version of kvnode this is."""

from __future__ import annotations

from functools import cache

UNKNOWN = "unknown (not installed)"


@cache
def installed_version() -> str:
    """The version of the installed package; :data:`UNKNOWN` if it runs from a tree that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("kvnode")
    except PackageNotFoundError:
        return UNKNOWN
