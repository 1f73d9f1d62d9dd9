"""Real nodes on broken stores: all is well again, what is lost is told, and what can be read is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kvnode.client import Client
from kvnode.store.check import check
from kvnode.store.files import PAGE_BYTES
from kvnode.store.frames import MAGIC
from kvnode.store.sqlite import FILE_NAME
from kvnode.testing.damage import ALL_DAMAGE, FILE_DAMAGE, LOG_DAMAGE, flip_page_header, garbage, remove_all
from kvnode.testing.damage_run import NotHealed, Trial, one_round
from kvnode.testing.processes import NodeProcess, environment, free_port
from kvnode.testing.store_contract import persist
from tests.support.nodes import ask, dump_of, put, status, values, wait_for
from tests.support.records import store_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

DOUBT = "store_doubt"


def kinds_of_reports(node: NodeProcess) -> set[str]:
    return {report["kind"] for report in status(node)["reports"]}


async def _troubles(kv: Client) -> dict[str, Any]:
    async with kv.tree("@.errors") as rows:
        return {str(row.path): row.value async for row in rows}


def troubles(node: NodeProcess) -> dict[str, Any]:
    return ask(node, _troubles)


def page(node: NodeProcess, address: str, name: str) -> tuple[int, str]:
    """A page of the node's health server."""
    try:
        with urllib.request.urlopen(f"http://{address}/{name}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        with err:
            return err.code, err.read().decode()


# -- three nodes -----------------------------------------------------------------------------------------------------


def test_what_breaks_on_one_of_three_nodes_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make damage` is the long form."""
    with Trial(tmp_path) as trial:
        b = trial.nodes[1]
        trial.round(garbage, Random(1), victim=b)
        check_what_is_told(trial)
        one_round(trial, 1, FILE_DAMAGE)
        one_round(trial, 2, LOG_DAMAGE)
        b.terminate()
        found = check(str(b.data / FILE_NAME))
        assert (found.errors, {finding.kind for finding in found.findings}) == (0, {"kept"})
        b.start()
        monkeypatch.setattr("kvnode.testing.damage_run.WAIT_S", 0.5)
        trial.expected["d.never"] = 1
        with pytest.raises(NotHealed, match=r"d\.never"):
            trial.until_healed()


def check_what_is_told(trial: Trial) -> None:
    """Of the damage of b: a line in its log, and a record on all nodes, resolved since a peer has made up for it."""
    a, b, c = trial.nodes
    (line,) = [line for line in b.read_log().splitlines() if '"the store is damaged"' in line]
    assert f"{b.data / FILE_NAME}.damaged-1" in json.loads(line)["last"]
    place = "@.errors.node.b.store_doubt"
    wait_for(lambda: troubles(c).get(place, {}).get("resolved") is not None, "the record")
    wait_for(lambda: place in troubles(a), "the record at a")
    record = troubles(a)[place]
    assert (record["subsystem"], record["severity"]) == ("node/b", "warning")
    assert "was damaged" in record["message"]
    assert DOUBT not in kinds_of_reports(b)
    assert not status(b)["store"]["doubted"]


def test_every_kind_of_damage_says_what_it_did(tmp_path: Path) -> None:
    for name, damage in ALL_DAMAGE.items():
        directory = tmp_path / name
        directory.mkdir()
        file, log = directory / FILE_NAME, directory / f"{FILE_NAME}-log0"
        file.write_bytes(bytes(5 * PAGE_BYTES))
        log.write_bytes(MAGIC + bytes(range(1, 200)))
        before = [file.read_bytes(), log.read_bytes()]
        assert damage(directory, Random(7))
        after = [path.read_bytes() if path.exists() else None for path in (file, log)]
        assert after != before or name == "overwrite_page"
        assert after[0] == before[0] or name in FILE_DAMAGE or damage is remove_all
        assert after[1] == before[1] or name in LOG_DAMAGE


# -- one node alone --------------------------------------------------------------------------------------------------


def test_a_node_alone_keeps_what_can_be_read(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with NodeProcess("a", tmp_path, args=["--http", address]) as node:
        ask(node, _fill)
        before = values(dump_of(node))
        node.terminate()
        broken = Random(5)
        flip_page_header(node.data, broken)
        flip_page_header(node.data, broken)
        damaged = (node.data / FILE_NAME).read_bytes()
        assert not check(str(node.data / FILE_NAME)).is_sound
        node.start()
        after = values(dump_of(node))
        home = {path for path in before if path.startswith("home")}
        left = {path for path in after if path.startswith("home")}
        assert left < home
        assert len(left) > 200
        assert all(after[path] == before[path] for path in left)
        assert (node.data / f"{FILE_NAME}.damaged-1").read_bytes() == damaged
        assert DOUBT in kinds_of_reports(node)
        wait_for(lambda: "@.errors.node.a.store_doubt" in troubles(node), "the record")
        assert page(node, address, "readyz") == (200, "ready\n"), "there is nobody who has more"
        assert "kvnode_store_doubted 1" in page(node, address, "metrics")[1].splitlines()
        put(node, "home.n1", "written again")
        node.kill()
        node.start()
        assert values(dump_of(node))["home.n1"] == ["written again"]
        assert status(node)["store"]["doubted"], "no peer has made up for it"
        assert not (node.data / f"{FILE_NAME}.damaged-2").exists()


async def _fill(kv: Client) -> None:
    for number in range(400):
        await kv.set(f"home.n{number}", "x" * 300, ack="memory")
    await kv.set("home.last", 1)


# -- places that cannot be written -----------------------------------------------------------------------------------


def without_privileges(*command: str) -> list[str]:
    """For a process that the modes of files hold for: root ignores them."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]


def start_in(data: Path) -> subprocess.CompletedProcess[str]:
    run = ["node", "run", "--name", "x", "--data", str(data), "--listen", "127.0.0.1:0", "--socket", "none"]
    command = without_privileges(sys.executable, "-m", "kvnode", *run)
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(("what", "mode"), [("", 0o000), ("", 0o500), (FILE_NAME, 0o400)])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, what: str, mode: int) -> None:
    """In one line, and nothing is changed."""
    file = store_of(tmp_path / "data", persist(1, {b"\x02x\0": b"record"}))
    before = file.read_bytes()
    place = tmp_path / "data" / what
    right = place.stat().st_mode
    place.chmod(mode)
    try:
        done = start_in(tmp_path / "data")
    finally:
        place.chmod(right)
    assert done.returncode == 70
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"kv: {file}: cannot be written (")
    assert file.read_bytes() == before
