"""What a network is: the default module, a module with its criterion, and its units."""

from sklflat.networks.criterion import Criterion
from sklflat.networks.functional import ParameterVector
from sklflat.networks.losses import TaskLoss
from sklflat.networks.mlp import MLP
from sklflat.networks.network import Network

__all__ = ["MLP", "Criterion", "Network", "ParameterVector", "TaskLoss"]
