from __future__ import annotations

import socket

import pytest

from kvnode.testing import processes
from kvnode.testing.processes import ProcessError, free_port


def test_a_port_is_given_away_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel keeps the claim, so that it holds between processes, too."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        pass
    monkeypatch.setattr(processes, "_PORTS", range(port, port + 1))
    with pytest.raises(ProcessError, match="no free port"):
        free_port()


def test_a_port_that_somebody_listens_on_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(processes, "_PORTS", range(port, port + 1))
        with pytest.raises(ProcessError, match="no free port"):
            free_port()
