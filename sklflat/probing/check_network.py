"""What a network and its loss really are, compared before a number is believed: one table."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.utils import check_consistent_length
from torch import Tensor

from sklflat.curvature import GaussNewton, Hessian, NetworkOperator
from sklflat.curvature.derivative_checks import check_products
from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks import Network
from sklflat.networks.before_activation import BeforeActivation
from sklflat.networks.checks import (
    Check,
    checked_rows,
    precision_inside,
    relative_difference,
    row_checks,
)
from sklflat.networks.outputs import LogOdds, LogProbabilities
from sklflat.networks.units import Units
from sklflat.probing.resolve import resolve
from sklflat.training.estimators.containers import as_arrays
from sklflat.training.estimators.trained_network import TrainedNetwork

#: rows that the loss is compared on, and those that are linearised
_N_ROWS, _N_LINEARISED = 256, 16
#: rows that units are found on
_N_CHECKED = 8
#: p-value from which an accuracy is clearly below that of the most frequent class
_CLEARLY = 0.001


class NetworkChecks:
    """The result of :func:`check_network`: what was asked, what was compared, and the verdict.

    Parameters
    ----------
    checks : list of Check
    notes : list of (str, str)
        What was found and is no comparison: its name, and what it is.

    Attributes
    ----------
    passed : bool
        Whether all comparisons agree.
    """

    def __init__(self, checks: list[Check], notes: list[tuple[str, str]]) -> None:
        self.checks = checks
        self.notes = notes

    @property
    def passed(self) -> bool:
        """Whether all comparisons agree."""
        return all(check.passed for check in self.checks)

    def to_frame(self) -> Any:
        """The comparisons as a DataFrame, one row each.

        Returns
        -------
        frame : pandas.DataFrame
            Columns ``question``, ``answer``, ``compared``, ``deviation``, ``limit``, ``advice``.
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "question": check.question,
                    "answer": _answer(check),
                    "compared": check.compared,
                    "deviation": check.deviation,
                    "limit": check.limit,
                    "advice": "" if check.passed else check.advice,
                }
                for check in self.checks
            ]
        )

    def __repr__(self) -> str:
        width = max(len(name) for name in [*(c.question for c in self.checks), *dict(self.notes)])
        lines = [
            f"{check.question:<{width}}  {_answer(check):<12}  "
            f"{check.deviation:8.1e}  {check.compared}"
            for check in self.checks
        ]
        lines += [f"{name:<{width}}  {text}" for name, text in self.notes]
        lines += [f"- {check.question} {check.advice}" for check in self.checks if not check.passed]
        return "\n".join(lines)


def _answer(check: Check) -> str:
    if math.isnan(check.deviation):
        return "not compared"
    return "yes" if check.passed else "NO"


def check_network(estimator: Any, X: Any, y: Any) -> NetworkChecks:
    """Ask a network and its loss what every technique relies on, and show what was measured.

    Run it first on a network that somebody else trained. The techniques make the same comparisons
    by themselves, and refuse a network that fails one that they rely on.

    Parameters
    ----------
    estimator : fitted estimator
        What the probes take: see :func:`sklflat.probing.resolve`.
    X : array-like of shape (n_samples, ...)
    y : array-like of shape (n_samples, ...)

    Returns
    -------
    checks : NetworkChecks
        Printed as a table.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If X and y are of different lengths.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklflat import check_network, from_module
    >>> X = np.random.RandomState(0).normal(size=(40, 2))
    >>> norm = torch.nn.BatchNorm1d(2, track_running_stats=False)
    >>> module = torch.nn.Sequential(norm, torch.nn.Linear(2, 2))
    >>> checks = check_network(from_module(module, classes=[0, 1]), X, X[:, 0] > 0)
    >>> checks.passed
    False
    >>> [check.question for check in checks.checks if not check.passed]
    ["Is each row's output its own?"]
    """
    trained = resolve(estimator)
    X, y = as_arrays(X, y)
    check_consistent_length(X, y)
    try:
        x = trained.to_input(X)
    except UnsupportedNetworkError as error:
        question = "Is it known what outputs mean?"
        return NetworkChecks(
            [Check(question, "outputs with targets", float("inf"), 0, str(error))], []
        )
    network, target = trained.network, trained.to_target(y)
    with torch.no_grad():
        checks = list(row_checks(network.forward, checked_rows(x), network.whole_batch))
    rows_are_fine = all(check.passed for check in checks)
    if rows_are_fine and len(x) > 1 and not network.whole_batch:
        checks += _of_activations(network, x)
    if rows_are_fine:
        checks.append(_asked("Does the loss add up?", lambda: _of_loss(network, x, target)))
        for operator in (Hessian, GaussNewton) if checks[-1].passed else ():
            network.verified |= {Hessian.derivative, GaussNewton.derivative}
            few = partial(operator, network, *(checked_rows(t, _N_LINEARISED) for t in (x, target)))
            checks.append(_asked("Are the derivatives right?", partial(_of_products, few)))
    notes = list(_notes(network, x))
    if rows_are_fine:
        notes += _accuracy(trained, x, y)
    return NetworkChecks(checks, notes)


