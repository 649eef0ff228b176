"""CurvatureMonitor: eigenvalues and trace of the loss, epoch by epoch."""

from typing import Any

import torch
from numpy.typing import NDArray
from skorch.callbacks import Callback

from sklflat.curvature import Eigenpairs, GaussNewton, Hessian, eigenpairs, hutchinson
from sklflat.training.estimators.loss_landscape import evenly_spread, rows_of
from sklflat.training.estimators.trained_network import network_of

_OPERATORS = {"hessian": Hessian, "ggn": GaussNewton}

#: records after which the slower kind of start is tried again
_RETRY = 10


class CurvatureMonitor(Callback):
    """A callback that records top eigenvalues and the trace at the end of epochs.

    Give it to ``callbacks=`` of any estimator of this package, or to any skorch net. It works
    on copies, so the training is the same to the last bit with it and without it. It starts from
    the eigenvectors of the previous record (a warm start) where that took fewer products than a
    random start, and tries the other kind again every ten records.

    Parameters
    ----------
    n_components : int, default=5
        Largest eigenvalues.
    operator : {"hessian", "ggn"}, default="hessian"
    every : int, default=1
        Epochs between two records.
    max_samples : int, default=1000
        The loss is that on so many training samples, evenly spread over the data.
    trace : int, default=10
        Products for the trace; 0 leaves it out.
    tol : float, default=1e-3
        Accepted residual, relative to the largest eigenvalue.
    random_state : int, default=0

    Attributes
    ----------
    epochs_ : list of int
        Counted from 1.
    eigenvalues_ : list of ndarray of shape (n_components,)
        Also in the net's history, as ``lambda_1`` and so on.
    traces_, trace_stds_ : list of float
        In the history as ``trace`` and ``trace_std``.
    losses_ : list of float
        The loss whose curvature it is, in evaluation mode.
    converged_ : list of bool
    n_matvec_ : list of int
        Products with vectors for the eigenvalues.
    warm_ : list of bool
        Whether the start was warm.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat import CurvatureMonitor, SAMClassifier
    >>> X = np.random.RandomState(0).normal(size=(50, 3))
    >>> monitor = CurvatureMonitor(n_components=2)
    >>> _ = SAMClassifier((4,), callbacks=[monitor], max_iter=3, tol=0, random_state=0).fit(
    ...     X, X[:, 0] > 0
    ... )
    >>> monitor.epochs_
    [1, 2, 3]
    >>> len(monitor.eigenvalues_[0])
    2
    """

    def __init__(
        self,
        n_components: int = 5,
        *,
        operator: str = "hessian",
        every: int = 1,
        max_samples: int = 1000,
        trace: int = 10,
        tol: float = 1e-3,
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.operator = operator
        self.every = every
        self.max_samples = max_samples
        self.trace = trace
        self.tol = tol
        self.random_state = random_state

    def on_train_begin(self, net: Any, **kwargs: Any) -> None:
        """Forget an earlier training."""
        if self.operator not in _OPERATORS:
            raise ValueError(f"operator={self.operator!r} must be one of {sorted(_OPERATORS)}.")
        if self.n_components < 1 or self.every < 1 or self.max_samples < 1:
            raise ValueError(
                f"n_components={self.n_components}, every={self.every} and "
                f"max_samples={self.max_samples} must be at least 1."
            )
        self.epochs_: list[int] = []
        self.eigenvalues_: list[NDArray] = []
        self.traces_: list[float] = []
        self.trace_stds_: list[float] = []
        self.losses_: list[float] = []
        self.converged_: list[bool] = []
        self.n_matvec_: list[int] = []
        self.warm_: list[bool] = []
        self.n_seen_ = 0
        self.before_: torch.Tensor | None = None

    def on_epoch_end(self, net: Any, dataset_train: Any = None, **kwargs: Any) -> None:
        """Record the curvature."""
        self.n_seen_ += 1
        if self.n_seen_ % self.every:
            return
        network = network_of(net)
        rows = evenly_spread(len(dataset_train), self.max_samples)
        operator = _OPERATORS[self.operator](network, *rows_of(net, dataset_train, rows))
        pairs = self._pairs(operator)
        self.epochs_.append(self.n_seen_)
        self.losses_.append(operator.loss)
        self.eigenvalues_.append(pairs.values)
        self.converged_.append(bool(pairs.converged.all()))
        for i, value in enumerate(pairs.values, 1):
            net.history.record(f"lambda_{i}", float(value))
        if self.trace:
            known = (pairs.values, pairs.vectors)
            estimate = hutchinson(operator, self.trace, known=known, seed=self.random_state)
            self.traces_.append(estimate.value)
            self.trace_stds_.append(estimate.std_error)
            net.history.record("trace", estimate.value)
            net.history.record("trace_std", estimate.std_error)

    def _pairs(self, operator: Any) -> Eigenpairs:
        warm = self.before_ is not None and self._prefers_warm()
        start = self.before_.sum(0) if warm and self.before_ is not None else None
        pairs = eigenpairs(
            operator,
            min(self.n_components, operator.size),
            tol=self.tol,
            start=start,
            audit=False,
            seed=self.random_state,
        )
        self.warm_.append(warm)
        self.n_matvec_.append(pairs.n_matvec)
        self.before_ = pairs.vectors
        return pairs

    def _prefers_warm(self) -> bool:
        """The kind of start that took fewer products when it was last used."""
        last = {kind: self.warm_[::-1].index(kind) for kind in set(self.warm_)}
        for kind in (True, False):
            if last.get(kind, _RETRY) >= _RETRY:
                return kind
        n = self.n_matvec_[::-1]
        return n[last[True]] < n[last[False]]
