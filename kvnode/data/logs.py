"""Log lines of a node or an agent: for people on a terminal, one JSON object a line otherwise.

The modules of kvnode use ``logging`` as it is; a field goes into ``extra`` and both forms show it::

    log.info("peer linked", extra={"peer": "attic", "address": "127.0.0.1:27590"})

    14:03:07.120 INFO    cellar  peer linked  peer=attic address=127.0.0.1:27590
    {"time": "2026-03-01T13:03:07.120Z", "level": "info", "node": "cellar", "logger": "kvnode.node.peers",
     "message": "peer linked", "peer": "attic", "address": "127.0.0.1:27590"}

A field whose name says that it is a secret is never written out, and control characters are escaped, so that
nothing that came from the network can forge a line or drive a terminal.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from .redact import REDACTED, is_secret_name

LOGGERS: Final = ("kvnode", "kvagents")
MAX_FIELD_CHARS: Final = 2_000
"""A field or message is cut at this length."""
RECENT_LINES: Final = 500
"""Lines that a node keeps in memory for a support bundle."""

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_RESERVED: Final = frozenset({"time", "level", "node", "agent", "logger", "message", "error"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN: Final = re.compile(r"[^\s\"'=]+")
_COLOURS: Final = {logging.DEBUG: "2", logging.WARNING: "33", logging.ERROR: "31", logging.CRITICAL: "1;31"}


def set_up_logging(
    level: str = "info",
    form: Literal["auto", "text", "json"] = "auto",
    *,
    name: str,
    kind: Literal["node", "agent"] = "node",
    stream: TextIO | None = None,
) -> logging.Handler:
    """Send the log of this process to `stream` (default: standard error) and return the handler that does it.

    `level` is debug, info, warning or error. ``auto`` is text if the stream is a terminal. `name` stands in every
    line, in JSON under the key `kind`. A second call replaces what the first one set up.
    """
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    handler = logging.StreamHandler(stream)
    if form == "text" or (form == "auto" and terminal):
        handler.setFormatter(TextFormatter(name, colours=terminal))
    else:
        handler.setFormatter(JsonFormatter(name, kind))
    handler.set_name("kvnode")
    for logger_name in LOGGERS:
        logger = logging.getLogger(logger_name)
        for old in [h for h in logger.handlers if h.get_name() == "kvnode"]:
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.setLevel(level.upper())
        logger.propagate = False
    return handler


class RecentLines(logging.Handler):
    """The last lines of the log, as JSON, for a support bundle. At most :data:`RECENT_LINES`."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter(name))
        self._lines: deque[str] = deque(maxlen=RECENT_LINES)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        self._lines.append(self.format(record))

    def lines(self) -> list[str]:
        """What is kept, oldest first."""
        return list(self._lines)

    def attach(self) -> None:
        """Listen to the loggers of this project."""
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self)

    def detach(self) -> None:
        """Listen no more."""
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self)


class TextFormatter(logging.Formatter):
    """Time of day, level, node, message and ``key=value`` fields; a traceback follows on lines of its own."""

    def __init__(self, name: str, *, colours: bool = False) -> None:
        super().__init__()
        self._name = name
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        line = f"{time} {record.levelname:<7} {self._name}  {_clean(_message(record))}"
        shown = " ".join(f"{key}={_quoted(value)}" for key, value in _fields(record))
        if shown:
            line += f"  {shown}"
        colour = _COLOURS.get(record.levelno)
        if self._colours and colour:
            line = f"\x1b[{colour}m{line}\x1b[0m"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {_clean(part)}" for part in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object; time in UTC (RFC 3339), and ``error`` with the traceback if there is one."""

    def __init__(self, name: str, kind: str = "node") -> None:
        super().__init__()
        self._name = name
        self._kind = kind

    def format(self, record: logging.LogRecord) -> str:
        """One record as JSON."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        row: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            self._kind: self._name,
            "logger": record.name,
            "message": _cut(_message(record)),
        }
        for key, value in _fields(record):
            row[f"{key}_" if key in _RESERVED else key] = _jsonable(value)
        if record.exc_info:
            row["error"] = self.formatException(record.exc_info)
        return json.dumps(row)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        # Arguments that do not fit: losing the line would be worse than showing it raw.
        return f"{record.msg} {record.args!r}"


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for key, value in vars(record).items():
        if key not in _STANDARD and not key.startswith("_"):
            yield key, REDACTED if is_secret_name(key) else value


def _cut(text: str) -> str:
    return text if len(text) <= MAX_FIELD_CHARS else text[:MAX_FIELD_CHARS] + "..."


def _clean(text: str) -> str:
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), _cut(text))


def _quoted(value: object) -> str:
    text = _clean(str(value))
    return text if _PLAIN.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'


def _jsonable(value: object) -> object:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        # JSON has no word for what is not finite.
        return value if abs(value) < float("inf") else str(value)
    return _cut(str(value))