def _asked(question: str, ask: Callable[[], Check]) -> Check:
    """A check; one that fails, if the network or its loss is refused meanwhile."""
    try:
        return ask()
    except (TypeError, ValueError) as error:
        return Check(question, "nothing, as it was refused,", float("inf"), 0.0, str(error))


def _of_activations(network: Network, x: Tensor) -> Iterator[Check]:
    """Whether rows have activations of their own, where units are found."""
    with suppress(UnsupportedNetworkError):
        units = Units.find(network.module, x[:_N_CHECKED])
        yield units.has_independent_rows(network.module, x)


def _of_products(operator: Callable[[], NetworkOperator]) -> Check:
    return check_products(operator())


def _of_loss(network: Network, x: Tensor, y: Tensor) -> Check:
    """Whether losses of rows add up to the criterion's own value."""
    x, y = x[:_N_ROWS], network.prepare(y[:_N_ROWS])
    with torch.no_grad():
        z = network.forward(x)
        own = network.criterion.own_value(z, y)
        ours = network.criterion.mean(*network.sums(z, y))
    return Check(
        "Does the loss add up?",
        f"the criterion on {len(x)} rows and losses of single rows, added up,",
        relative_difference(ours.double(), own.double()),
        1e-5,
        "The criterion is no mean or sum over rows.",
    )


def _accuracy(trained: TrainedNetwork, x: Tensor, y: Any) -> Iterator[tuple[str, str]]:
    """How often a classifier is right on some rows, and the most frequent class of these is."""
    if trained.classes is None or np.ndim(y) > 1:
        return
    rows = slice(_N_ROWS)
    with torch.no_grad():
        z = trained.network.outputs(x[rows])
    z = torch.cat([-z, z], 1) if z.ndim == 2 and z.shape[1] == 1 else z  # one logit of two classes
    if z.ndim != 2 or z.shape[1] != len(trained.classes):
        return
    said, truth = z.numpy()[:, trained.order].argmax(axis=1), trained.numbers(y[rows])
    counts = np.bincount(truth.astype(int))
    yield (
        "Accuracy",
        f"{np.mean(said == truth):.3g} on {len(truth)} rows, of which the most frequent class has "
        f"{counts.max() / len(truth):.3g}",
    )
    if _is_below(said == truth, truth == counts.argmax()):
        yield (
            "Order of classes",
            "the most frequent class is right more often: are classes in the order of the outputs?",
        )


def _is_below(right: NDArray, other: NDArray) -> bool:
    """Whether one classifier is right less often than another on the same rows: exact McNemar."""
    won, lost = int((right & ~other).sum()), int((other & ~right).sum())
    return lost > won and binomtest(won, won + lost).pvalue <= _CLEARLY


def _notes(network: Network, x: Tensor) -> Iterator[tuple[str, str]]:
    kinds = {LogProbabilities: "probabilities, taken to logits", LogOdds: "one probability a class"}
    said = kinds.get(type(network.module), "logits or values, as the module returns them")
    if isinstance(network.module, BeforeActivation):
        said = f"probabilities, taken to the logits before the {network.module.kind}"
    yield "Outputs", said
    lowest = precision_inside(network.forward, network.prepare(x[:2]))
    lowest = max(lowest, network.dtype, key=lambda dtype: torch.finfo(dtype).eps)
    inside = str(lowest).removeprefix("torch.")
    yield "Precision", f"{str(network.dtype).removeprefix('torch.')}, {inside} inside"
    try:
        units = Units.find(network.module, x[:_N_CHECKED])
        yield "Hidden units", f"{len(units)} in {len(units.layers)} layers"
    except UnsupportedNetworkError as error:
        yield "Hidden units", f"none: {error}"
