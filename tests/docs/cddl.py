"""The part of CDDL (RFC 8610) that schema/*.cddl uses: arrays, maps, choices, ranges, literals, names of rules.

The two validators on PyPI do not do: pycddl 0.6 mistakes arrays with optional members, zcbor 0.9 needs an old cbor2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

_TOKEN: Final = re.compile(r'\s*(=>|\.\.|[\[\]{}(),:?*/=]|"[^"]*"|-?\d+|[A-Za-z][\w-]*)')
_PRELUDE: Final[dict[str, Callable[[Any], bool]]] = {
    "any": lambda value: True,
    "nil": lambda value: value is None,
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: type(value) is int,
    "uint": lambda value: type(value) is int and value >= 0,
    "tstr": lambda value: isinstance(value, str),
    "bstr": lambda value: isinstance(value, bytes),
}

Type = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an array or map: how often ("", "?" or "*"), its name, the type of its key, its type."""

    occurs: str
    name: str
    key: Type | None
    type: Type


class Cddl:
    """The rules of a text. :meth:`fits` tells whether a value is as a rule says; a bad text raises ValueError."""

    def __init__(self, text: str) -> None:
        text = re.sub(r";.*", "", text)
        self._tokens = [match[1] for match in _TOKEN.finditer(text)]
        if "".join(self._tokens) != re.sub(r"\s", "", text):
            raise ValueError("there is something in the text that this reader does not know")
        self._at = 0
        self._latest: list[Member] = []
        self.choices: dict[str, list[str]] = {}
        """Of each rule the names that it is a choice of."""
        self.members: dict[str, list[Member]] = {}
        """Of each rule that is an array or map its members."""
        self._rules: dict[str, Type] = {}
        while self._at < len(self._tokens):
            self._rule()
        known = _PRELUDE.keys() | self._rules.keys()
        self.unknown = {token for token in self._names if token not in known}

    def fits(self, rule: str, value: Any) -> bool:
        """Whether the value is of this rule's type."""
        return self._rules[rule](value)

    # -- reading ---------------------------------------------------------------------------------------------

    @property
    def _names(self) -> Iterable[str]:
        """What is used as a type: names that no colon or sign of equality follows."""
        following = [*self._tokens[1:], ""]
        return (t for t, then in zip(self._tokens, following, strict=True) if t[0].isalpha() and then not in (":", "="))

    def _next(self, expected: str = "") -> str:
        token = self._tokens[self._at]
        if expected and token != expected:
            raise ValueError(f"{expected!r} expected before {' '.join(self._tokens[self._at : self._at + 8])}")
        self._at += 1
        return token

    def _sees(self, *tokens: str) -> bool:
        return self._tokens[self._at : self._at + 1] in [[token] for token in tokens]

    def _rule(self) -> None:
        name = self._next()
        self._next("=")
        if name in self._rules:
            raise ValueError(f"{name} is there twice")
        start, self._latest = self._at, []
        self._rules[name] = self._type()
        self.members[name] = self._latest
        self.choices[name] = [token for token in self._tokens[start : self._at] if token != "/"]

    def _type(self) -> Type:
        alternatives = [self._single()]
        while self._sees("/"):
            self._next()
            alternatives.append(self._single())
        return lambda value: any(fits(value) for fits in alternatives)

    def _single(self) -> Type:
        token = self._next()
        if token == "(":
            inner = self._type()
            self._next(")")
            return inner
        if token in "[{":
            members = self._members("]" if token == "[" else "}")
            return (
                (lambda value: _is_array(members, value)) if token == "[" else (lambda value: _is_map(members, value))
            )
        if token[0] == '"':
            return lambda value: bool(value == token[1:-1])
        if token.lstrip("-").isdigit():
            low = high = int(token)
            if self._sees(".."):
                self._next()
                high = int(self._next())
            return lambda value: type(value) is int and low <= value <= high
        return lambda value: (_PRELUDE.get(token) or self._rules[token])(value)

    def _members(self, end: str) -> list[Member]:
        found: list[Member] = []
        while not self._sees(end):
            occurs = self._next() if self._sees("?", "*") else ""
            name = ""
            if self._tokens[self._at + 1] == ":":
                name = self._next()
                self._next(":")
            key, kind = None, self._type()
            if self._sees("=>"):
                self._next()
                key, kind = kind, self._type()
            found.append(Member(occurs, name, key, kind))
            if not self._sees(end):
                self._next(",")
        self._next(end)
        self._latest = found
        return found


def _is_array(members: list[Member], value: Any) -> bool:
    """Greedy, as members of several values come last or alone."""
    if not isinstance(value, list | tuple):
        return False
    at = 0
    for member in members:
        if member.occurs == "*":
            while at < len(value) and member.type(value[at]):
                at += 1
        elif at < len(value) and member.type(value[at]):
            at += 1
        elif not member.occurs:
            return False
    return at == len(value)


def _is_map(members: list[Member], value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    named = {member.name: member for member in members if member.name}
    if any(name not in value for name, member in named.items() if not member.occurs):
        return False
    pairs = [member for member in members if member.key is not None]
    return all(
        named[key].type(item) if key in named else any(m.key and m.key(key) and m.type(item) for m in pairs)
        for key, item in value.items()
    )
