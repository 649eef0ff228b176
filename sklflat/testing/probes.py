"""What a probe has to keep to, checked on small networks whose units are known."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone, is_regressor
from sklearn.utils import check_random_state
from torch import nn

from sklflat.exceptions import NothingFoundWarning
from sklflat.probing import UnitProbe, from_module
from sklflat.probing.split import Rows
from sklflat.testing.global_state import are_unchanged, global_random_states

#: rows, inputs and units of the networks
_N, _D, _H = 90, 4, 8
#: networks that have learned nothing, and the largest share of their units that may have a p-value
#: of at most 0.05: of 160 independent ones there are more once in a million times
_N_NETWORKS, _LARGEST_SHARE = 20, 0.15
#: share of the draws asked for that there have to be
_FEWEST_DRAWS = 0.9


def check_probe(probe: UnitProbe) -> None:
    """Check whether a probe keeps to what :class:`~sklflat.probing.UnitProbe` asks of subclasses.

    Scores and nulls are functions of the sample: the same for the same ``random_state``, permuted
    with the units, without an attribute or a global random number touched. Nulls have as many draws
    as were asked for, on the scale of the scores: in networks that have learned nothing about one
    unit in twenty has a p-value of at most 0.05. A probe that refuses frozen networks is checked on
    its own ``estimator``, and neither for draws, nor permuted units, nor the last.

    Parameters
    ----------
    probe : UnitProbe
        An instance; it is not changed. Give cheap parameters, such as ``n_null=200``.

    Raises
    ------
    AssertionError
        If it does not; says in which way.

    Examples
    --------
    >>> from sklflat import ActivationProbe
    >>> from sklflat.testing import check_probe
    >>> check_probe(ActivationProbe(n_null=200))
    >>> class AllGood(ActivationProbe):
    ...     def _draw_nulls(self, sample, n_draws, rng):
    ...         nulls = super()._draw_nulls(sample, n_draws, rng)
    ...         return [type(null)(null.name, null.draws - 10) for null in nulls]
    >>> check_probe(AllGood(n_null=200))
    Traceback (most recent call last):
        ...
    AssertionError: Of the units of 20 networks that have learned nothing 100% ...
    """
    for check in checks_of_probe(probe):
        check(probe)


# --- networks to check on -----------------------------------------------------------------------


def _data(seed: int, regression: bool) -> tuple[NDArray, NDArray]:
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(_N, _D))
    return X, rng.normal(size=_N) if regression else rng.permutation(np.arange(_N) % 3)


def _module(seed: int, n_outputs: int, order: NDArray | None = None) -> nn.Module:
    """A network that was never trained, its hidden units in some order."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(_D, _H), nn.Tanh(), nn.Linear(_H, n_outputs)).double()
    if order is not None:
        first: Any = module[0]
        last: Any = module[2]
        with torch.no_grad():
            first.weight.copy_(first.weight[order])
            first.bias.copy_(first.bias[order])
            last.weight.copy_(last.weight[:, order])
    return module


def _ready(probe: UnitProbe) -> UnitProbe:
    """The probe, unfitted, of a frozen network, or else of its own estimator."""
    if judges_frozen_networks(probe):
        return _on_network(probe, 0)
    return clone(probe).set_params(n_units=None, random_state=0)


def _on_network(probe: UnitProbe, seed: int, order: NDArray | None = None) -> UnitProbe:
    """The probe, unfitted, of a frozen network; it judges on all rows."""
    regression = is_regressor(probe)
    module = _module(seed, 1 if regression else 3, order)
    classes = None if regression else [0, 1, 2]
    criterion = nn.MSELoss() if regression else None
    frozen = from_module(module, criterion, classes)
    return clone(probe).set_params(estimator=frozen, n_units=None, random_state=seed)


def _fit(probe: UnitProbe, seed: int) -> UnitProbe:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NothingFoundWarning)
        try:
            return probe.fit(*_data(seed, is_regressor(probe)))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise AssertionError(
                f"{_name(probe)} cannot be fitted to a small network: {error}"
            ) from error


def judges_frozen_networks(probe: UnitProbe) -> bool:
    """Whether the probe takes a frozen network, or asks for one that it trains itself."""
    try:
        _on_network(probe, 0)._prepare(
            Rows(*_data(0, is_regressor(probe)), {}), check_random_state(0)
        )
    except ValueError as error:
        if "frozen" in str(error) or "trained" in str(error):
            return False
        raise
    return True


def _name(probe: UnitProbe) -> str:
    return type(probe).__name__


# --- the checks ---------------------------------------------------------------------------------


def check_parameters(probe: UnitProbe) -> None:
    """The parameters that every probe has are there, and stored as they are given."""
    name = _name(probe)
    shared = {"estimator", "layers", "n_units", "n_null", "holdout", "n_jobs", "random_state"}
    missing = sorted(shared - set(probe.get_params(deep=False)))
    assert not missing, (
        f"{name} has no parameters {', '.join(missing)}: write out __init__ with those of "
        "UnitProbe and your own, and store each as it is given."
    )
    twin = clone(probe)
    for key, value in probe.get_params(deep=False).items():
        same = type(getattr(twin, key)) is type(value)
        assert same, f"{name} changes {key} in __init__: only store it, and check it in fit."


