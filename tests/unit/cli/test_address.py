"""Which node is meant when nobody says."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvnode.cli import address
from kvnode.cli.errors import CliError, Exit


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(address, "SERVICE_DIR", str(tmp_path / "service"))
    (tmp_path / "kvnode").mkdir()
    return tmp_path


def _listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen()
    return sock


def _address(runtime: Path, **env: str) -> str:
    return address.node_address(None, {"XDG_RUNTIME_DIR": str(runtime), **env})


def test_no_socket_means_the_default_port(runtime: Path) -> None:
    assert _address(runtime) == "127.0.0.1:27590"
    assert address.node_address(None, {}) == "127.0.0.1:27590"


def test_the_one_socket(runtime: Path) -> None:
    path = runtime / "kvnode/a.sock"
    with _listen(path):
        assert _address(runtime) == f"unix:{path}"


def test_the_services_socket(runtime: Path) -> None:
    (runtime / "service").mkdir()
    with _listen(runtime / "service/a.sock"):
        assert _address(runtime) == f"unix:{runtime}/service/a.sock"


def test_several_sockets_are_named(runtime: Path) -> None:
    with _listen(runtime / "kvnode/a.sock"), _listen(runtime / "kvnode/b.sock"):
        with pytest.raises(CliError, match=r"several nodes run here.*a\.sock, unix:.*b\.sock") as caught:
            _address(runtime)
        assert caught.value.exit is Exit.USAGE


def test_what_a_killed_node_left_does_not_count(runtime: Path) -> None:
    _listen(runtime / "kvnode/dead.sock").close()
    assert _address(runtime) == "127.0.0.1:27590"
    with _listen(runtime / "kvnode/b.sock"):
        assert _address(runtime) == f"unix:{runtime}/kvnode/b.sock"


def test_what_is_given_wins(runtime: Path) -> None:
    assert _address(runtime, KV_NODE="[::1]:9") == "[::1]:9"
    assert address.node_address("h:1", {"KV_NODE": "x:2"}) == "h:1"
