"""What two hellos decide: whether the peer fits, and which of two links to one process stays."""

from __future__ import annotations

from .link import Link
from .messages import PROTOCOL_MAX, PROTOCOL_MIN, Hello


def misfit(hello: Hello, cluster: str, session: int) -> str | None:
    """Why the sender of this hello is no peer for the process `session` of `cluster`; None if it is one."""
    if hello.cluster != cluster:
        return f"it belongs to cluster {hello.cluster!r}, this node to {cluster!r}"
    if hello.protocol_min > PROTOCOL_MAX or hello.protocol_max < PROTOCOL_MIN:
        theirs, ours = f"{hello.protocol_min} to {hello.protocol_max}", f"{PROTOCOL_MIN} to {PROTOCOL_MAX}"
        older = "this node" if hello.protocol_min > PROTOCOL_MAX else f"the node {hello.name}"
        return f"it speaks protocol {theirs}, this node {ours}: upgrade {older}"
    if hello.session == session:
        return "it is this node itself"
    return None


def preferred(name: str, old: Link, new: Link) -> Link:
    """Which of two links to one process node `name` keeps: the one dialled by the smaller name, so that both ends
    decide alike; of two dialled by the same side the newer one, since the other must have been given up there.
    """
    if old.dialled == new.dialled:
        return new
    return old if old.dialled == (name < old.name) else new
