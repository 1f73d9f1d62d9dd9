"""A dimmer box without hardware: ``python -m kvagent_dimmer.box [PORT]``."""

from __future__ import annotations

import sys

import anyio
from anyio.abc import Listener, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream


class SimulatedBox:
    """Eight lamps, all dark at first."""

    def __init__(self) -> None:
        self.levels = dict.fromkeys(range(1, 9), 0)

    def answer(self, line: str) -> str:
        """What the box says to a line."""
        try:
            match line.split():
                case ["get", lamp] if int(lamp) in self.levels:
                    pass
                case ["set", lamp, level] if int(lamp) in self.levels and 0 <= int(level) <= 100:
                    self.levels[int(lamp)] = int(level)
                case _:
                    return "? what"
        except ValueError:
            return "? number"
        return str(self.levels[int(lamp)])

    async def serve(self, listener: Listener[SocketStream]) -> None:
        """Talk to those who come, until cancelled."""
        async with listener:
            await listener.serve(self._talk)

    async def _talk(self, stream: SocketStream) -> None:
        lines = BufferedByteReceiveStream(stream)
        try:
            async with stream:
                while True:
                    line = await lines.receive_until(b"\n", 80)
                    await stream.send(f"{self.answer(line.decode('ascii', 'replace'))}\n".encode())
        except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.DelimiterNotFound):
            return  # the client left


async def main(port: int) -> None:
    """Serve on loopback."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    sys.stdout.write(f"dimmer box on 127.0.0.1:{port}\n")
    sys.stdout.flush()
    await SimulatedBox().serve(listener)


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 7000)
