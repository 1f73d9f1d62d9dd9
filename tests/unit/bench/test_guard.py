"""No operation takes noticeably more function calls than it did when it was last looked at."""

from __future__ import annotations

from bench import guard


def test_calls_for_each_operation() -> None:
    found, record = guard.counts(), guard.on_record()
    assert found.keys() == record.keys()
    assert guard.too_many(found, record) == {}, "python -m bench.guard shows more; see bench/guard.py"


def test_what_takes_more_is_told_beyond_the_slack_only() -> None:
    record = {"put": 100.0, "get": 50.0}
    assert guard.too_many({"put": 100 * guard.SLACK, "get": 50 * guard.SLACK + 1}, record) == {
        "get": "61 calls, on record are 50"
    }


def test_calls_are_counted_in_python_and_in_c_and_only_inside() -> None:
    def own() -> int:
        return len("text")

    def counted(times: int) -> int:
        calls = guard.Calls()
        with calls.counted():
            for _ in range(times):
                own()
        own()
        return calls.count

    assert counted(10) - counted(0) == 20
