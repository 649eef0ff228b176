"""Perturbations: where a training step takes its gradient. One paper, one file."""

from sklflat.training.perturbations.asam import ASAM
from sklflat.training.perturbations.base import Perturbation, Position
from sklflat.training.perturbations.fisher import FisherSAM
from sklflat.training.perturbations.friendly import FriendlySAM
from sklflat.training.perturbations.gsam import GSAM
from sklflat.training.perturbations.looksam import LookSAM
from sklflat.training.perturbations.momentum import MomentumSAM
from sklflat.training.perturbations.noise import FlatNoise
from sklflat.training.perturbations.sam import SAM

#: the names that ``variant=`` understands
VARIANTS: dict[str, type[Perturbation]] = {
    "sam": SAM,
    "asam": ASAM,
    "gsam": GSAM,
    "looksam": LookSAM,
    "fisher": FisherSAM,
    "friendly": FriendlySAM,
    "momentum": MomentumSAM,
}

__all__ = [
    "ASAM",
    "GSAM",
    "SAM",
    "VARIANTS",
    "FisherSAM",
    "FlatNoise",
    "FriendlySAM",
    "LookSAM",
    "MomentumSAM",
    "Perturbation",
    "Position",
]
