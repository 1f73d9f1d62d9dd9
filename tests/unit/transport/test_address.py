from __future__ import annotations

import pytest

from kvnode.transport.address import Address, AddressError, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:27590", Address("tcp", "127.0.0.1", 27590)),
        ("node-1.example:1", Address("tcp", "node-1.example", 1)),
        ("[::1]:27590", Address("tcp", "::1", 27590)),
        ("[fe80::1%eth0]:5", Address("tcp", "fe80::1%eth0", 5)),
        ("unix:/run/kvnode/a.sock", Address("unix", path="/run/kvnode/a.sock")),
        ("unix:rel ative:x", Address("unix", path="rel ative:x")),
        ("memory:a", Address("memory", path="a")),
    ],
)
def test_text_and_back(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no address"),
        (":27590", "no address"),
        ("host", "lacks a port"),
        ("host:", "lacks a port"),
        ("[::1]", "lacks a port"),
        ("::1", r"brackets: \[::1\]:27590"),
        ("::1:27590", "brackets"),
        ("host:port", "'port' in 'host:port' is no port"),
        ("host:65536", "is no port"),
        ("host:-1", "is no port"),
        ("host:\u0661", "is no port"),
        ("[::1", "IPv6"),
        ("[::1]x", "IPv6"),
        ("[host]:1", "IPv6"),
        ("tcp://host:1", "no address"),
        ("my host:1", "no address"),
        ("unix:", "names no file"),
        ("memory:", "names no endpoint"),
    ],
)
def test_what_is_no_address_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(AddressError, match=says) as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)


def test_a_default_port_can_be_given() -> None:
    assert parse_address("host", 7) == Address("tcp", "host", 7)
    assert parse_address("[::1]", 7) == Address("tcp", "::1", 7)
    assert parse_address("host:8", 7) == Address("tcp", "host", 8)


def test_loopback() -> None:
    loopback = ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/x", "memory:x"]
    assert all(parse_address(text).is_loopback for text in loopback)
    assert not any(parse_address(text).is_loopback for text in ("0.0.0.0:1", "[::]:1", "10.0.0.1:1", "name:1"))
