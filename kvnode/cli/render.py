"""Printing results: one object or a stream of them, for people or as JSON, JSON Lines or YAML.

What people see carries no meaning by colour alone, and control characters from the tree never reach a terminal.
Machine formats are UTF-8 with plain newlines on every platform.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from kvnode.codec.values import ValueTypeError
from kvnode.codec.values import to_json as _to_json
from kvnode.data.yamlout import item_of_list, to_yaml

from .text import ANY_CONTROL, printable
from .values import ValueTextError, parse_value

Format = Literal["human", "json", "jsonl", "yaml"]

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86400
_DAYS_SHOWN: Final = 14


# -- values and times ----------------------------------------------------------------------------------------


def to_data(value: Any) -> Any:
    """A value as JSON-like data. What only other software can read appears as ``{"$msgpack": BASE64}``."""
    try:
        return _to_json(value)
    except ValueTypeError:
        data = getattr(value, "data", None)
        if not isinstance(data, bytes):
            raise
        return {"$msgpack": base64.b64encode(data).decode()}


def json_line(value: Any) -> str:
    """JSON on one line, as a person would space it."""
    return json.dumps(value, ensure_ascii=False)


def canonical_json(value: Any) -> str:
    """JSON on one line of which there is only one: keys sorted, no blanks."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def rfc3339(time: datetime) -> str:
    """A time in UTC with milliseconds."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(time: datetime, now: datetime) -> str:
    """How long ago that was, for people."""
    seconds = (now - time).total_seconds()
    if seconds < 0:
        return f"in {_span(-seconds)}" if seconds < -1 else "now"
    if seconds >= _DAY_S * _DAYS_SHOWN:
        return time.astimezone(UTC).date().isoformat()
    return f"{_span(seconds)} ago" if seconds >= 1 else "now"


def _span(seconds: float) -> str:
    for unit, size in (("d", _DAY_S), ("h", _HOUR_S), ("min", _MINUTE_S)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def short_value(value: Any) -> str:
    """A value on one line. Text stands bare where typing it to ``kv set`` would give it back, else quoted."""
    if isinstance(value, str) and value and _reads_as_itself(value):
        return value
    return printable(json_line(to_data(value)))


def _reads_as_itself(text: str) -> bool:
    if text[0] in "\"'" or ANY_CONTROL.search(text):
        return False
    try:
        return bool(parse_value(text) == text)
    except ValueTextError:
        return False


def full_value(value: Any, *, terminal: bool) -> str:
    """A value as the whole answer: text as it is, anything else as JSON that is easy to read."""
    if isinstance(value, str):
        return printable(value, multiline=True) if terminal else value
    return json.dumps(to_data(value), ensure_ascii=False, indent=2)


# -- output --------------------------------------------------------------------------------------------------


def is_terminal(stream: TextIO) -> bool:
    """Whether people look at this stream on a terminal that can do more than lines."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


class Output:
    """Where results go. `write` takes text as it comes; `one` and `stream` choose by format."""

    def __init__(self, format: str, stream: TextIO | None = None) -> None:
        self.format = format
        self.stream = stream if stream is not None else sys.stdout
        self.terminal = is_terminal(self.stream)
        _prepare(self.stream, machine=format != "human")

    @property
    def human(self) -> bool:
        """Whether people read this."""
        return self.format == "human"

    def line(self, text: str, *, flush: bool = False) -> None:
        """One line."""
        self.stream.write(f"{text}\n")
        if flush:
            self.stream.flush()

    def one(self, data: Any, human: Callable[[], str]) -> None:
        """One result: `data` is JSON-like, `human` makes the text for people (an empty one prints nothing)."""
        if self.format == "human":
            if text := human():
                self.line(text)
        elif self.format == "yaml":
            self.line(to_yaml(data))
        else:
            self.line(json_line(data))

    @contextmanager
    def items(self, *, flush: bool = False) -> Iterator[Callable[[Any], None]]:
        """A finite list of results in a machine format: gives the function that prints the next one.

        JSON is one array, whose brackets come with the first item and the end; YAML is one list.
        """
        count = 0

        def write(item: Any) -> None:
            nonlocal count
            if self.format == "json":
                self.line(f"{'[' if count == 0 else ','}{json_line(item)}", flush=flush)
            elif self.format == "yaml":
                self.line(item_of_list(item), flush=flush)
            else:
                self.line(json_line(item), flush=flush)
            count += 1

        yield write
        if self.format == "json":
            self.line("]" if count else "[]")
        elif self.format == "yaml" and not count:
            self.line("[]")

    def record(self, data: Any, human: Callable[[], str]) -> None:
        """The next of an endless row of results, flushed: JSON (both kinds) as a line, YAML as a document."""
        if self.format == "human":
            self.line(human(), flush=True)
        elif self.format == "yaml":
            self.line(f"---\n{to_yaml(data)}", flush=True)
        else:
            self.line(json_line(data), flush=True)


def _prepare(stream: TextIO, *, machine: bool) -> None:
    """UTF-8 for machines; for people their locale's encoding, with escapes for what it lacks."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is None:
        return
    if machine:
        reconfigure(encoding="utf-8", errors="strict", newline="\n")
    else:
        reconfigure(errors="backslashreplace")
