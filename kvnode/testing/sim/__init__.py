"""A deterministic simulator of whole clusters: real replicas, simulated disks, networks, clocks and clients.

One seed, one trace. The simulator owns the time (an event heap), every random draw and every fault; a run ends with
all faults healed, waits until the cluster is quiet, and checks the laws of the replication contract with a checker
that shares no code with the core's merging. ``python -m kvnode.testing.sim --help`` runs it.

The shape follows FoundationDB's simulation and TigerBeetle's VOPR: the production state machine under a simulated
world, marks on rare branches, a seed to replay, and a schedule of faults that is plain data so that it can be shrunk.
"""

from .generate import Config, generate
from .plan import Plan, PlanError, Step, parse
from .run import Report, run, run_plan
from .shrink import shrink

__all__ = ["Config", "Plan", "PlanError", "Report", "Step", "generate", "parse", "run", "run_plan", "shrink"]
