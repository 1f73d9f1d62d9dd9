"""Planted bugs: what the simulator would catch, shown by letting it catch it.

A mutant is a bug that somebody could have written: a replacement for a function or a few of the core, the node or the
client. Each must break a law in the simulation that CI runs, or the simulation is blind for that kind of bug. The habit
is mutation testing (DeMillo, Lipton and Sayward, 1978), with bugs that a person chose instead of drawn ones.
"""

from .catalogue import MUTANTS
from .hunting import Mutant, Outcome, catch
from .planting import NotPlanted, Patch, planted

__all__ = ["MUTANTS", "Mutant", "NotPlanted", "Outcome", "Patch", "catch", "planted"]
