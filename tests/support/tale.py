"""Short histories told by hand, for the checker's tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kvnode.testing.torture.checker import check
from kvnode.testing.torture.history import (
    Fail,
    Fault,
    Info,
    Invoke,
    Mark,
    Ok,
    Record,
    Seen,
    Stands,
    Watching,
    WriteOf,
)

Live = Mapping[str, str]


class Tale:
    """What happens on some nodes. Operations have a time from which to which they go; a dot ``a~1:2`` is the second
    change of a's first run, and its value is the dot's text unless told otherwise.
    """

    def __init__(self, *nodes: str) -> None:
        self.nodes = nodes or ("a", "b")
        self.records: list[Record] = []
        self._op = 0

    def write(
        self,
        dot: str,
        path: str,
        start: int,
        end: int,
        *,
        value: str | None = "",
        ack: str = "disk",
        expect: Iterable[str] | None = None,
        answer: str = "ok",
    ) -> Tale:
        """A write, by default acknowledged; `answer` may be ok, stands, info or fail."""
        self._op += 1
        told = dot if value == "" else value
        write = WriteOf(path, told, None if expect is None else tuple(expect))
        self.records.append(Invoke(start, self._op, "client", dot[0], (write,), ack))
        answers: Mapping[str, Record] = {
            "ok": Ok(end, self._op, (dot,)),
            "stands": Stands(end, self._op, (dot,)),
            "info": Info(end, self._op, "timeout"),
            "fail": Fail(end, self._op, "cas_failed"),
        }
        self.records.append(answers[answer])
        return self

    def delete(self, dot: str, path: str, start: int, end: int, **how: Any) -> Tale:
        """A delete."""
        return self.write(dot, path, start, end, value=None, **how)

    def read(self, node: str, path: str, start: int, end: int, *dots: str, live: Live | None = None) -> Tale:
        """A reading, of values that are their dots' texts unless `live` gives them."""
        self._op += 1
        self.records.append(Invoke(start, self._op, "client", node, path=path))
        self.records.append(Ok(end, self._op, live=live or {dot: dot for dot in dots}))
        return self

    def watch(self, node: str, scope: str, *items: tuple[str, str] | str, latest: bool = False, start: int = 0) -> Tale:
        """A watch, told one item each 10 units of time: (path, dots with blanks between), or the text of a mark."""
        self._op += 1
        self.records.append(Watching(start, self._op, node, scope, latest))
        for at, item in enumerate(items, 1):
            time = start + 10 * at
            if isinstance(item, str):
                self.records.append(Mark(time, self._op, item))
            else:
                self.records.append(Seen(time, self._op, item[0], {dot: dot for dot in item[1].split()}))
        return self

    def kill(self, node: str, at: int) -> Tale:
        """The node is killed."""
        self.records.append(Fault(at, "kill", node))
        return self

    def cut(self, at: int, *pairs: str) -> Tale:
        """From now on these directions are blocked, such as ``ab``, and no others."""
        self.records.append(Fault(at, "cuts", cuts=tuple((pair[0], pair[1]) for pair in pairs)))
        return self

    def broken(
        self,
        final: Mapping[str, Sequence[str]] | None = None,
        *,
        dumps: Mapping[str, str] | None = None,
        statuses: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> set[str]:
        """The broken laws, given the dots at each path in the end; on all nodes alike unless there are `dumps`."""
        text = dump({path: {dot: dot for dot in dots} for path, dots in (final or {}).items()})
        found = check(self.records, dumps or dict.fromkeys(self.nodes, text), statuses or {})
        return {violation.law for violation in found}


def dump(final: Mapping[str, Live]) -> str:
    """What ``kv dump`` prints."""
    lines = []
    for path, live in sorted(final.items()):
        versions = [{"author": "", "dot": dot, "stamp": 1, "value": value} for dot, value in sorted(live.items())]
        lines.append(json.dumps({"path": path, "versions": versions}))
    return "".join(line + "\n" for line in lines)
