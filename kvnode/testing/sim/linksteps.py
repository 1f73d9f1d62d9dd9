"""Steps that break the network. The arguments are in the docstrings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .net import Noise

if TYPE_CHECKING:
    from .host import Host
    from .world import World


def _cut(world: World, a: str, b: str, duration: int) -> None:
    """Edge, for how long: no connection at all."""
    world.take_down([(a, b)], duration)


def _split(world: World, duration: int, *side: str) -> None:
    """For how long, the hosts of one side."""
    inside = set(side)
    world.take_down([(e.a, e.b) for e in world.edges.values() if (e.a in inside) != (e.b in inside)], duration)


def _bridge(world: World, duration: int, middle: str, *side: str) -> None:
    """For how long, the host that both sides still see, the hosts of one side."""
    inside = set(side)
    apart = [e for e in world.edges.values() if (e.a in inside) != (e.b in inside) and middle not in (e.a, e.b)]
    seen = {({e.a, e.b} - {middle}) <= inside for e in world.edges.values() if middle in (e.a, e.b) and e.is_open}
    world.happened["one host bridges two sides"] += bool(apart) and len(seen) == 2
    world.take_down([(e.a, e.b) for e in apart], duration)


def _oneway(world: World, a: str, b: str, duration: int) -> None:
    """From, to, for how long: nothing gets through in this direction."""
    world.block(a, b, duration)


def _clog(world: World, a: str, b: str, duration: int) -> None:
    """Edge, for how long: nothing gets through in either direction, connections stay."""
    world.block(a, b, duration)
    world.block(b, a, duration)


def _slow(world: World, a: str, b: str, delay: int, duration: int) -> None:
    """From, to, extra delay, for how long."""
    edge = world.edge(a, b)
    if edge is None:
        return
    side = edge.side(a)
    edge.extra_ms[side] += delay
    world.after(duration, world.unslow, edge, side, delay)


def _noise(world: World, duration: int, loss: int, repeat: int, reorder: int) -> None:
    """For how long; loss, duplication, reordering in percent."""
    world.noise = Noise(loss, repeat, reorder)
    world.noise_until = max(world.noise_until, world.now + duration)
    world.at(world.noise_until, world.calm)


def _reset(world: World, a: str, b: str) -> None:
    """Edge: its connections break."""
    edge = world.edge(a, b)
    for conn in list(edge.conns) if edge else ():
        conn.cut()


def _stale(world: World, a: str, b: str, late: int) -> None:
    """Edge, time until one end hears that the connection broke: half-open, while a new one may be made."""
    edge = world.edge(a, b)
    for conn in list(edge.conns) if edge else ():
        conn.cut(late)


def _twin(world: World, a: str, b: str) -> None:
    """Edge: both sides dial at once."""
    edge = world.edge(a, b)
    if edge is not None and edge.is_open:
        world.connect(edge)
        world.connect(edge)


def _shatter(world: World, duration: int, *groups: str) -> None:
    """For how long, and the hosts of each part."""
    part = {label: i for i, group in enumerate(groups) for label in group.split(",")}
    world.parts, world.parts_until, world.parts_wrote = part, world.now + duration, {}
    world.take_down([(e.a, e.b) for e in world.edges.values() if part.get(e.a) != part.get(e.b)], duration)


def _sluggish(world: World, label: str, each: int, duration: int) -> None:
    """Host, how long it takes for each message that it reads, for how long: its senders' queues fill."""
    host = world.hosts.get(label)
    if host is not None:
        host.reading_ms += each
        world.after(duration, _eager, host, each)


def _eager(host: Host, each: int) -> None:
    host.reading_ms = max(host.reading_ms - each, 0)


STEPS: Final[dict[str, Callable[..., None]]] = {
    "cut": _cut,
    "split": _split,
    "bridge": _bridge,
    "shatter": _shatter,
    "oneway": _oneway,
    "clog": _clog,
    "slow": _slow,
    "sluggish": _sluggish,
    "noise": _noise,
    "reset": _reset,
    "stale": _stale,
    "twin": _twin,
}
