"""kv verify, diff, quarantine and doctor on real processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kvnode.testing.processes import NodeProcess, run_kv
from tests.support.nodes import ask, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


def kv(node: NodeProcess, *args: str) -> Any:
    """A command's answer."""
    out = run_kv(*args, "--node", node.address, "--format", "json", check=False).stdout
    return json.loads(out) if out else None


def set_aside(node: NodeProcess) -> dict[str, Any]:
    """The quarantine, by path."""
    return {row["path"]: row for row in kv(node, "quarantine", "list")}


def code(*args: str) -> int:
    return run_kv(*args, check=False).returncode


def test_a_value_that_the_others_forgot_is_set_aside_survives_a_restart_and_is_restored(tmp_path: Path) -> None:
    """b is away, and retired; what it holds was deleted and forgotten meanwhile (R5)."""
    with NodeProcess("a", tmp_path) as a, NodeProcess("b", tmp_path, peers=[a.address]) as b:
        run_kv("set", "home.x", "1", "--ack", "peer:1", "--timeout", "30", "--node", a.address)
        assert code("verify", "--node", a.address) == 0
        assert code("diff", a.address, b.address) == 0
        b.terminate()
        run_kv("delete", "home.x", "--node", a.address)
        run_kv("node", "retire", "b", "--node", a.address)
        wait_for(lambda: not ask(a, lambda c: c.status())["tombstones"], "forgotten")
        b.start()
        wait_for(lambda: bool(ask(b, lambda c: c.inspection.quarantine())), "set aside")
        row = set_aside(b)["home.x"]  # and b's own record, which the retirement has deleted
        assert row["value"] == 1
        assert code("get", "home.x", "--node", b.address) == 1

        b.kill()
        b.start()
        assert set_aside(b)["home.x"] == row
        assert kv(b, "quarantine", "show", str(row["number"])) == row
        restored = kv(b, "quarantine", "restore", str(row["number"]))
        assert restored["dot"] != row["dot"]
        wait_for(lambda: code("get", "home.x", "--node", a.address) == 0, "it is back everywhere")
        assert "home.x" not in set_aside(b)


def test_nodes_that_are_not_linked_differ(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as a, NodeProcess("b", tmp_path) as b:
        run_kv("set", "home.x", "1", "--node", a.address)
        run_kv("set", "home.x", "2", "--node", b.address)
        run_kv("set", "away.y", "3", "--node", b.address)
        done = run_kv("diff", a.address, b.address, "home", "--format", "jsonl", check=False)
        assert done.returncode == 1
        (row,) = map(json.loads, done.stdout.splitlines())
        values = {side["node"]: [v["value"] for v in side["versions"]] for side in row["nodes"]}
        assert (row["path"], values) == ("home.x", {"a": [1], "b": [2]})
        assert [side["unheard"] for side in row["nodes"]] == [True, True]
        b.kill()
        assert code("diff", a.address, b.address) == 2


def test_verify_and_doctor_name_a_peer_that_is_gone(tmp_path: Path) -> None:
    with NodeProcess("a", tmp_path) as a, NodeProcess("b", tmp_path, peers=[a.address]) as b:
        run_kv("set", "home.x", "1", "--ack", "peer:1", "--timeout", "30", "--node", a.address)
        b.kill()
        wait_for(lambda: kv(a, "verify", "--wait", "0")[0]["result"] == "unlinked", "the link is gone")
        assert code("verify", "--wait", "0", "--node", a.address) == 3
        found = kv(a, "doctor")
        assert any(row["area"] == "links" and row["what"].startswith("no link to b") for row in found)
        bundle = tmp_path / "a.tar.gz"
        assert code("doctor", "--node", a.address, "--bundle", str(bundle)) == 1
        assert bundle.stat().st_mode & 0o777 == 0o600
        a.terminate()
        assert code("doctor", "--node", a.address) == 1
