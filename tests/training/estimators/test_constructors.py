"""Constructors that are generated from fields: what users and scikit-learn see of them."""

import inspect
import pickle
import re

import pytest
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier, MLPRegressor

from sklflat import FlatNoiseClassifier, FlatNoiseRegressor, SAMClassifier, SAMRegressor

SAM = [SAMClassifier, SAMRegressor]
NOISE = [FlatNoiseClassifier, FlatNoiseRegressor]
PERTURBATION = {"variant", "rho"}


def documented(cls):
    """Name the parameters of a class's docstring."""
    doc = inspect.getdoc(cls)
    section = doc[doc.index("Parameters\n---") : doc.index("Attributes\n---")]
    return re.findall(r"^(\w+) : ", section, flags=re.MULTILINE)


def parameters(cls):
    """Look up the parameters of a class's constructor."""
    return inspect.signature(cls).parameters


@pytest.mark.parametrize("cls", SAM)
def test_the_docstring_lists_the_parameters_in_their_order(cls):
    assert documented(cls) == list(parameters(cls))


@pytest.mark.parametrize(("cls", "sam"), list(zip(NOISE, SAM, strict=True)))
def test_the_docstring_of_noise_lists_what_the_one_it_refers_to_does_not(cls, sam):
    assert {*documented(cls), *parameters(sam)} - PERTURBATION == set(parameters(cls))
    assert not set(documented(cls)) & set(parameters(sam))
    assert f":class:`~sklflat.{sam.__name__}`" in inspect.getdoc(cls)


@pytest.mark.parametrize("cls", SAM + NOISE)
def test_two_parameters_may_be_given_by_position(cls):
    kinds = {name: p.kind for name, p in parameters(cls).items()}
    by_position = [
        name for name, kind in kinds.items() if kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    assert by_position == ["hidden_layer_sizes", "activation"]
    with pytest.raises(TypeError, match="positional"):
        cls((5,), "tanh", None)
    with pytest.raises(TypeError, match="no_such"):
        cls(no_such=1)


@pytest.mark.parametrize(("cls", "mlp"), list(zip(SAM, [MLPClassifier, MLPRegressor], strict=True)))
def test_defaults_are_those_of_scikit_learn(cls, mlp):
    ours, theirs = parameters(cls), parameters(mlp)
    shared = set(ours) & set(theirs)
    assert len(shared) >= 20
    assert {n: ours[n].default for n in shared} == {n: theirs[n].default for n in shared} | {
        "verbose": 0
    }


@pytest.mark.parametrize("cls", SAM + NOISE)
def test_every_parameter_has_its_constraint(cls):
    assert set(cls._parameter_constraints) == set(parameters(cls))
    assert set(vars(cls())) == set(parameters(cls))


@pytest.mark.parametrize("cls", SAM + NOISE)
def test_instances_are_equal_to_themselves_only(cls):
    assert cls() != cls()
    assert len({cls(), cls()}) == 2
    assert repr(cls((5,), max_iter=3)) == f"{cls.__name__}(hidden_layer_sizes=(5,), max_iter=3)"


class Small(SAMClassifier):
    """A user's own, with a constructor by hand."""

    def __init__(self, rho=0.2, n_units=3):
        super().__init__((n_units,), rho=rho, max_iter=2)
        self.n_units = n_units


class Renamed(SAMClassifier):
    """A user's own without one."""


def test_users_may_inherit_with_and_without_a_constructor():
    small = clone(Small(0.1))
    assert small.get_params() == {"rho": 0.1, "n_units": 3}
    assert small.hidden_layer_sizes == (3,)
    assert pickle.loads(pickle.dumps(small)).get_params() == small.get_params()
    assert list(parameters(Renamed)) == list(parameters(SAMClassifier))
    assert repr(Renamed(rho=0.1)) == "Renamed(rho=0.1)"
