"""Our YAML is read alike by YAML 1.1 and 1.2 readers."""

import io
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from kvnode.data.yamlout import to_yaml

_text = st.text(st.characters(exclude_categories=["Cs"]))
_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_text, inner, max_size=4),
    max_leaves=15,
)


def _read_both(text: str) -> tuple[Any, Any]:
    return yaml.safe_load(text), YAML(typ="safe", pure=True).load(io.StringIO(text))


@given(_data)
def test_both_versions_read_it_back(data: object) -> None:
    old, new = _read_both(to_yaml(data))
    assert old == data
    assert new == data


@pytest.mark.parametrize(
    "text", ["on", "No", "y", "null", "~", "12:30", "2026-01-01", "1_000", "0x1f", "1e3", "", "- x", "a: b", "=", "<<"]
)
def test_what_could_be_mistaken_is_quoted(text: str) -> None:
    assert to_yaml(text).startswith('"')
    assert _read_both(to_yaml(text)) == (text, text)


def test_block_style() -> None:
    data = {"node": "a", "peers": [{"name": "b", "lag": 0}, {"name": "c"}], "empty": [], "text": "back at noon"}
    assert to_yaml(data) == ("node: a\npeers:\n  - name: b\n    lag: 0\n  - name: c\nempty: []\ntext: back at noon")
