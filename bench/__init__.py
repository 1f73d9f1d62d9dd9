"""Measurements of kvnode, alone and side by side with other systems: ``python -m bench --help``.

* :mod:`.__main__`, :mod:`.compare`: all systems, interleaved round by round in one run; :mod:`.report`: the tables
* :mod:`.cluster`: what a system must offer; :mod:`.systems`: kvnode, redis, nats, etcd, mosquitto
* :mod:`.outages`: restart, cut and heal, memory, for which processes and links are handled
* :mod:`.wires`: links between nodes that can be cut, and that count bytes
* :mod:`.floor`: what the machine itself can do
* :mod:`.house`: start of ``kv``, idle traffic, synchronising when nothing differs

What is measured of a client is in :mod:`kvnode.testing.bench`, which ``kv bench`` uses, too.
"""
