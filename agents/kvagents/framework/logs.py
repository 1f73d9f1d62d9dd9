"""Log lines of an agent process on standard error: text on a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

LOGGERS: Final = ("kvagents", "kvnode")
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logging(agent: str, *, level: str = "info", stream: TextIO | None = None) -> None:
    """Send the log of this process to `stream` (default: standard error); `agent` stands in each line."""
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter(agent, as_json=not stream.isatty()))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False


class _Formatter(logging.Formatter):
    def __init__(self, agent: str, *, as_json: bool) -> None:
        super().__init__()
        self._agent = agent
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """One record."""
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        return self._json(record, fields) if self._as_json else self._text(record, fields)

    def _json(self, record: logging.LogRecord, fields: dict[str, Any]) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        row: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "agent": self._agent,
            "logger": record.name,
            "message": record.getMessage(),
            **fields,
        }
        if record.exc_info:
            row["error"] = self.formatException(record.exc_info)
        return json.dumps(row, default=str)

    def _text(self, record: logging.LogRecord, fields: dict[str, Any]) -> str:
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        shown = "".join(f"  {key}={value}" for key, value in fields.items())
        line = f"{time} {record.levelname:<7} {self._agent}  {record.getMessage()}{shown}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        # What comes from a bus or from the network must not drive the terminal.
        return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in line)
