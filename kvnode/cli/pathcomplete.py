"""Completing a path on the command line, by asking the node for what comes next; in silence if nobody answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from typing import Final

import anyio

from kvnode.core.path import ROOT, Path, PathError

from .address import node_address
from .errors import CliError

LIMIT_S: Final = 2.0
"""Whoever presses the key waits for it."""
MOST: Final = 500
_NOWHERE: Final = logging.NullHandler()
"""Where there is a handler, logging prints nothing of its own accord. It switches nothing off: the thread that asks may
go on for longer than it is waited for.
"""


def complete_path(incomplete: str, node: str | None) -> list[str]:
    """The paths that what was typed may become, one element further. One that also leads on stands there twice, the
    second time with a dot, so that no shell takes it for whole.
    """
    found: list[str] = []
    with contextlib.suppress(CliError, PathError):
        typed, _ = split(incomplete)
        address = node_address(node)
        # The command line's event loop is running while click asks; this needs one of its own.
        worker = threading.Thread(target=lambda: found.extend(_ask(address, typed)), daemon=True)
        worker.start()
        worker.join(2 * LIMIT_S)
    hidden = not incomplete.startswith("@")
    return [text for text in found if text.startswith(incomplete) and not (hidden and text.startswith("@"))]


def split(incomplete: str) -> tuple[Path, str]:
    """The whole elements of what was typed, and the beginning of the next. Raises PathError."""
    at = len(incomplete)
    while (at := incomplete.rfind(".", 0, at)) > 0:
        colons = len(incomplete[:at]) - len(incomplete[:at].rstrip(":"))
        if colons % 2 == 0:  # else the dot is escaped, part of an element
            return Path.parse(incomplete[:at]), incomplete[at + 1 :]
    return ROOT, incomplete


def _ask(address: str, path: Path) -> list[str]:
    logging.root.addHandler(_NOWHERE)
    try:
        return asyncio.run(_children(address, path))
    except Exception:  # completion has nobody to complain to
        return []


async def _children(address: str, path: Path) -> list[str]:
    from .session import open_client

    out: list[str] = []
    with anyio.move_on_after(LIMIT_S):
        async with open_client(address, LIMIT_S) as client:
            for child in await client.children(path, limit=MOST):
                out += [str(child.path)] * child.is_entry + [f"{child.path}."] * child.has_more
    return out
