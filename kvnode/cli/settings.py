"""What the global options say, for every command."""

from __future__ import annotations

from typing import Final

import asyncclick as click

FORMATS: Final = ("human", "json", "jsonl", "yaml")
DEFAULT_TIMEOUT_S: Final = 5.0


class Settings:
    """What the global options say. The last one given counts, wherever it stands.

    `endless` is set by a command that runs until it is interrupted: Ctrl-C is its regular end.
    """

    __slots__ = ("endless", "format", "node", "timeout_s")

    def __init__(self) -> None:
        self.node: str | None = None
        self.format = "human"
        self.timeout_s = DEFAULT_TIMEOUT_S
        self.endless = False


def settings_of(ctx: click.Context) -> Settings:
    """The global options in force."""
    found: Settings = ctx.find_root().obj
    return found
