"""``kv node install``: the files it would write, what systemd says of them, and what a node tells systemd."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kvnode.cli import install
from kvnode.cli.main import main
from kvnode.cli.unit import Unit, quoted
from kvnode.node.settings import load
from kvnode.testing.processes import NodeProcess

Run = Callable[..., tuple[int, str, str]]
WAIT_S = 30.0


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line where the system's folders lie below `tmp_path` and systemd does not run."""
    monkeypatch.setattr(install, "_SYSTEM_UNITS", tmp_path / "units")
    monkeypatch.setattr(install, "_SYSTEM_CONFIGS", tmp_path / "etc")
    monkeypatch.setattr(install, "_RUNNING", tmp_path / "no-systemd")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: str) -> tuple[int, str, str]:
        code = main(["node", *args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def planned(run: Run, *args: str) -> dict[str, str]:
    code, out, err = run("install", *args, "--dry-run", "--format", "json")
    assert (code, err) == (0, "")
    files: dict[str, str] = json.loads(out)["files"]
    return files


# -- what would be written -----------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing(run: Run, tmp_path: Path) -> None:
    code, out, err = run("install", "--system", "--name", "cellar", "--dry-run")
    assert (code, err) == (0, "")
    assert "# systemctl enable --now kvnode-cellar.service" in out
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_says_what_the_options_said(run: Run, tmp_path: Path) -> None:
    options = ("--peer", "attic.lan:27590", "--peer", "[::1]:1", "--http", "127.0.0.1:9")
    files = planned(run, "--system", "--name", "cellar", *options)
    config, unit = files
    (tmp_path / "c.yaml").write_text(files[config])
    found = load(tmp_path / "c.yaml", env={}).config
    assert (found.name, found.data) == ("cellar", "/var/lib/kvnode/cellar")
    assert (found.peers, found.http) == (("attic.lan:27590", "[::1]:1"), "127.0.0.1:9")
    assert f"node run --config {config}" in files[unit]


def test_a_user_s_service_lives_in_the_user_s_folders(run: Run, tmp_path: Path) -> None:
    files = planned(run, "--user", "--name", "desk")
    home = tmp_path / "home"
    assert list(files) == [f"{home}/.config/kvnode/desk.yaml", f"{home}/.config/systemd/user/kvnode-desk.service"]
    assert f'data: "{home}/.local/state/kvnode/desk"' in files[f"{home}/.config/kvnode/desk.yaml"]
    assert "DynamicUser" not in "".join(files.values())


def test_an_own_configuration_is_used_as_it_is(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: x\ndata: /var/lib/kvnode/x\n")
    (unit,) = planned(run, "--system", "--config", str(mine)).items()
    assert unit[0].endswith("kvnode-x.service")
    assert f"--config {mine}" in unit[1]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "give --name"),
        (("--name", "a b"), "expected a name"),
        (("--name", "a", "--listen", "0.0.0.0:1"), "--insecure"),
        (("--name", "a", "--data", "/srv/kv"), "keeps its store below /var/lib/kvnode"),
        (("--name", "a", "--config", "/x.yaml"), "write the others into it"),
    ],
)
def test_what_would_not_work_is_said_before_anything_is_written(run: Run, args: tuple[str, ...], says: str) -> None:
    code, out, err = run("install", "--system", *args)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_the_files_are_kept_where_systemd_does_not_run(run: Run, tmp_path: Path) -> None:
    code, _, err = run("install", "--system", "--name", "a")
    assert code != 0
    assert err == "kv: systemd does not run here; the files are in place, nothing was started\n"
    assert (tmp_path / "units/kvnode-a.service").exists()
    assert run("install", "--system", "--name", "a")[2] == err


def test_a_changed_configuration_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    run("install", "--system", "--name", "a")
    (tmp_path / "etc/a.yaml").write_text("name: a\ndata: /var/lib/kvnode/a\npeers: [b:1]\n")
    code, _, err = run("install", "--system", "--name", "a")
    assert code == 4
    assert "exists and says otherwise" in err
    assert "peers" in (tmp_path / "etc/a.yaml").read_text()


def test_uninstall_removes_the_unit_and_keeps_the_rest(run: Run, tmp_path: Path) -> None:
    run("install", "--system", "--name", "a")
    code, out, _ = run("uninstall", "--system", "a")
    assert code == 0
    assert f"kept {tmp_path}/etc/a.yaml" in out
    assert not (tmp_path / "units/kvnode-a.service").exists()
    code, _, err = run("uninstall", "--system", "a")
    assert (code, err.startswith("kv: no service of 'a'")) == (1, True)


def test_systemctl_is_called_in_order(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = tmp_path / "called"
    (tmp_path / "no-systemd").mkdir()
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$*" >>{called}\n')
    (tmp_path / "systemctl").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert run("install", "--user", "--name", "a")[0] == 0
    assert run("uninstall", "--user", "a")[0] == 0
    assert called.read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable --now kvnode-a.service",
        "--user disable --now kvnode-a.service",
        "--user daemon-reload",
    ]
    (tmp_path / "systemctl").write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n")
    assert (
        run("install", "--user", "--name", "a")[2] == "kv: systemctl --user daemon-reload: Failed to connect to bus\n"
    )


def test_words_are_quoted_for_systemd() -> None:
    assert quoted("/opt/kv") == "/opt/kv"
    assert quoted("a b") == '"a b"'
    assert quoted("50%$x\\") == '"50%%$$x\\\\"'
    assert quoted('say "hi"') == '"say \\"hi\\""'
    assert quoted("") == '""'


# -- what systemd says ---------------------------------------------------------------------------------------


@pytest.mark.systemd
@pytest.mark.parametrize("user", [False, True])
def test_systemd_takes_the_unit(tmp_path: Path, user: bool) -> None:
    unit = Unit("a", ["/bin/true", "with blank", "50%"], user=user)
    file = tmp_path / unit.file_name
    file.write_text(unit.text())
    mode = ["--user"] if user else []
    done = subprocess.run(["systemd-analyze", *mode, "verify", str(file)], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if unit.file_name in line]
    assert said == []


@pytest.mark.systemd
def test_the_service_may_do_little(tmp_path: Path) -> None:
    unit = Unit("a", ["/bin/true"])
    file = tmp_path / unit.file_name
    file.write_text(unit.text())
    limit = ["--threshold=20", "--offline=true"]
    done = subprocess.run(
        ["systemd-analyze", "security", *limit, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-300:]


# -- what the node says --------------------------------------------------------------------------------------


@pytest.mark.integration
def test_a_node_tells_when_it_serves_lives_and_ends(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(WAIT_S)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
        with NodeProcess("n", tmp_path, env=env) as node:
            assert manager.recv(1000) == f"READY=1\nSTATUS=serving on {node.address}".encode()
            assert [manager.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            os.kill(node.pid, signal.SIGTERM)
            while (said := manager.recv(1000)) == b"WATCHDOG=1":
                pass
            assert said == b"STOPPING=1"
