"""Targets as a network needs them, and a network's output as scikit-learn returns it."""

from typing import Any

import numpy as np
from scipy.special import expit, log_softmax, logit, softmax
from sklearn.utils.multiclass import type_of_target, unique_labels
from torch.nn import BCELoss, BCEWithLogitsLoss, Module, NLLLoss

from sklflat.exceptions import OutputWidthError


class ClassTargets:
    """Class labels (n,) or multilabel indicators (n, k); ``classes``, where y may lack some."""

    def __init__(self, y: np.ndarray, classes: np.ndarray | None = None) -> None:
        self.multilabel = type_of_target(y).startswith("multilabel")
        if self.multilabel:
            self.classes = np.arange(y.shape[1])
        else:
            self.classes = unique_labels(y) if classes is None else np.unique(classes)
        #: the probability from which the second of two classes is predicted
        self.threshold = 0.5

    @property
    def n_outputs(self) -> int:
        """Outputs of the default network: one logit suffices for two classes."""
        return 1 if self.binary else len(self.classes)

    @property
    def binary(self) -> bool:
        """Whether there are two exclusive classes."""
        return not self.multilabel and len(self.classes) == 2

    def loss(self, width: int) -> str:
        """The loss for a network with this many outputs."""
        if self.multilabel and width == len(self.classes):
            return "logistic"
        if self.binary and width == 1:
            return "logistic"
        if not self.multilabel and width == len(self.classes):
            return "softmax"
        raise self._mismatch(width)

    def _mismatch(self, width: int) -> OutputWidthError:
        kind = "labels" if self.multilabel else "classes"
        return OutputWidthError(
            f"The network has {width} outputs, but y has {len(self.classes)} {kind}. Make its "
            f"last layer {len(self.classes)} wide; a module class whose __init__ takes "
            "'n_outputs' gets the width from the data."
        )

    def skorch_loss(self, criterion: Module, shape: tuple[int, ...]) -> str:
        """What the outputs of a skorch net mean, by its criterion and their shape."""
        width = shape[0] if shape else 1
        loss = self.loss(width)
        if isinstance(criterion, NLLLoss):  # skorch takes the logarithm itself
            if loss != "softmax":
                raise self._mismatch(width)
            return "nll"
        if isinstance(criterion, (BCELoss, BCEWithLogitsLoss)) and loss != "logistic":
            raise self._mismatch(width)
        return loss

    def encode(self, y: np.ndarray, loss: str) -> np.ndarray:
        """Class indices (n,), or 0.0 and 1.0 of shape (n, k) for the logistic loss."""
        if self.multilabel:
            return np.array(y, dtype=float)
        unknown = np.setdiff1d(y, self.classes)
        if len(unknown):
            raise ValueError(f"y has labels {unknown} that are not among {self.classes}.")
        indices = np.searchsorted(self.classes, y)
        return indices[:, None].astype(float) if loss == "logistic" else indices

    def decision(self, z: np.ndarray, loss: str) -> np.ndarray:
        """Logits as ``decision_function`` returns them: (n,) for two classes, else (n, k)."""
        if self.binary:
            return z[:, 0] if loss == "logistic" else z[:, 1] - z[:, 0]
        return z

    def proba(self, decision: np.ndarray, log: bool = False) -> np.ndarray:
        """Probabilities (n, k), or their logarithms, from ``decision``."""
        if self.multilabel:
            return -np.logaddexp(0, -decision) if log else expit(decision)
        if decision.ndim == 1:
            decision = np.column_stack([np.zeros_like(decision), decision])
        return log_softmax(decision, axis=1) if log else softmax(decision, axis=1)

    def predict(self, decision: np.ndarray) -> np.ndarray:
        """Labels (n,) or indicators (n, k) from ``decision``."""
        if self.multilabel:
            return (decision > 0).astype(int)
        if decision.ndim == 1:
            return self.classes[(decision > logit(self.threshold)).astype(int)]
        return self.classes[decision.argmax(axis=1)]


def as_values(y: Any) -> np.ndarray:
    """Real targets as floats; labels in words raise a ValueError that says what to do."""
    try:
        return np.asarray(y, dtype=float)
    except (TypeError, ValueError) as error:
        values = np.ravel(np.asarray(y, dtype=object)).tolist()
        word = next((value for value in values if isinstance(value, str)), values[0])
        raise ValueError(
            f"The network predicts numbers, but y holds {word!r}, which is none. "
            "If y holds labels, take a classifier, such as SAMClassifier; of a module, say so: "
            "from_module(module, classes=[one label an output])."
        ) from error


def refuse_labels(y: Any) -> None:
    """Raise a ValueError that says what to do, if targets of a regressor are labels in words."""
    values = np.asarray(y)
    if values.ndim and values.dtype.kind in "OUST":
        as_values(values)


class RealTargets:
    """Real targets, (n,) or (n, k)."""

    _LOSSES = {"squared_error": "squared", "poisson": "poisson"}

    def __init__(self, y: np.ndarray, loss: str) -> None:
        self.one_dimensional = y.ndim == 1
        self.n_outputs = 1 if y.ndim == 1 else y.shape[1]
        self._loss = self._LOSSES[loss]

    def loss(self, width: int) -> str:
        """The loss for a network with this many outputs."""
        if width != self.n_outputs:
            raise OutputWidthError(
                f"The network has {width} outputs, but y has {self.n_outputs} targets. Make its "
                f"last layer {self.n_outputs} wide; a module class whose __init__ takes "
                "'n_outputs' gets the width from the data."
            )
        return self._loss

    def skorch_loss(self, criterion: Module, shape: tuple[int, ...]) -> str:
        """Checks the width; the criterion is the net's own."""
        return self.loss(shape[0] if shape else 1)

    def encode(self, y: np.ndarray, loss: str) -> np.ndarray:
        """Targets of shape (n, k)."""
        return np.array(as_values(y)).reshape(len(y), -1)

    def predict(self, z: np.ndarray) -> np.ndarray:
        """Predictions in the shape of y; the Poisson loss means log-means."""
        z = np.exp(z) if self._loss == "poisson" else z
        return z[:, 0] if self.one_dimensional else z
