"""How many units a network needs, and which: orders of units, judged on rows that chose none."""

from sklflat.pruning.display import PruningDisplay
from sklflat.pruning.path import PruningPath

__all__ = ["PruningDisplay", "PruningPath"]
