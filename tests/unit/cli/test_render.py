"""Rendering: ages, values on one line, control characters, tables and trees."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvnode.cli.render import Output, age, full_value, printable, rfc3339, short_value
from kvnode.cli.table import Outline, Table
from kvnode.cli.values import parse_value

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (0.9, "now"),
        (3, "3 s ago"),
        (61, "1 min ago"),
        (7200, "2 h ago"),
        (86400 * 3, "3 d ago"),
        (86400 * 40, "2026-03-22"),
        (-0.5, "now"),
        (-90, "in 1 min"),
    ],
)
def test_age(seconds: float, text: str) -> None:
    assert age(NOW - timedelta(seconds=seconds), NOW) == text


def test_times_are_utc_with_milliseconds() -> None:
    assert rfc3339(datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)) == "2026-01-02T03:04:05.678Z"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (21.5, "21.5"),
        ("on", "on"),
        ("42", '"42"'),
        ("", '""'),
        ("true", '"true"'),
        ("two\nlines", '"two\\nlines"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\x9b", '"\\x9b"'),
        ("'x'", "\"'x'\""),
        ([1, "a"], '[1, "a"]'),
        (b"hi", '{"$bytes": "aGk="}'),
        (None, "null"),
        ("Grüße", "Grüße"),
    ],
)
def test_short_value(value: object, text: str) -> None:
    assert short_value(value) == text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf"])) | st.floats(allow_nan=False) | st.integers())
def test_a_short_value_can_be_typed(value: object) -> None:
    assert parse_value(short_value(value)) == value


@given(st.text())
def test_nothing_printable_steers_a_terminal(text: str) -> None:
    shown = printable(text)
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown)


def test_text_is_printed_as_it_is_except_on_a_terminal() -> None:
    assert full_value("a\x1b[2J\nb", terminal=False) == "a\x1b[2J\nb"
    assert full_value("a\x1b[2J\nb", terminal=True) == "a\\x1b[2J\nb"


def _output(format: str, *, terminal: bool = False) -> tuple[Output, io.StringIO]:
    stream = Terminal() if terminal else io.StringIO()
    return Output(format, stream), stream


@pytest.mark.parametrize("count", [0, 1, 3])
def test_items(count: int) -> None:
    rows = [{"a": n} for n in range(count)]
    for format in ("json", "jsonl", "yaml"):
        out, stream = _output(format)
        with out.items() as write:
            for row in rows:
                write(row)
        text = stream.getvalue()
        if format == "json":
            assert json.loads(text) == rows
        elif format == "jsonl":
            assert [json.loads(line) for line in text.splitlines()] == rows
        else:
            assert text == ("".join(f"- a: {n}\n" for n in range(count)) or "[]\n")


def test_a_record_is_a_line_or_a_document() -> None:
    for format, text in (("json", '{"uptodate": true}\n'), ("yaml", "---\nuptodate: true\n"), ("human", "now\n")):
        out, stream = _output(format)
        out.record({"uptodate": True}, lambda: "now")
        assert stream.getvalue() == text


def test_a_plain_table_is_aligned() -> None:
    out, stream = _output("human")
    table = Table(out, ("PATH", "VALUE"))
    table.add("home.attic.temp", "21.5")
    table.add("x", "two\nlines")
    table.end()
    assert stream.getvalue() == "PATH             VALUE\nhome.attic.temp  21.5\nx                two\\x0alines\n"


def test_a_table_without_rows_prints_nothing() -> None:
    out, stream = _output("human")
    Table(out, ("PATH",)).end()
    assert stream.getvalue() == ""


def test_a_long_table_is_printed_as_it_comes() -> None:
    out, stream = _output("human", terminal=True)
    table = Table(out, ("N",))
    for n in range(2000):
        table.add(str(n))
    assert len(stream.getvalue().splitlines()) > 1000
    table.end()
    assert stream.getvalue().split() == ["N", *map(str, range(2000))]


def test_a_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out, stream = _output("human", terminal=True)
    table = Table(out, ("PATH", "VALUE"))
    table.add("a", "[bold]1[/bold]")
    table.end()
    assert "[bold]1[/bold]" in stream.getvalue()


def test_a_dumb_terminal_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out, stream = _output("human", terminal=True)
    table = Table(out, ("A",))
    table.add("1")
    table.end()
    assert stream.getvalue() == "A\n1\n"


def _outline(terminal: bool) -> str:
    out, stream = _output("human", terminal=terminal)
    outline = Outline(out)
    outline.add(["a"], " = 1")
    outline.add(["a", "b", "c"], " = 2")
    outline.add(["a", "b", "d"], " = 3")
    outline.add(["e", "b"], " = 4")
    outline.end("home")
    return stream.getvalue()


def test_a_plain_tree() -> None:
    assert _outline(terminal=False) == "a = 1\n  b\n    c = 2\n    d = 3\ne\n  b = 4\n"


def test_a_tree_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    lines = _outline(terminal=True).splitlines()
    assert lines[0].strip() == "home"
    assert [line[-5:] for line in lines if "=" in line] == ["a = 1", "c = 2", "d = 3", "b = 4"]
