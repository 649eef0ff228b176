"""The probes of a consensus: what is accepted, their names, and the network they share."""

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from sklflat.eigenspace import HessianSpectrum
from sklflat.exceptions import RefitWarning, warn
from sklflat.probing import AblationProbe, ActivationProbe
from sklflat.probing.nulls import seeded
from sklflat.probing.unit_probe import UnitProbe

#: a probe and its name
Member = tuple[str, UnitProbe]


def default_probes() -> list[Member]:
    """What a unit does for the loss, what it has to do with the target, and its curvature.

    None of them changes when a ReLU unit's scale moves from incoming to outgoing weights.
    """
    return [
        ("ablation", AblationProbe()),
        ("correlation", ActivationProbe(unit_score="correlation")),
        ("curvature", HessianSpectrum(unit_score="curvature", metric="adaptive")),
    ]


def named(probes: Any) -> list[tuple[str, Any]]:
    """The probes with their names; those without one are called by their score, or their class.

    Examples
    --------
    >>> from sklflat import AblationProbe, ActivationProbe
    >>> from sklflat.consensus.members import named
    >>> probes = [AblationProbe(), ActivationProbe(unit_score="variance"), AblationProbe()]
    >>> [name for name, _ in named(probes)]
    ['ablation', 'variance', 'ablation-2']
    """
    taken = {item[0] for item in probes if _has_name(item)}
    found: list[tuple[str, Any]] = []
    for item in probes:
        if _has_name(item):
            found.append(item)
            continue
        score = getattr(item, "unit_score", None)
        kind = type(item).__name__.removesuffix("Probe").lower()
        base = score if isinstance(score, str) else kind
        numbered = (base if n == 1 else f"{base}-{n}" for n in count(1))
        name = next(name for name in numbered if name not in taken)
        taken.add(name)
        found.append((name, item))
    return found


def _has_name(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def replaced(probes: Any, changes: dict[str, Any]) -> list[Any]:
    """The probes with others in the place of some, by name.

    Examples
    --------
    >>> from sklflat import AblationProbe, ActivationProbe, TemperatureProbe
    >>> from sklflat.consensus.members import replaced
    >>> replaced([("a", AblationProbe()), ActivationProbe()], {"a": TemperatureProbe()})
    [('a', TemperatureProbe()), ActivationProbe()]
    """
    pairs = zip(probes, named(probes), strict=True)
    return [(name, changes[name]) if name in changes else item for item, (name, _) in pairs]


def checked(probes: Any, layers: Any, own_parameters: Sequence[str]) -> list[Member]:
    """The probes with their names, or the default ones.

    Raises
    ------
    ValueError, TypeError
        If one cannot score the units of a network that it is given; says which and why.

    Warns
    -----
    RefitWarning
        If one is fitted: that fit is not used.
    """
    if probes is None:
        return default_probes()
    if not isinstance(probes, list | tuple) or len(probes) < 2:
        raise ValueError(
            f"probes={probes!r}: a consensus takes a list of two probes at least, each as it is or "
            "as (name, probe). A single probe is used by itself."
        )
    members = named(probes)
    _check_names([name for name, _ in members], own_parameters)
    for name, probe in members:
        _check_scores_given_networks(name, probe)
        if probe.estimator is not None:
            raise ValueError(
                f"probes: {name!r} has an estimator of its own, "
                f"{type(probe.estimator).__name__}(...). All probes score the units of one "
                "network: leave theirs None and give UnitConsensus(estimator=...)."
            )
        try:
            probe._validate_params()
        except ValueError as error:
            raise ValueError(f"probes: {name!r}: {error}") from error
        if probe.layers != "hidden" and list(probe.layers) != list(layers):
            raise ValueError(
                f"probes: {name!r} has layers={probe.layers!r}, the consensus layers={layers!r}. "
                "Ranks of other units cannot be compared: leave the probe's layers as they are and "
                "give UnitConsensus(layers=...)."
            )
        if hasattr(probe, "unit_scores_"):
            warn(
                f"probes: {name!r} is fitted, but a clone of it scores the network of the "
                "consensus; what it was fitted to is not used.",
                RefitWarning,
            )
    return members


def _check_names(names: list[str], own_parameters: Sequence[str]) -> None:
    for name in names:
        if not name or "__" in name or name in own_parameters:
            raise ValueError(
                f"probes: the name {name!r} is empty, has two underscores, or is a parameter of "
                "UnitConsensus. Choose another one."
            )
        if names.count(name) > 1:
            raise ValueError(f"probes: the name {name!r} is given twice. Choose others.")


def _check_scores_given_networks(name: str, probe: Any) -> None:
    if isinstance(probe, FrozenEstimator):
        raise TypeError(
            f"probes: {name!r} is a FrozenEstimator, whose scores are of the network that it was "
            "fitted to. Give the probe itself, such as AblationProbe(), which need not be fitted."
        )
    if not isinstance(probe, UnitProbe):
        short = f"{type(probe).__name__}(...)" if hasattr(probe, "get_params") else repr(probe)
        what = probe.__name__ if isinstance(probe, type) else short
        called = ": call it" if isinstance(probe, type) else ""
        raise TypeError(
            f"probes: {name!r} is {what}, and not an instance of a probe such as AblationProbe()"
            f"{called}."
        )
    kind = type(probe)
    if not kind._scores_one_network:
        raise ValueError(
            f"probes: {name!r} scores units by several trainings, and a consensus trains one "
            f"network. Use {kind.__name__} by itself, or in its place "
            "ActivationProbe(unit_score='class_variance'), which foretells what comes back."
        )
    if kind._score_units is UnitProbe._score_units:
        raise ValueError(
            f"probes: {name!r} is a {kind.__name__}, which chooses units as a set and gives single "
            "ones no score. Leave it out."
        )


def for_network(members: list[Member], network: Any, rng: np.random.RandomState) -> list[Member]:
    """Clones of the probes for a frozen network, with seeds of their own."""
    ready = []
    for name, probe in members:
        twin = seeded(clone(probe), rng)
        ready.append((name, twin.set_params(estimator=network)))
    return ready
