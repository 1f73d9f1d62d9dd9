"""get, set, delete: outputs, values, conditions, exit codes."""

from __future__ import annotations

import io
import os
from collections.abc import Callable

import pytest

from kvnode.client import ABSENT, errors
from kvnode.core.entry import Lease
from kvnode.core.path import Path
from kvnode.core.ticks import Dot
from tests.cli.conftest import Result
from tests.cli.fake import INC, OTHER, FakeClient, reading, sibling

Kv = Callable[..., Result]


@pytest.mark.parametrize(
    ("value", "human", "json"),
    [
        (21.5, "21.5\n", "21.5\n"),
        ("on", "on\n", '"on"\n'),
        ("two\nlines", "two\nlines\n", '"two\\nlines"\n'),
        (None, "null\n", "null\n"),
        ({"a": [1]}, '{\n  "a": [\n    1\n  ]\n}\n', '{"a": [1]}\n'),
        (b"hi", '{\n  "$bytes": "aGk="\n}\n', '{"$bytes": "aGk="}\n'),
        ("Grüße", "Grüße\n", '"Grüße"\n'),
    ],
)
def test_get_prints_the_bare_value(kv: Kv, fake: FakeClient, value: object, human: str, json: str) -> None:
    fake.put(reading("home.x", value))
    assert kv("get", "home.x") == Result(0, human, "")
    assert kv("get", "home.x", "--format", "json") == Result(0, json, "")
    assert kv("get", "home.x", "--format", "jsonl") == Result(0, json, "")


def test_get_as_yaml(kv: Kv, fake: FakeClient) -> None:
    fake.put(reading("x", {"on": True, "level": 40}))
    assert kv("get", "x", "--format", "yaml").out == '"on": true\nlevel: 40\n'


@pytest.mark.parametrize("format", ["human", "json", "jsonl", "yaml"])
def test_no_value_is_one_line_and_code_1(kv: Kv, format: str) -> None:
    assert kv("get", "home.x", "--format", format) == Result(1, "", "kv: no value at home.x\n")


def test_get_tells_of_what_lies_below(kv: Kv, fake: FakeClient) -> None:
    fake.put(*(reading(path, 1) for path in ("home.attic.temp", "home.door", "a&b.c")))
    told = "kv: no value at home, but there are some below it: kv list home\n"
    for format in ("human", "json"):
        assert kv("get", "home", "--format", format) == Result(1, "", told)
    assert fake.calls[-1] == ("children", Path(("home",)), 1), "it asks for no more than one"
    assert kv("get", "a&b").err.endswith(": kv list 'a&b'\n")
    assert kv("get", ":").err.endswith(": kv list\n")
    assert kv("get", "homes").err == "kv: no value at homes\n"


def test_get_with_slashes_tells_of_dots(kv: Kv) -> None:
    told = "kv: no value at home/attic: dots separate the elements of a path, as in home.attic\n"
    assert kv("get", "home/attic") == kv("delete", "home/attic") == Result(1, "", told)


def test_details(kv: Kv, fake: FakeClient) -> None:
    fake.put(reading("x", 1, conflict=True, others=(sibling("x", 2), sibling("x", ABSENT, 2))))
    found = kv("get", "x", "--details", "--format", "json").json
    assert found == {
        "path": "x",
        "value": 1,
        "node": "a",
        "tick": 1,
        "time": "2026-01-01T00:00:00.123Z",
        "author": "kv",
        "conflict": True,
        "dot": f"{INC}:1",
        "dots": [f"{INC}:1", f"{OTHER}:1"],
        "siblings": [
            {"dot": f"{INC}:1", "value": 1, "time": "2026-01-01T00:00:00.123Z", "author": "kv", "node": "a"},
            {"dot": f"{OTHER}:1", "value": 2, "time": "2026-01-01T00:00:00.122Z", "author": "kv", "node": "b"},
            {"dot": f"{OTHER}:2", "deleted": True, "time": "2026-01-01T00:00:00.122Z", "author": "kv", "node": "b"},
        ],
    }
    human = kv("get", "x", "--details").out
    assert f"dot       {INC}:1\n" in human
    assert "conflict  yes\n" in human
    assert "deleted" in human


# -- delete below a path -------------------------------------------------------------------------------------


def _house(fake: FakeClient) -> None:
    fake.put(*(reading(path, 1) for path in ("home", "home.a", "home.a.b", "homes", "@.policy.x")))


def test_delete_below_a_path(kv: Kv, fake: FakeClient) -> None:
    _house(fake)
    assert kv("delete", "-r", "home", "--yes", "--ack", "all").out == "3 values at and below home deleted\n"
    assert sorted(map(str, fake.entries)) == ["@.policy.x", "homes"]
    (batch,) = [call for call in fake.calls if call[0] == "batch"]
    assert batch[2] == {"ack": "all", "timeout": 5.0}
    fake.put(reading("home.a", 1))
    assert kv("delete", "-r", "home").err == "kv: that would delete 1 value at and below home: --yes does it\n"
    assert kv("delete", "-r", "home", "--yes").out == "1 value at and below home deleted\n"
    assert kv("delete", "-r", "home", "--yes") == Result(1, "", "kv: no value at or below home\n")


