"""Reading a YAML 1.2 file while keeping the line of each key.

Scalars are resolved by the core schema of YAML 1.2.2 (section 10.3.2) and nothing else, so ``on``, ``12:30`` and
``2026-01-01`` are text. Anchors, tags of one's own and duplicate keys are refused: a configuration file needs none
of them, and each has a way to surprise. The module takes 50 ms to import: only who has something to read does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from kvnode.data.scalars import ScalarError, plain_scalar

MAX_FILE_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 16

Key = tuple[str | int, ...]
"""Where a value is in a document: names of keys and indexes of lists."""

_STRING_TAG: Final = "tag:yaml.org,2002:str"


class YamlFileError(Exception):
    """The file cannot be read, or is not the YAML that is expected. `line` counts from 1; 0: the file as a whole."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(text)
        self.line = line
        self.text = text


@dataclass(slots=True)
class Document:
    """The value of a file, and the line (from 1) on which each key, item and the document itself stands."""

    value: Any = None
    lines: dict[Key, int] = field(default_factory=dict)


def read_yaml(path: Path) -> Document:
    """Read a file with one YAML document; an empty one has the value None. Raises :class:`YamlFileError`."""
    text = _read_text(path)
    try:
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        raise YamlFileError(_line_of(error), _one_line(error.problem or error.context or "not YAML")) from None
    except YAMLError as error:
        raise YamlFileError(0, _one_line(str(error))) from None
    except RecursionError:
        raise YamlFileError(0, f"expected no more than {MAX_DEPTH} levels") from None
    document = Document(lines={(): 1})
    if root is not None:
        document.value = _Builder(document.lines).build(root, ())
    return document


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise YamlFileError(0, f"expected a readable file: {error.strerror or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise YamlFileError(0, f"expected a file of at most {MAX_FILE_BYTES} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlFileError(data.count(b"\n", 0, error.start) + 1, "expected UTF-8 text") from None


def _line_of(error: MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return 0 if mark is None else int(mark.line) + 1


def _one_line(text: str) -> str:
    return "expected YAML 1.2: " + " ".join(text.split())


class _Builder:
    """Turns the node graph of one document into plain values."""

    def __init__(self, lines: dict[Key, int]) -> None:
        self._lines = lines
        self._seen: set[int] = set()

    def build(self, node: Node, key: Key) -> Any:
        line = int(node.start_mark.line) + 1
        self._lines.setdefault(key, line)
        # An alias is the very same node again; each document is held, so an id names one node.
        if id(node) in self._seen:
            raise YamlFileError(line, "expected no aliases: write the value out")
        self._seen.add(id(node))
        if len(key) > MAX_DEPTH:
            raise YamlFileError(line, f"expected no more than {MAX_DEPTH} levels")
        content: Any = node.value
        if isinstance(node, MappingNode):
            return self._mapping(content, key)
        if isinstance(node, SequenceNode):
            return [self.build(item, (*key, index)) for index, item in enumerate(content)]
        return _scalar(node, line)

    def _mapping(self, pairs: list[tuple[Node, Node]], key: Key) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in pairs:
            line = int(key_node.start_mark.line) + 1
            if not isinstance(key_node, ScalarNode):
                raise YamlFileError(line, "expected keys that are text")
            name = str(key_node.value)
            if name in out:
                raise YamlFileError(
                    line, f"{name}: expected each key once, it is on line {self._lines[*key, name]} too"
                )
            self._lines[*key, name] = line
            out[name] = self.build(value_node, (*key, name))
        return out


def _scalar(node: Node, line: int) -> Any:
    text = str(node.value)
    tag = str(getattr(node.tag, "value", node.tag) or "")
    if not tag.startswith("tag:yaml.org,2002:"):
        raise YamlFileError(line, f"expected no tag, found {tag}")
    if tag == _STRING_TAG or getattr(node, "style", None) not in (None, ""):
        return text
    try:
        return plain_scalar(text)
    except ScalarError as err:
        raise YamlFileError(line, str(err)) from None
