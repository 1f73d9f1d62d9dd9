"""Reference pages and program say the same."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from kvnode.node.metrics import metrics_of
from kvnode.node.settings import flag_of, leaves, load
from tests.unit.node.test_metrics import status

ROOT = Path(__file__).parents[2]


def test_the_configuration_page_is_made_from_the_schema() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["text"]()
    assert (ROOT / "docs/reference/config.md").read_text(encoding="utf-8") == made, "run `make reference`"


def test_the_file_on_the_configuration_page_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs/reference/config.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "node.yaml"
    file.write_text(example, encoding="utf-8")
    config = load(file, env={}).config
    assert config.peers == ("cellar.lan:27590", "[fd00::7]:27590")


def test_every_metric_is_documented_and_only_they() -> None:
    page = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(kvnode_\w+)` \| (\w+) \| .* \| (.*) \|$", page, re.MULTILINE)
    assert rows == [(metric.name, metric.kind, metric.help) for metric in metrics_of(status())]


@pytest.mark.parametrize("key", [key for key, _ in leaves()])
def test_every_setting_is_an_option_of_node_run(key: str) -> None:
    from kvnode.cli.node import run

    options = [option for parameter in run.params for option in parameter.opts]
    assert flag_of(key) in options
