"""A program for one host of a test network: ``python speaker.py NAME HOST:PORT``; it needs nothing but Python.

It listens, and takes lines on standard input: ``dial NAME HOST:PORT`` opens a connection to a speaker of that name,
``say NAME TEXT`` sends a line on the connection with it. What it hears it prints: ``NAME TEXT``; a new connection at
either end is ``NAME linked``.
"""

from __future__ import annotations

import socket
import sys
import threading

_links: dict[str, socket.socket] = {}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _converse(name: str, link: socket.socket) -> None:
    _links[name] = link
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _print(f"{name} linked")
    for line in link.makefile():
        _print(f"{name} {line.strip()}")


def _accept(listener: socket.socket) -> None:
    while True:
        link, _ = listener.accept()
        threading.Thread(target=_greet, args=[link], daemon=True).start()


def _greet(link: socket.socket) -> None:
    """The first line tells who dialled; read without a buffer, which would swallow what follows."""
    name = b""
    while not name.endswith(b"\n"):
        name += link.recv(1)
    _converse(name.decode().strip(), link)


def _dial(own: str, name: str, address: str) -> None:
    link = socket.create_connection(_address(address))
    link.sendall(f"{own}\n".encode())
    _converse(name, link)


def main(own: str, listen: str) -> None:
    listener = socket.create_server(_address(listen))
    threading.Thread(target=_accept, args=[listener], daemon=True).start()
    _print("ready")
    for line in sys.stdin:
        verb, name, rest = line.strip().split(" ", 2)
        if verb == "dial":
            threading.Thread(target=_dial, args=[own, name, rest], daemon=True).start()
        else:
            _links[name].sendall(f"{rest}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
