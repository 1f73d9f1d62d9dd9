"""Secrets in every place where they could be, and a bundle that has none of them."""

from __future__ import annotations

import logging
import tarfile
from pathlib import Path

import anyio
import pytest

from kvnode.cli.bundle import write_bundle
from kvnode.client import connect
from kvnode.node import doctor
from kvnode.node.config import NodeConfig
from kvnode.node.service import run_node
from kvnode.testing.processes import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

IN_ENVIRONMENT = "hunter1"
IN_URL = "hunter2"
IN_LOG_FIELD = "hunter3"
IN_LOG_TEXT = "hunter4"
IN_VALUE = "hunter5"
IN_SCHEMA = "hunter7"
IN_TRACEBACK = "hunter8"
KEY_FILE = "/etc/kvnode/tls/cellar-private.key"
BARE = "Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZg"
SECRETS = (
    IN_ENVIRONMENT, IN_URL, IN_LOG_FIELD, IN_LOG_TEXT, IN_VALUE, IN_SCHEMA, IN_TRACEBACK, KEY_FILE, BARE
)  # fmt: skip


def log_secrets() -> None:
    log = logging.getLogger("kvnode.test")
    log.warning("dialling failed", extra={"address": f"https://kim:{IN_URL}@host.lan/", "password": IN_LOG_FIELD})
    log.warning(f"cannot read {KEY_FILE}; the token={IN_LOG_TEXT} was refused; Authorization: Bearer {BARE}")
    try:
        raise ValueError(f"api_key: {IN_TRACEBACK}")
    except ValueError:
        log.exception("a request failed")


async def bundle_of(config: NodeConfig, file: Path) -> None:
    """Run a node, do and log this and that, and write its bundle."""
    stop, ready = anyio.Event(), anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await run_node(config, ready=lambda address: ready.set(), stop=stop)

        tasks.start_soon(run)
        await ready.wait()
        log_secrets()
        async with connect(config.listen) as kv:
            await kv.set("home.wifi", {"password": IN_VALUE})
            await kv.set("@.policy.bad", {"pattern": "x", "policy": f"password={IN_VALUE}"})
            answer = await kv.inspection.diagnose(bundle=True)
        stop.set()
    write_bundle(file, answer)


async def test_no_secret_is_in_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVNODE_PASSWORD", IN_ENVIRONMENT)
    monkeypatch.setenv("KV_TOKEN", IN_ENVIRONMENT)
    schema = {"properties": {"cluster": {"x-secret": True}}}
    monkeypatch.setattr(doctor, "read_schema", lambda name: schema)
    data = tmp_path / f"mqtt:/kim:{IN_URL}@host"
    config = NodeConfig(
        "a", data=str(data), listen=f"127.0.0.1:{free_port()}", socket="none", cluster=IN_SCHEMA, http="none"
    )
    file = tmp_path / "a.tar.gz"
    await bundle_of(config, file)
    with tarfile.open(file) as tar:
        texts = {m.name: (tar.extractfile(m) or pytest.fail(m.name)).read().decode() for m in tar.getmembers()}
    everything = "\n".join([*texts, *texts.values()])
    assert [secret for secret in SECRETS if secret in everything] == []
    assert "dialling failed" in texts["a/log.jsonl"], "what is no secret is there"
    assert "host.lan" in texts["a/log.jsonl"]
    assert "KVNODE_PASSWORD" in texts["a/about.json"]
