"""The checks of probes and perturbations one by one, for a test runner."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from sklflat.probing import UnitProbe
from sklflat.testing.perturbations import PERTURBATION_CHECKS
from sklflat.testing.probes import checks_of_probe
from sklflat.training.perturbations.base import Perturbation


def checks_of(instance: Any) -> Iterator[tuple[str, Callable[[], None]]]:
    """Name and function of every check of a probe or a perturbation.

    Parameters
    ----------
    instance : UnitProbe or Perturbation

    Yields
    ------
    (name, check)
        ``check()`` raises an AssertionError that says what is wrong.
    """
    if isinstance(instance, UnitProbe):
        checks: Iterable[Callable[[Any], None]] = checks_of_probe(instance)
    elif isinstance(instance, Perturbation):
        checks = PERTURBATION_CHECKS
    else:
        raise TypeError(
            f"There are checks of UnitProbe and of Perturbation, got {instance!r} of type "
            f"{type(instance).__name__}: pass an instance of a subclass, not the class."
        )
    for check in checks:
        yield check.__name__, partial(check, instance)


def parametrize_with_checks(instances: Iterable[Any]) -> Any:
    """A pytest decorator that runs every check of some probes and perturbations as a test.

    It is to these what :func:`sklearn.utils.estimator_checks.parametrize_with_checks` is to
    estimators; run that one on a probe too.

    Parameters
    ----------
    instances : iterable of UnitProbe and Perturbation

    Returns
    -------
    decorator : pytest.MarkDecorator
        Of a test with the arguments ``instance`` and ``check``.

    Examples
    --------
    >>> from sklflat.testing import parametrize_with_checks
    >>> from sklflat.training.perturbations import SAM
    >>> @parametrize_with_checks([SAM()])
    ... def test_own(instance, check):
    ...     check()
    """
    import pytest

    cases = [
        pytest.param(instance, check, id=f"{instance!r}-{name}")
        for instance in instances
        for name, check in checks_of(instance)
    ]
    return pytest.mark.parametrize(("instance", "check"), cases)
