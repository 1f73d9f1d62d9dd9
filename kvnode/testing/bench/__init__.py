"""What is measured of a store of keys and values, written against a small interface, so that ``kv bench`` (a user's own
cluster) and ``bench/`` (side by side with other systems) measure the same thing in the same way.

* :mod:`.store`: the interface, and the workload: keys and a value of 100 bytes
* :mod:`.timing`: operations in flight, wall time, CPU time by process
* :mod:`.measures`: the measures
* :mod:`.kv`: the interface on a client of kvnode
"""
