"""Measurements of kvnode, alone and side by side with other systems: ``python -m bench --help``.

* :mod:`.__main__`, :mod:`.compare`: all systems, interleaved round by round in one run; :mod:`.report`: the tables
* :mod:`.cluster`: what a system must offer; :mod:`.systems`: kvnode, redis, nats, etcd, mosquitto
* :mod:`.stages`: what a system goes through in a round
* :mod:`.wires`: links between nodes that can be cut, and that count bytes
* :mod:`.floor`: what the machine itself can do; :mod:`.distance`: how far kvnode is from it
* :mod:`.startup`: the start of ``kv``
* :mod:`.guard`: function calls per operation, which CI compares with those on record
* :mod:`.watch`, :mod:`.catchup`, :mod:`.idle`: watching, joining and catching up, traffic at rest, message by message
* :mod:`.core`: the core and its codec alone
* :mod:`.flash`: what a node writes to its disk for what clients change
* :mod:`.growth`: with more nodes, keys, watchers, larger values; what is to be expected of a thousand nodes

What is measured of a client is in :mod:`kvnode.testing.bench`, which ``kv bench`` uses, too.
"""
