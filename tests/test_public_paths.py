"""Every public path of the reference can be imported, and so can those that it once named."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from sklflat._aliases import MOVED, RENAMED

REFERENCE = Path(__file__).parents[1] / "docs" / "reference.rst"

#: what the reference named before the rooms were divided: module -> names
FORMER = {
    "sklflat.training.stacked": "train",
    "sklflat.training.dispatch": "Training",
    "sklflat.training.perturbations.looks": "Look",
    "sklflat.connectivity": "find_symmetry Symmetry Group",
    "sklflat.connectivity.matching": (
        "match_weights match_by_activations match_transport match_straight_through "
        "match_many Matching ActivationGram match_activations"
    ),
    "sklflat.connectivity.paths": "LinearPath BezierPath PolygonalChain Plane",
    "sklflat.connectivity.path_losses": "path_losses PathEvaluator PathLosses",
    "sklflat.connectivity.path_training": "fit_bend",
    "sklflat.connectivity.barriers": "barrier measure_barriers walk_barriers Barriers",
    "sklflat.connectivity.barrier_table": "BarrierTable",
    "sklflat.connectivity.repair": "Repair repaired repaired_losses",
    "sklflat.connectivity.core": "InvariantCore CoreRestriction",
    "sklflat.connectivity.state": "read_state write_state mix",
}


def documented():
    """Pairs of module and name, as the reference lists them."""
    module = ""
    for line in REFERENCE.read_text().splitlines():
        if found := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        elif found := re.match(r"   (\w+)$", line):
            yield module, found[1]


FORMER_PAIRS = [(module, name) for module, names in FORMER.items() for name in names.split()]


@pytest.mark.parametrize(("module", "name"), [*documented(), *FORMER_PAIRS])
def test_a_public_path_can_be_imported(module, name):
    found = getattr(import_module(module), name)
    assert found.__name__ == RENAMED.get((module, name), name)


def test_a_former_path_gives_the_very_object():
    former = import_module("sklflat.connectivity.matching")
    assert former.match_weights is import_module("sklflat.matching").match_weights
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = former.no_such_name
    with pytest.raises(ModuleNotFoundError):
        import_module("sklflat.connectivity.matching.weights")


def test_an_alias_is_no_module_that_is_there():
    package = REFERENCE.parents[1]
    for module in MOVED:
        path = package.joinpath(*module.split("."))
        assert not path.exists()
        assert not path.with_suffix(".py").exists()
