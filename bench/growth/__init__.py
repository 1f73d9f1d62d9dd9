"""How cost grows: with nodes, keys, watchers, size of values; and what is to be expected of a thousand nodes.

    python -m bench.growth nodes       3 to 30 nodes in five shapes: real replicas on virtual time (some minutes)
    python -m bench.growth heal        3 to 20 nodes: one was cut off, both sides wrote (the same way)
    python -m bench.growth filtered    relays with filtered replicas, 10 to 200 nodes (the same way; not compiled)
    python -m bench.growth keys        1 000 to 1 000 000 keys: real nodes
    python -m bench.growth watchers    1 to 1 000 watchers: a real node
    python -m bench.growth values      10 bytes to 1 MiB: two real nodes
    python -m bench.growth thousand    fits of `nodes` and `filtered`, carried on to 1 000 nodes
    python -m bench.growth plot        draws docs/explanation/growth/*.svg from the results

Results go to `bench/growth/results`; sizes may follow the name: `python -m bench.growth keys 1000 10000`.
"""
