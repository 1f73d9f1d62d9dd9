"""The soak in its short form: three real nodes under load and churn for 40 s. CI has a busy machine, so that the bounds
are generous where time and memory are concerned, and exact where they can be.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from kvnode.testing.soak.run import Plan, soak
from kvnode.testing.soak.trend import Bound, judge

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

PLAN = Plan(load_s=40.0, rate=30.0, cut_every_s=5.0, restart_least_s=15.0)
MEMORY = Bound(absolute=16 * 1024, share=0.2)
"""KiB: four times what the long form allows."""


def test_nothing_grows_in_a_short_soak(tmp_path: Path) -> None:
    said: list[str] = []
    report = anyio.run(soak, PLAN, tmp_path, said.append)
    summary = "\n".join(report.lines())
    assert report.restarts >= 1, summary
    assert report.cuts >= 3, summary
    assert report.visits >= 10, summary
    for name in ("n1", "n2"):
        memory = [(row.at_s, float(row.rss_kib)) for row in report.rows if row.node == name]
        assert judge(name, "memory", "KiB", memory, MEMORY).ok, summary
        assert report.verdict(name, "descriptors").ok, summary
        assert report.verdict(name, "threads").ok, summary
    for name in ("n1", "n2", "n3"):
        assert report.verdict(name, "file").ok, summary
        assert report.verdict(name, "log").ok, summary
    assert report.verdict("all", "at rest").ok, summary
    assert report.verdict("all", "errors").ok, summary
