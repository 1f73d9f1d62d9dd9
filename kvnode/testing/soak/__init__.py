"""A soak: real nodes under steady load with churn, watched for anything that grows (``python -m kvnode.testing.soak``).

The load writes, deletes and writes again the same paths, so live data has a bound, and what grows beyond it is a leak.
Churn is all that comes and goes: clients, links, and one node, which is killed and restarted over and over. The others
run throughout; what is said of memory, descriptors and latency is said of them.
"""