def test_delete_everything_spares_the_system(kv: Kv, fake: FakeClient) -> None:
    _house(fake)
    row = kv("delete", "--recursive", ":", "--yes", "--format", "json").json
    assert row == {"path": ":", "deleted": 4, "batches": 1}
    assert list(map(str, fake.entries)) == ["@.policy.x"]
    assert kv("delete", "-r", "@", "--yes").code == 0
    assert fake.entries == {}


def test_delete_below_a_path_goes_in_batches(kv: Kv, fake: FakeClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvnode.cli.recursive.BATCH_PATHS", 2)
    _house(fake)
    assert kv("delete", "-r", "home", "--yes", "--format", "json").json["batches"] == 2


def test_without_a_terminal_it_wants_a_yes(kv: Kv, fake: FakeClient) -> None:
    _house(fake)
    why = "kv: that would delete 3 values at and below home: --yes does it\n"
    assert kv("delete", "-r", "home") == Result(2, "", why)
    assert kv("delete", "-r", "home", "--expect", f"{INC}:1").code == 2
    assert len(fake.entries) == 5


@pytest.mark.parametrize(("answer", "left"), [("n", 5), ("", 5), ("y", 2)])
def test_on_a_terminal_it_asks(
    kv: Kv, fake: FakeClient, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    _house(fake)
    with monkeypatch.context() as patch:  # sys.stderr is taken back before capsys takes back its own
        patch.setattr("sys.stdin", Terminal(f"{answer}\n"))
        patch.setattr("sys.stderr", terminal := Terminal())
        assert kv("delete", "-r", "home").code == (left == 5)
    assert terminal.getvalue().startswith("Delete 3 values at and below home? [y/N]")
    assert len(fake.entries) == left


# -- set -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "value"),
    [("21.5", 21.5), ("on", "on"), ('{"a": 1}', {"a": 1}), ("-5", -5), ("-.inf", float("-inf")), ("", None)],
)
def test_set_reads_the_value(kv: Kv, fake: FakeClient, argument: str, value: object) -> None:
    assert kv("set", "x", argument).code == 0
    assert fake.calls == [("set", Path(("x",)), value, _options())]


def _options(**changes: object) -> dict[str, object]:
    return {"ack": "disk", "timeout": 5.0, "expect": None, "ttl": None, "if_changed": False} | changes


def test_set_tells_the_dot(kv: Kv) -> None:
    assert kv("set", "x", "on") == Result(0, f"x = on  ({INC}:101)\n", "")
    assert kv("set", "x", "on", "--format", "json").json == {"path": "x", "dot": f"{INC}:102"}


def test_set_with_slashes_tells_of_dots(kv: Kv, fake: FakeClient) -> None:
    done = kv("set", "home/attic/temp", "21")
    assert (done.code, done.out) == (0, f"home/attic/temp = 21  ({INC}:101)\n")
    told = "the slashes in home/attic/temp separate nothing: dots separate the elements of a path, as in home.attic"
    assert done.err == f"kv: {told}\n"
    assert Path(("home/attic/temp",)) in fake.entries
    assert kv("set", "home/attic/temp", "22", "--format", "json").err == ""
    assert kv("set", "home.attic.temp", "22").err == ""
    assert kv("set", "home/attic/temp", "23", "--if-absent").err.count("\n") == 1, "it was not written"


def test_string_forces_text(kv: Kv, fake: FakeClient) -> None:
    kv("set", "x", "42", "--string")
    kv("set", "--string", "x", "{no: json")
    assert [call[2] for call in fake.calls] == ["42", "{no: json"]


@pytest.mark.parametrize(
    ("typed", "args", "value"),
    [
        (b"42\n", (), 42),
        (b'{"a":\n 1}\n', (), {"a": 1}),
        (b"42\n", ("--string",), "42"),
        (b"two\nlines\n\n", ("--string",), "two\nlines\n"),
        (b"dos\r\n", ("--string",), "dos"),
        (b"", ("--string",), ""),
    ],
)
def test_a_dash_reads_standard_input(
    kv: Kv, fake: FakeClient, monkeypatch: pytest.MonkeyPatch, typed: bytes, args: tuple[str, ...], value: object
) -> None:
    _type(monkeypatch, typed)
    assert kv("set", "x", "-", *args).code == 0
    assert fake.calls[0][2] == value


def _type(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    stream = io.BytesIO(data)
    monkeypatch.setattr(os, "read", lambda fd, size: stream.read(size))


def test_standard_input_must_be_text(kv: Kv, monkeypatch: pytest.MonkeyPatch) -> None:
    _type(monkeypatch, b"\xff\xfe")
    assert kv("set", "x", "-", "--string") == Result(2, "", "kv: standard input: not UTF-8 text (byte 1)\n")


def test_spoilt_json_is_an_error_that_names_string(kv: Kv, fake: FakeClient) -> None:
    done = kv("set", "x", "{a: 1}")
    assert done.code == 2
    assert done.err.startswith("kv: the value starts like JSON but is none: ")
    assert "--string" in done.err
    assert fake.calls == []


def test_conditions(kv: Kv, fake: FakeClient) -> None:
    dot = f"{INC}:1"
    kv("set", "x", "1", "--if-absent")
    kv("set", "y", "1", "--expect", dot, "--expect", f"{OTHER}:2")
    assert fake.calls[0][3]["expect"] is ABSENT
    assert fake.calls[1][3]["expect"] == {Dot(INC, 1), Dot(OTHER, 2)}
    assert kv("set", "x", "2", "--if-absent") == Result(
        4, "", f"kv: x is no longer as it was read; there is now {INC}:101\n"
    )
    assert kv("set", "x", "2", "--if-absent", "--expect", dot).code == 2
    assert kv("set", "x", "2", "--expect", "nonsense").code == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("30s", 30), ("1.5h", 5400), ("250ms", 0.25), ("5 min", 300), ("7d", 604_800)]
)
def test_a_time_to_live_makes_a_lease(kv: Kv, fake: FakeClient, text: str, seconds: float) -> None:
    assert kv("set", "x", "1", "--ttl", text).code == 0
    assert fake.calls[0][3]["ttl"] == seconds


