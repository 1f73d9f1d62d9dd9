"""Log lines: both forms, fields, secrets, and what may not forge a line."""

from __future__ import annotations

import io
import json
import logging
import re
from typing import Any

import pytest

from kvnode.data.logs import LOGGERS, MAX_FIELD_CHARS, set_up_logging
from tests.support.logs import logging_restored

log = logging.getLogger("kvnode.node.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def text_of(message: str, *args: object, level: int = logging.INFO, **fields: Any) -> str:
    stream = io.StringIO()
    set_up_logging("debug", "text", name="attic", stream=stream)
    log.log(level, message, *args, extra=fields)
    return stream.getvalue()


def json_of(message: str, *args: object, **fields: Any) -> dict[str, Any]:
    stream = io.StringIO()
    set_up_logging("debug", "json", name="attic", stream=stream)
    log.warning(message, *args, extra=fields)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line.count("\n") == 1
    row: dict[str, Any] = json.loads(line)
    return row


def test_text_is_one_line_with_fields() -> None:
    line = text_of("peer %s linked", "b", address="[::1]:5", why="", quote='a "b"')
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d\.\d{3} INFO    attic  peer b linked  address=\[::1\]:5 why=\"\" quote=\"a \\\"b\\\"\"\n", line
    )


def test_json_has_the_named_keys_first() -> None:
    row = json_of("peer %s linked", "b", peer="b", lag_ms=3, ratio=0.5, ok=True, nothing=None, path=("a", 1))
    assert list(row)[:5] == ["time", "level", "node", "logger", "message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row.pop("time"))
    assert row == {
        "level": "warning",
        "node": "attic",
        "logger": "kvnode.node.test",
        "message": "peer b linked",
        "peer": "b",
        "lag_ms": 3,
        "ratio": 0.5,
        "ok": True,
        "nothing": None,
        "path": "('a', 1)",
    }


def test_an_agent_says_that_it_is_one() -> None:
    stream = io.StringIO()
    set_up_logging("info", "json", name="onewire/house", kind="agent", stream=stream)
    logging.getLogger("kvagents.onewire").warning("gone")
    row = json.loads(stream.getvalue())
    assert row["agent"] == "onewire/house"
    assert "node" not in row


def test_a_field_never_hides_a_named_key() -> None:
    row = json_of("m", node="b", level="loud", time=5)
    assert (row["node"], row["node_"], row["level_"], row["time_"]) == ("attic", "b", "loud", 5)


def test_json_stays_json() -> None:
    assert json_of("m", a=float("nan"), b=float("-inf"), c="\udc80")["a"] == "nan"


@pytest.mark.parametrize(
    "name", ["password", "passphrase", "client_secret", "Token", "private_key", "tls.key", "psk", "authorization"]
)
def test_secrets_are_not_written(name: str) -> None:
    assert json_of("m", **{name: "hunter2"})[name] == "***"
    assert "hunter2" not in text_of("m", **{name: "hunter2"})


def test_nothing_forges_a_line_or_drives_the_terminal() -> None:
    line = text_of("x\ny\x1b[2J", peer="a\r\nERROR\u202e\udc80")
    assert line.count("\n") == 1
    assert "\x1b" not in line
    assert r"x\ny\x1b[2J" in line
    assert r"peer=a\r\nERROR\u202e\udc80" in line


def test_long_fields_are_cut() -> None:
    assert len(text_of("m", value="x" * 1_000_000)) < MAX_FIELD_CHARS + 100
    assert len(json_of("m", value="x" * 1_000_000)["value"]) == MAX_FIELD_CHARS + 3


def test_arguments_that_do_not_fit_lose_no_line() -> None:
    assert "a %d ('x',)" in text_of("a %d", "x")


def test_a_traceback_follows_indented_or_as_a_field() -> None:
    for form in ("text", "json"):
        stream = io.StringIO()
        set_up_logging("info", form, name="attic", stream=stream)  # type: ignore[arg-type] # a loop over literals
        try:
            raise OSError("disk full")
        except OSError:
            log.exception("cannot write")
        if form == "json":
            assert json.loads(stream.getvalue())["error"].endswith("OSError: disk full")
        else:
            first, *rest = stream.getvalue().splitlines()
            assert first.endswith("ERROR   attic  cannot write")
            assert all(line.startswith("    ") for line in rest)
            assert rest[-1] == "    OSError: disk full"


def test_auto_is_text_on_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    set_up_logging("info", "auto", name="attic", stream=terminal)
    log.error("red")
    log.info("plain")
    assert re.match(r"\x1b\[31m.*red\x1b\[0m\n\d\d:", terminal.getvalue())
    set_up_logging("info", "auto", name="attic", stream=pipe)
    log.info("m")
    assert json.loads(pipe.getvalue())["message"] == "m"
    assert "m\n" not in terminal.getvalue().splitlines()[-1], "the first handler must be gone"


def test_the_level_holds_and_other_loggers_are_untouched() -> None:
    stream = io.StringIO()
    set_up_logging("warning", "text", name="attic", stream=stream)
    log.info("hidden")
    logging.getLogger("kvagents.onewire").warning("seen")
    logging.getLogger("elsewhere").debug("not ours")
    assert [line.split("  ")[1] for line in stream.getvalue().splitlines()] == ["seen"]


def test_what_a_test_sets_up_ends_with_it() -> None:
    def state() -> list[tuple[list[logging.Handler], int, bool]]:
        loggers = [logging.getLogger(name) for name in LOGGERS]
        return [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]

    before = state()
    with logging_restored():
        set_up_logging("debug", "text", name="attic", stream=io.StringIO())
        assert state() != before
    assert state() == before
    assert all(propagate for _, _, propagate in before), "an earlier test has left its own behind"
