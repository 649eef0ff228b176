"""What a network is: the default module, a module with its criterion, and its units."""

from sklflat.networks.criterion import Criterion
from sklflat.networks.functional import ParameterVector
from sklflat.networks.losses import TaskLoss
from sklflat.networks.mlp import MLP
from sklflat.networks.network import Network
from sklflat.networks.parts import OfParts, Parts
from sklflat.networks.units import Blocks, UnitLayer, Units

__all__ = [
    "MLP",
    "Blocks",
    "Criterion",
    "Network",
    "OfParts",
    "ParameterVector",
    "Parts",
    "TaskLoss",
    "UnitLayer",
    "Units",
]
