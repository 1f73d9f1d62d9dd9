"""Ways to carry frames between processes: TCP, Unix sockets, and memory for tests.

A transport dials and listens; either gives a :class:`~kvnode.transport.base.Connection`. Everything above this
package is the same on each of them, and so is the contract suite (:mod:`kvnode.testing.transport_contract`).
"""
