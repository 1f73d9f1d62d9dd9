"""The soak in its short form: three real nodes under load and churn for 22 s. CI has a busy machine, so that the bounds
are generous where time and memory are concerned, and exact where they can be.
"""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from kvnode.testing.soak.run import Plan, soak

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

PLAN = Plan(load_s=22.0, rate=30.0, cut_every_s=3.0, restart_least_s=8.0)
MEMORY_KIB = 16 * 1024
"""Four times what the long form allows; for a slope there may be too few measurements."""


def test_nothing_grows_in_a_short_soak(tmp_path: Path) -> None:
    said: list[str] = []
    report = anyio.run(soak, PLAN, tmp_path, said.append)
    summary = "\n".join(report.lines())
    assert report.restarts >= 1, summary
    assert report.cuts >= 3, summary
    assert report.visits >= 10, summary
    for name in ("n1", "n2"):
        memory = [row.rss_kib for row in report.rows if row.node == name]
        assert max(memory) - min(memory) < MEMORY_KIB, summary
        assert report.verdict(name, "descriptors").ok, summary
        assert report.verdict(name, "threads").ok, summary
    for name in ("n1", "n2", "n3"):
        assert report.verdict(name, "file").ok, summary
        assert report.verdict(name, "log").ok, summary
    assert report.verdict("all", "at rest").ok, summary
    assert report.verdict("all", "errors").ok, summary