def check_fits(probe: UnitProbe) -> None:
    """It is fitted to a network, and gives every unit a finite score and a p-value."""
    fitted = _fit(_ready(probe), 0)
    assert np.isfinite(fitted.unit_scores_).all()
    assert ((fitted.p_values_ > 0) & (fitted.p_values_ <= 1)).all()


def check_number_of_draws(probe: UnitProbe) -> None:
    """Nulls have as many draws as were asked for, of the units that live."""
    for n_null in (200, 600):
        fitted = _fit(_on_network(probe, 0).set_params(n_null=n_null), 0)
        for null in fitted.nulls_:
            assert null.draws.size >= _FEWEST_DRAWS * n_null, (
                f"{_name(probe)}: n_null={n_null} asks for as many draws, and the null "
                f"{null.name!r} has {null.draws.size}: _draw_nulls(sample, n_draws, rng) has to "
                "draw n_draws scores in all."
            )


def check_repeats_itself(probe: UnitProbe) -> None:
    """The same random state gives the same answer, and the world's random numbers stay."""
    world = global_random_states()
    first, second = (_fit(_ready(probe), 0) for _ in range(2))
    for what in ("unit_scores_", "p_values_"):
        assert np.array_equal(getattr(first, what), getattr(second, what)), (
            f"{_name(probe)}: two fits with the same random_state differ in {what}. Draw from rng."
        )
    assert are_unchanged(world), (
        f"{_name(probe)} draws from the global random numbers: draw from rng."
    )


def check_hooks_set_nothing(probe: UnitProbe) -> None:
    """``_score_units`` and ``_draw_nulls`` set no attribute and leave the sample alone."""
    name, found = _name(probe), _ready(probe)
    for hook in ("_score_units", "_draw_nulls"):
        own = getattr(found, hook)

        def watched(sample: Any, *rest: Any, own: Any = own, hook: str = hook) -> Any:
            before, rows = set(vars(found)), [np.array(sample.y), np.array(sample.activations)]
            answer = own(sample, *rest)
            set_here = sorted(set(vars(found)) - before)
            assert not set_here, (
                f"{name}.{hook} sets {', '.join(set_here)}: what is kept is set in _record."
            )
            same = all(map(np.array_equal, rows, (sample.y, sample.activations)))
            assert same, f"{name}.{hook} changes the sample in place."
            return answer

        setattr(found, hook, watched)
    before = clone(found)
    _fit(found, 0)
    for hook in ("_score_units", "_draw_nulls"):
        delattr(found, hook)
    for key, value in before.get_params(deep=False).items():
        same = type(getattr(found, key)) is type(value)
        assert same, f"{name}.fit changes the parameter {key}."


def check_permuted_units(probe: UnitProbe) -> None:
    """Units in another order have the same scores, in that order."""
    order = np.random.RandomState(1).permutation(_H)
    plain, permuted = _fit(_on_network(probe, 0), 0), _fit(_on_network(probe, 0, order), 0)
    scale = max(np.abs(plain.unit_scores_).max(), np.finfo(float).tiny)
    apart = np.abs(permuted.unit_scores_ - plain.unit_scores_[order]).max() / scale
    assert apart < 1e-6, (
        f"{_name(probe)}: the units of a network in another order have other scores, by "
        f"{apart:.2g} of the largest. A score must not depend on where a unit is."
    )


def check_nothing_is_found_in_nothing(probe: UnitProbe) -> None:
    """Where there is nothing to find, p-values of at most 0.05 are rare: nulls have its scale."""
    p = np.concatenate([_fit(one, seed).p_values_ for seed, one in _networks(probe)])
    share = (p <= 0.05).mean()
    assert share <= _LARGEST_SHARE, (
        f"Of the units of {_N_NETWORKS} networks that have learned nothing {share:.0%} have a "
        f"p-value of {_name(probe)} of at most 0.05, where 5% are expected: the draws of its nulls "
        "are not on the scale of its scores, or not what the scores are by chance."
    )


def _networks(probe: UnitProbe) -> Iterator[tuple[int, UnitProbe]]:
    for seed in range(_N_NETWORKS):
        yield seed, _on_network(probe, seed)


PROBE_CHECKS = (check_parameters, check_fits, check_repeats_itself, check_hooks_set_nothing)
#: of probes that take a frozen network
NETWORK_CHECKS = (
    check_number_of_draws,
    check_permuted_units,
    check_nothing_is_found_in_nothing,
)


def checks_of_probe(probe: UnitProbe) -> Iterator[Callable[[UnitProbe], None]]:
    """The checks that apply to a probe."""
    yield from PROBE_CHECKS
    if judges_frozen_networks(probe):
        yield from NETWORK_CHECKS
