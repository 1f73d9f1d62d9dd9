"""Reading the configuration of a node: one YAML file, the environment above it, the command line above both.

Each source is checked by itself against ``schema/node.schema.json``, so that an error names the place where it can
be mended: one line each, ``FILE:LINE: KEY: expected ...``, or with the variable or the flag in place of the file.
The origin of every setting is kept, for ``kv node run --show-config``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from kvnode.data.conforms import conforms
from kvnode.data.scalars import ScalarError, plain_scalar
from kvnode.data.schemas import read_schema
from kvnode.transport.address import AddressError, parse_address

from .config import NodeConfig

if TYPE_CHECKING:
    from jsonschema import ValidationError

    from .yamlfile import Key

ENV_PREFIX: Final = "KVNODE_"
FILE_VARIABLE: Final = "KVNODE_CONFIG"
DEFAULT_ORIGIN: Final = "default"


class ConfigError(Exception):
    """The configuration cannot be used. `lines` has one line for each thing that is wrong."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked configuration, where each setting comes from (by dotted key), and what to warn of."""

    config: NodeConfig
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """Every setting as (key, value, origin), in the order of the schema."""
        for key, value in _flat(self.config):
            yield key, value, self.origins.get(key, DEFAULT_ORIGIN)


def load(
    file: Path | None = None, *, env: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Settings:
    """Read and check the configuration.

    `file` is the YAML file; without it the variable KVNODE_CONFIG may name one. `env` is the environment (default:
    this process's). `flags` maps dotted keys to values from the command line; None and () mean "not given". Raises
    :class:`ConfigError` with everything that is wrong.
    """
    env = os.environ if env is None else env
    if file is None and env.get(FILE_VARIABLE):
        file = Path(env[FILE_VARIABLE])
    sources = [_env_source(env), _flag_source(flags or {})]
    if file is not None:
        sources.insert(0, _file_source(file))
    errors = [line for source in sources for line in _schema_errors(source)]
    if errors:
        raise ConfigError(errors)
    return _combine(sources, _unknown_variables(env))


# -- sources -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Source:
    """Settings from one place. `place` gives the text that stands before a key in messages."""

    document: Any
    lines: Mapping[Key, int] = field(default_factory=dict)
    file: str = ""
    names: Mapping[str, str] = field(default_factory=dict)

    def place(self, key: Key) -> str:
        if not self.file:
            return self.names.get(_dotted(key[:2]), self.names.get(_dotted(key[:1]), ""))
        while key not in self.lines:
            key = key[:-1]
        return f"{self.file}:{self.lines[key]}"


def _file_source(path: Path) -> _Source:
    from .yamlfile import YamlFileError, read_yaml

    try:
        document = read_yaml(path)
    except YamlFileError as error:
        place = f"{path}:{error.line}" if error.line else f"{path}"
        raise ConfigError([f"{place}: {error.text}"]) from None
    return _Source({} if document.value is None else document.value, document.lines, file=str(path))


def _env_source(env: Mapping[str, str]) -> _Source:
    document: dict[str, Any] = {}
    names: dict[str, str] = {}
    for key, schema in leaves():
        variable = variable_of(key)
        if variable in env:
            _put(document, key, _from_text(env[variable], schema))
            names[key] = variable
    return _Source(document, names=names)


def _flag_source(flags: Mapping[str, Any]) -> _Source:
    document: dict[str, Any] = {}
    given = {key: value for key, value in flags.items() if value is not None and value != ()}
    for key, value in given.items():
        _put(document, key, list(value) if isinstance(value, tuple) else value)
    return _Source(document, names={key: flag_of(key) for key in given})


def _from_text(text: str, schema: Mapping[str, Any]) -> Any:
    """A variable's text as the type that its key has; what does not fit stays text and fails the check."""
    if schema.get("type") == "array":
        return [item for item in re.split(r"[,\s]+", text) if item]
    if schema.get("type") in ("integer", "boolean"):
        with suppress(ScalarError):
            return plain_scalar(text.strip())
    return text


def _unknown_variables(env: Mapping[str, str]) -> list[str]:
    """Warnings for variables that look mistyped. Others with our prefix are let be: container managers set some."""
    known = {variable_of(key) for key, _ in leaves()} | {FILE_VARIABLE}
    out = []
    for variable in sorted(env):
        if not variable.startswith(ENV_PREFIX) or variable in known:
            continue
        close = get_close_matches(variable, known, n=1, cutoff=0.85)
        if close:
            out.append(f"{variable}: not a setting, ignored; did you mean {close[0]}?")
    return out


# -- checks --------------------------------------------------------------------------------------------------


def _schema_errors(source: _Source) -> list[str]:
    schema = read_schema("node")
    if conforms(source.document, schema):
        return []
    from jsonschema import Draft202012Validator  # 0.03 to 0.15 s to import: only whose settings are wrong pays for it

    found = Draft202012Validator(schema).iter_errors(source.document)
    lines = [line for error in found for line in _describe(source, error)]
    return [text for _, text in sorted(lines)]


def _describe(source: _Source, error: ValidationError) -> Iterator[tuple[int, str]]:
    """The lines for one error, each with the line of the file to sort by."""
    key: Key = tuple(error.absolute_path)
    schema: Any = error.schema
    if error.validator == "additionalProperties":
        known = list(schema["properties"])
        for name in cast("dict[str, Any]", error.instance):
            if name not in known:
                yield _line(source, (*key, name), _instead_of(str(name), known))
        return
    expected = schema.get("x-expected", error.message)
    yield _line(source, key, f"expected {expected}, found {_shown(error.instance)}")


def _line(source: _Source, key: Key, text: str) -> tuple[int, str]:
    place = source.place(key)
    parts = [part for part in (place, _dotted(key), text) if part]
    return source.lines.get(key, 0), ": ".join(parts)


def _instead_of(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"one of {', '.join(known)}"
    return f"expected a known key; {hint}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    text = repr(value) if isinstance(value, str) else str(value).lower()
    return text if len(text) <= 40 else text[:40] + "..."


def _combine(sources: list[_Source], warnings: list[str]) -> Settings:
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        for key, _ in leaves():
            value = _take(source.document, key)
            if value is not None:
                # To JSON Schema 1e3 is a whole number, and no setting is anything but whole.
                _put(merged, key, int(value) if isinstance(value, float) else value)
                origins[key] = source.place(tuple(key.split(".")))
    missing = [_missing(key) for key in _required(merged) if not merged.get(key)]
    if missing:
        raise ConfigError(missing)
    config = msgspec.convert(merged, NodeConfig)
    errors = [f"{origins.get(key, DEFAULT_ORIGIN)}: {key}: {text}" for key, text in _cross_checks(config)]
    if errors:
        raise ConfigError(errors)
    return Settings(config, origins, tuple(warnings))


def _required(merged: Mapping[str, Any]) -> tuple[str, ...]:
    return ("name",) if merged.get("store") == "memory" else ("name", "data")


def _missing(key: str) -> str:
    expected = next(schema for name, schema in leaves() if name == key)["x-expected"]
    return f"{key}: expected {expected}: give {flag_of(key)}, {variable_of(key)} or the key {key} of the file"


def _cross_checks(config: NodeConfig) -> Iterator[tuple[str, str]]:
    """What no schema can say: (key, text) for each error."""
    addresses = {
        "listen": [config.listen],
        "peers": config.peers,
        "advertise": config.advertise,
        "http": [config.http][: config.http != "none"],
    }
    bad = False
    for key, texts in addresses.items():
        for text in texts:
            try:
                parse_address(text)
            except AddressError as error:
                bad = True
                yield key, f"expected HOST:PORT: {error}"
    if bad:
        return
    if not config.listen_address.is_loopback and not config.insecure:
        yield (
            "listen",
            f"expected a loopback address, because {config.listen_address.host} is open to the network and links are "
            f"not encrypted yet; --insecure (insecure: true) allows it",
        )
    if config.mdns and not config.encrypted:
        yield (
            "mdns",
            "expected false, because a node announces itself only where links are encrypted, and they are not yet",
        )
    if config.http_address is not None and not config.http_address.is_loopback:
        yield "http", f"expected a loopback address such as 127.0.0.1:27591, found {config.http!r}"


# -- keys ----------------------------------------------------------------------------------------------------


def leaves() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every setting as (dotted key, its schema), in the order of the schema."""
    for name, schema in read_schema("node")["properties"].items():
        if "properties" in schema:
            for inner, inner_schema in schema["properties"].items():
                yield f"{name}.{inner}", inner_schema
        else:
            yield name, schema


def variable_of(key: str) -> str:
    """The environment variable of a setting: ``log.level`` is KVNODE_LOG_LEVEL."""
    return ENV_PREFIX + key.replace(".", "_").upper()


def flag_of(key: str) -> str:
    """The command line flag of a setting: ``log.level`` is --log-level; ``peers`` is --peer, once for each."""
    return "--peer" if key == "peers" else "--" + key.replace(".", "-").replace("_", "-")


def _dotted(key: Key) -> str:
    out = ""
    for part in key:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def _put(document: dict[str, Any], key: str, value: Any) -> None:
    *outer, name = key.split(".")
    for part in outer:
        document = document.setdefault(part, {})
    document[name] = value


def _take(document: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(document, dict) or part not in document:
            return None
        document = document[part]
    return document


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for item in fields(value):
        inner = getattr(value, item.name)
        if is_dataclass(inner):
            yield from _flat(inner, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, inner
