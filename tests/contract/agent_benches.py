"""The agents that the contract of agents is run on, each with its device, and a node."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path as FilePath
from types import TracebackType
from typing import Any, Self

from kvagents.framework.agent import AgentKind
from kvagents.onewire.agent import OneWire
from kvnode.core.path import Path
from kvnode.testing.processes import NodeProcess
from tests.integration.onewire_counterparts import WARM, simulated
from tests.support.threaded import ThreadedServer


class NodeBench:
    """What agents need besides their device: a node, which several benches may share, and a name."""

    def __init__(self, node: NodeProcess, name: str) -> None:
        self._node = node
        self.name = name
        self.address = node.address
        self.environ: Mapping[str, str] = {}

    def start_node(self) -> None:
        if not self._node.is_running:
            self._node.start()

    def kill_node(self) -> None:
        self._node.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The node is somebody else's."""


class OneWireBench(NodeBench):
    """The 1-Wire agent and a simulated owserver."""

    bad_key = "interval"

    def __init__(self, node: NodeProcess, name: str) -> None:
        super().__init__(node, name)
        self.dest = Path(("home", name))
        self.reading = self.dest / str(WARM)
        self.kind: AgentKind[Any] = OneWire()
        self._open: AbstractContextManager[Any] = simulated()

    def __enter__(self) -> Self:
        self._bus = self._open.__enter__()
        self.good = {"server": self._bus.address, "dest": str(self.dest), "interval": 0.1, "precision": 9}
        self.bad = {**self.good, "interval": "often"}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(None, None, None)
        super().__exit__(kind, error, trace)

    def change(self) -> float:
        self._bus.celsius[WARM] = self._bus.celsius[WARM] // 1 + 1.5
        return self._bus.celsius[WARM]

    def lose_bus(self) -> None:
        self._bus.kill()

    def restore_bus(self) -> None:
        self._bus.start()


class DimmerBench(NodeBench):
    """The example agent, installed at `site`, and its simulated box."""

    bad_key = "lamp"

    def __init__(self, node: NodeProcess, name: str, site: FilePath) -> None:
        # Installed by the test that uses it, so not to be had when this module is imported.
        from kvagent_dimmer.agent import Dimmer
        from kvagent_dimmer.box import SimulatedBox

        super().__init__(node, name)
        self.reading = Path(("lamps", name))
        self.environ = {"PYTHONPATH": str(site)}
        self.kind: AgentKind[Any] = Dimmer()
        self.box = SimulatedBox()
        self._server = ThreadedServer(self.box.serve)
        self.good = {"box": f"127.0.0.1:{self._server.port}", "lamp": 3, "dest": str(self.reading), "interval": 0.05}
        self.bad = {**self.good, "lamp": 9}

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        super().__exit__(kind, error, trace)

    def change(self) -> int:
        self.box.levels[3] = self.box.levels[3] % 100 + 1
        return self.box.levels[3]

    def lose_bus(self) -> None:
        self._server.stop()

    def restore_bus(self) -> None:
        self._server.start()
