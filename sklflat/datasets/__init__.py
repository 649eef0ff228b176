"""Generated data of which it is known what is real: every ``make_*`` plants a truth."""

from sklflat.datasets.class_tree import make_class_tree
from sklflat.datasets.decision_tree import PlantedTree
from sklflat.datasets.network import PlantedNetwork
from sklflat.datasets.parity import make_sparse_parity
from sklflat.datasets.planted_tree import make_planted_tree
from sklflat.datasets.redundant import make_redundant_features
from sklflat.datasets.shared_private import make_shared_private
from sklflat.datasets.spurious import make_spurious
from sklflat.datasets.superposition import make_superposition
from sklflat.datasets.teacher_student import make_teacher_student
from sklflat.datasets.truth import Truth
from sklflat.datasets.two_mechanisms import make_two_mechanisms

__all__ = [
    "PlantedNetwork",
    "PlantedTree",
    "Truth",
    "make_class_tree",
    "make_planted_tree",
    "make_redundant_features",
    "make_shared_private",
    "make_sparse_parity",
    "make_spurious",
    "make_superposition",
    "make_teacher_student",
    "make_two_mechanisms",
]