@pytest.mark.parametrize("text", ["", "0", "-1", "soon", "5 fortnights", "1e3"])
def test_what_is_no_time_to_live(kv: Kv, text: str) -> None:
    done = kv("set", "x", "1", "--ttl", text)
    assert (done.code, done.out) == (2, "")
    assert "is no length of time; write 30s" in done.err


def test_nothing_is_written_where_nothing_changes(kv: Kv, fake: FakeClient) -> None:
    fake.unchanged = True
    assert kv("set", "x", "1", "--if-changed").out == f"x = 1  (unchanged, {INC}:101)\n"
    assert fake.calls[0][3]["if_changed"] is True
    machine = kv("set", "x", "1", "--if-changed", "--format", "json").json
    assert machine == {"path": "x", "dot": f"{INC}:102", "unchanged": True}


def test_a_stale_value_is_printed_and_marked(kv: Kv, fake: FakeClient) -> None:
    fake.put(reading("x", 1, lease=Lease("b", 60_000), stale=True, expired=True))
    done = kv("get", "x")
    assert (done.code, done.out) == (0, "1\n")
    assert done.err.startswith("kv: x is stale: ended ")
    assert done.err.endswith(", held by b\n")
    assert kv("list").out.splitlines()[1].split()[:3] == ["x", "1", "(stale)"]
    row = kv("get", "x", "--details", "--format", "json").json
    assert (row["lease"], row["until"], row["expired"]) == ("b", "2026-01-01T00:01:00.123Z", True)
    assert "held by b" in kv("get", "x", "--details").out


@pytest.mark.parametrize("level", ["memory", "disk", "all", "peer:1", "peer:12"])
def test_ack_levels(kv: Kv, fake: FakeClient, level: str) -> None:
    assert kv("set", "x", "1", "--ack", level, "--timeout", "0.5").code == 0
    assert fake.calls[0][3] == _options(ack=level, timeout=0.5)


@pytest.mark.parametrize("level", ["", "peer", "peer:0", "peer:x", "everybody"])
def test_no_ack_levels(kv: Kv, level: str) -> None:
    done = kv("set", "x", "1", "--ack", level)
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_an_ack_timeout_tells_the_dot(kv: Kv, fake: FakeClient) -> None:
    fake.fails = errors.error("ack_timeout", "not acknowledged in time", {"dots": [(INC, 9)]})
    assert kv("set", "x", "1") == Result(5, "", f"kv: not acknowledged in time; dot {INC}:9\n")
    done = kv("set", "x", "1", "--format", "json")
    assert done.code == 5
    assert done.json == {"path": "x", "dot": f"{INC}:9", "acked": False}


# -- delete --------------------------------------------------------------------------------------------------


def test_delete(kv: Kv, fake: FakeClient) -> None:
    fake.put(reading("x", 1))
    assert kv("delete", "x") == Result(0, f"x deleted  ({INC}:101)\n", "")
    assert kv("delete", "x") == Result(1, "", "kv: no value at x\n")
    fake.put(reading("x.y", 1))
    assert kv("delete", "x") == Result(1, "", "kv: no value at x, but there are some below it: kv list x\n")
    assert Path.parse("x.y") in fake.entries


def test_delete_with_a_condition(kv: Kv, fake: FakeClient) -> None:
    fake.put(reading("x", 1))
    assert kv("delete", "x", "--expect", f"{INC}:7").code == 4
    assert kv("delete", "x", "--expect", f"{INC}:1", "--format", "json").json == {"path": "x", "dot": f"{INC}:101"}
