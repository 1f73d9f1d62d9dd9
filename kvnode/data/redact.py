"""Taking secrets out of what people send around: configuration, logs, status.

Four nets, each of which would be too coarse or too fine alone: the name under which a value stands (or the schema, by
``"x-secret": true``); secrets that are known, wherever they stand; the form of a text (passwords in URLs,
``password=...``, bearer tokens, PEM blocks, paths of private keys); and long runs of random-looking characters. What is
caught is replaced by ``***``: better a bundle that tells too little than one that tells a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

REDACTED: Final = "***"
SHORTEST: Final = 4
"""Known secrets that are shorter are not looked for: they would be found in every other word."""
SECRET_NAME: Final = re.compile(
    r"passw|passphrase|secret|token|credential|private|api_?key|cookie|authorization|signature|"
    r"(^|[._-])(auth|key|keyfile|pwd|pin|psk|seed)([._-]|$)|key_?(file|path)",
    re.IGNORECASE,
)
"""Names of settings, fields and variables whose values are nobody's business."""

_PEM: Final = re.compile(r"-----BEGIN [^-]*-----.*?(-----END [^-]*-----|\Z)", re.DOTALL)
_USER_INFO: Final = re.compile(r"(?<=://)[^/\s@]+@|[^\s/@:\"']+:[^\s/@]+@(?=\w)")
_ASSIGNED: Final = re.compile(
    r"(?P<name>[\w.-]*(?:passw|passphrase|secret|token|credential|private|api[_-]?key|cookie|authorization|signature|psk)"
    r"[\w.-]*)(?P<between>[\"']?\s*[=:]\s*)(?P<value>\"[^\"]*\"|'[^']*'|(?:(?:Bearer|Basic)\s+)?[^\s,;}\])]+)",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"\b(Bearer|Basic)\s+[^\s,;\"']+", re.IGNORECASE)
_KEY_FILE: Final = re.compile(r"[^\s\"'=:,]*\.(?:key|pem|p12|pfx|jks|keytab)\b", re.IGNORECASE)
_RANDOM: Final = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_HEX: Final = re.compile(r"[0-9a-fA-F]{32,}")
_NAME: Final = re.compile(r"[\w.-]+")
_DIGITS: Final = 2
"""A long run with at least so many digits, and capital and small letters, is taken for random."""


class Redactor:
    """Takes secrets out. `names` are dotted names of settings that are secret in any case; `values` are known secrets,
    which go wherever they stand.
    """

    def __init__(self, names: Iterable[str] = (), values: Iterable[str] = ()) -> None:
        self._names: Final = frozenset(names)
        known = sorted({v for v in values if len(v) >= SHORTEST}, key=len, reverse=True)
        self._known: Final = re.compile("|".join(map(re.escape, known))) if known else None

    def text(self, text: str) -> str:
        """A text without what looks like a secret."""
        text = self._known.sub(REDACTED, text) if self._known else text
        text = _PEM.sub(REDACTED, text)
        text = _USER_INFO.sub(f"{REDACTED}@", text)
        text = _ASSIGNED.sub(lambda m: f"{m['name']}{m['between']}{REDACTED}", text)
        text = _SCHEME.sub(lambda m: f"{m[1]} {REDACTED}", text)
        text = _KEY_FILE.sub(REDACTED, text)
        return _RANDOM.sub(_unless_random, text)

    def data(self, value: Any, name: str = "") -> Any:
        """Plain data (maps, lists, texts, numbers) without secrets; `name` is the dotted name of `value`."""
        if name and (name in self._names or is_secret_name(name)):
            return value if value is None or isinstance(value, bool) else REDACTED
        if isinstance(value, Mapping):
            inner = f"{name}." if name else ""
            return {self._name(str(key)): self.data(item, f"{inner}{key}") for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.data(item, name) for item in value]
        if isinstance(value, bytes):
            return REDACTED
        return self.text(value) if isinstance(value, str) else value

    def _name(self, name: str) -> str:
        """The name of a setting stays readable, ``tls.key`` too."""
        return _RANDOM.sub(_unless_random, name) if _NAME.fullmatch(name) else self.text(name)


def is_secret_name(name: str) -> bool:
    """Whether what stands under this (dotted) name is a secret."""
    return SECRET_NAME.search(name.rpartition(".")[2]) is not None


def _unless_random(match: re.Match[str]) -> str:
    run = match[0]
    mixed = run != run.lower() and run != run.upper() and sum(c.isdigit() for c in run) >= _DIGITS
    return REDACTED if mixed or _HEX.fullmatch(run) else run


def secret_keys(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of the settings that a JSON Schema marks with ``"x-secret": true``."""
    for name, inner in schema.get("properties", {}).items():
        dotted = f"{prefix}{name}"
        if inner.get("x-secret"):
            yield dotted
        yield from secret_keys(inner, f"{dotted}.")
