"""The demo does what it tells, on the simulated bus and on a real owserver, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kvnode.testing.processes import environment

pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

LIMIT_S = "150"


def _demo(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "kvnode", "demo", "--limit", LIMIT_S, *args],
        env=environment({"TMPDIR": str(folder)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _children(of: str) -> list[str]:
    """Command lines of processes that have `of` in them."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return [line for line in found if of in line]


@pytest.mark.owserver
def test_the_whole_story(tmp_path: Path) -> None:
    demo = _demo(tmp_path)
    out, err = demo.communicate()
    assert (demo.returncode, err) == (0, ""), out
    _check_story(out)
    assert list(tmp_path.iterdir()) == []
    assert _children(str(tmp_path)) == []


def _check_story(out: str) -> None:
    assert [int(n) for n in re.findall(r"^(\d)\. ", out, re.MULTILINE)] == list(range(1, 9))
    digests = re.findall(r"b2sum +([0-9a-f]{16})$", out, re.MULTILINE)
    assert len(digests) == 3
    assert len(set(digests)) == 1
    for room in ("attic", "kitchen", "cellar"):
        assert re.search(rf"home\.{room}\.temp = [\d.]+  \(written at a\)", out)
    assert "equal, and nothing that was acknowledged is missing" in out


def test_ctrl_c_ends_it_silently_with_nothing_left(tmp_path: Path) -> None:
    with _demo(tmp_path, "--simulated") as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("3."):
                break
        assert _children(str(tmp_path))
        demo.send_signal(signal.SIGINT)
        _, err = demo.communicate()
    assert (demo.returncode, err) == (130, "")
    assert list(tmp_path.iterdir()) == []
    assert _children(str(tmp_path)) == []


@pytest.mark.parametrize("step", ["1.", "2.", "4."])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_any_signal_at_any_step_leaves_nothing(tmp_path: Path, number: signal.Signals, step: str) -> None:
    with _demo(tmp_path, "--simulated") as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith(step):
                break
        while not _children(str(tmp_path)):
            assert demo.poll() is None
        demo.send_signal(number)
        _, err = demo.communicate()
    assert (demo.returncode, err) == (-number, "")
    assert list(tmp_path.iterdir()) == []
    assert _children(str(tmp_path)) == []


def test_a_hail_of_signals_leaves_nothing(tmp_path: Path) -> None:
    with _demo(tmp_path, "--simulated") as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("3."):
                break
        demo.send_signal(signal.SIGINT)
        for _ in range(20):  # not without end: CPython may hang once a hundred signals wait for its event loop
            demo.send_signal(signal.SIGTERM)
            demo.send_signal(signal.SIGINT)
        _, err = demo.communicate()
    assert (demo.returncode, err) in [(130, ""), (-signal.SIGTERM, "")]  # as the system delivers them, in no order
    assert list(tmp_path.iterdir()) == []
    assert _children(str(tmp_path)) == []


def test_the_whole_story_on_a_simulated_bus_which_goes_on_until_ctrl_c(tmp_path: Path) -> None:
    told: list[str] = []
    with _demo(tmp_path, "--simulated", "--keep") as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            if line.startswith("Everything goes on"):
                break
            told.append(line)
        assert demo.poll() is None
        _check_story("".join(told))
        demo.send_signal(signal.SIGINT)
        _, err = demo.communicate()
    assert (demo.returncode, err) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_too_little_time_is_one_line(tmp_path: Path) -> None:
    demo = _demo(tmp_path, "--limit", "0.05")
    _, err = demo.communicate()
    assert demo.returncode == 70
    assert err.startswith("kv: the demo did not end within 0.05 s: step 1")
    assert list(tmp_path.iterdir()) == []
