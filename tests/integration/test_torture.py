"""The torture in its short form, and a long partition."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import anyio
import pytest

from kvnode.client import Client, Put, connect
from kvnode.testing.torture.checker.evidence import parse_dump
from kvnode.testing.torture.cluster import Cluster, is_quiet, running_cluster
from kvnode.testing.torture.network import partition
from kvnode.testing.torture.networks import open_network
from kvnode.testing.torture.run import Config, torture

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SEED: Final = 7
"""A round with a cut link, one in which nodes are cut off one by one; `make torture` takes another one each time."""
WAIT_S: Final = 120.0
WRITES: Final = 10_000
BATCH: Final = 1_000


def tell(capsys: pytest.CaptureFixture[str], *lines: str) -> None:
    """Figures are worth something only if somebody reads them."""
    with capsys.disabled():
        sys.stdout.write("\n" + "".join(f"{line}\n" for line in lines))


def test_no_law_breaks_under_kills_and_cuts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Config(SEED, nodes=3, kills=3, seconds=7.0, round_s=1.5, pause_s=0.02, power_cut=False)
    report = anyio.run(torture, config, tmp_path, lambda text: None)
    tell(capsys, *report.lines())
    assert not report.violations, f"the history and the logs are in {tmp_path}"
    assert report.done["kill"] == report.done["start"] == 3
    assert report.done.get("stop", 0) + report.done.get("block", 0) > 0
    assert report.counts["ok"] > 10


# -- a long partition ----------------------------------------------------------------------------------------


async def write_side(client: Client, side: str) -> None:
    """The writes of one side: nine of ten to paths of its own, the tenth to one that the other side writes to, too."""
    for start in range(0, WRITES, BATCH):
        paths = [f"both.n{n}" if n % 10 == 0 else f"side.{side}.n{n}" for n in range(start, start + BATCH)]
        await client.batch([Put(path, f"{side} {path}") for path in paths], timeout=WAIT_S)


async def diverge(one: Client, other: Client) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write_side, one, "a")
        tasks.start_soon(write_side, other, "b")


async def until_agreed(*clients: Client) -> None:
    """Until each says that it, and what the other holds durably, is everything."""
    with anyio.fail_after(WAIT_S):
        while True:
            if is_quiet([await client.status() for client in clients]):
                return
            await anyio.sleep(0.02)


def test_a_partition_with_ten_thousand_writes_on_each_side_heals(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main(cluster: Cluster) -> float:
        a, b = (node.address for node in cluster.nodes.values())
        async with connect(a) as on_a, connect(b) as on_b:
            await until_agreed(on_a, on_b)
            cluster.network.block(partition("a", "b"))
            await diverge(on_a, on_b)
            cluster.network.block(())
            healed = time.monotonic()
            await until_agreed(on_a, on_b)
            return time.monotonic() - healed

    with (
        tempfile.TemporaryDirectory(prefix="kv-") as sockets,
        open_network("ab") as network,
        running_cluster(network, tmp_path, Path(sockets)) as cluster,
    ):
        took_s = anyio.run(main, cluster)
        dumps = cluster.dumps()
        conflicts = json.loads(cluster.nodes["a"].kv("status", "--format", "json").stdout)["conflicts"]
    tell(capsys, f"{WRITES} writes on each side, {network.kind}: equal {took_s:.2f} s after healing")
    assert dumps["a"] == dumps["b"]
    paths = [path for path, _ in parse_dump(dumps["a"])]
    assert len(paths) == 2 * WRITES - WRITES // 10
    assert conflicts == WRITES // 10
