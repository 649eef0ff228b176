"""What a network says about data, as its student is taught it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.checks import require_finite
from sklflat.temperature.softened import logits_of_margin
from sklflat.training.estimators.trained_network import TrainedNetwork


@dataclass(frozen=True)
class Answers:
    """The outputs of a model for some rows.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_outputs)
        Of a classifier: logits of the sorted classes, whose mean over the classes is 0. Of a
        regressor: predictions.
    classes : ndarray of shape (n_outputs,) or None
        None for regressors.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat.surrogate.teacher import Answers
    >>> answers = Answers(np.array([[1.0, -1.0], [-0.5, 0.5]]), np.array(["no", "yes"]))
    >>> answers.labels, answers.margin
    (array(['no', 'yes'], dtype='<U3'), array([2., 1.]))
    """

    values: NDArray[np.float64]
    classes: NDArray | None

    def __len__(self) -> int:
        return len(self.values)

    @property
    def codes(self) -> NDArray[np.int64]:
        """Numbers (n_samples,) of the predicted classes."""
        return self.values.argmax(axis=1)

    @property
    def labels(self) -> NDArray:
        """Predictions as the network's estimator gives them."""
        if self.classes is None:
            return self.values[:, 0] if self.values.shape[1] == 1 else self.values
        return self.classes[self.codes]

    @property
    def proba(self) -> NDArray[np.float64]:
        """Probabilities (n_samples, n_classes)."""
        return np.asarray(softmax(self.values, axis=1))

    @property
    def margin(self) -> NDArray[np.float64]:
        """How far the best logit is above the second, (n_samples,).

        A regressor has no boundary to be far from: there it is the prediction itself (of the
        first output), so that rows of equal margin are rows that the network says the same of.
        """
        if self.classes is None:
            return self.values[:, 0]
        best = np.sort(self.values, axis=1)
        return best[:, -1] - best[:, -2]

    def take(self, rows: NDArray) -> "Answers":
        """The answers for some rows."""
        return Answers(self.values[rows], self.classes)


def answers_of(trained: TrainedNetwork, X: Any) -> Answers:
    """What a network says about data.

    Parameters
    ----------
    trained : TrainedNetwork
    X : array-like of shape (n_samples, ...)

    Raises
    ------
    UnsupportedNetworkError
        If it gives several labels to a sample.
    ValueError
        If an output is not finite.
    """
    z = trained.network.outputs(trained.to_input(X))
    require_finite(trained.network.module, z, "outputs")
    return read_answers(trained, z.numpy())


def read_answers(trained: TrainedNetwork, z: NDArray) -> Answers:
    """What outputs (n_samples, k) of a network, or of one like it, mean."""
    targets = trained.targets
    if trained.classes is None:
        values = np.asarray(targets.predict(z), dtype=np.float64)
        return Answers(values.reshape(len(z), -1), None)
    if targets.multilabel:
        raise UnsupportedNetworkError(
            "A surrogate mimics one label a sample, but this network was trained on multilabel "
            "indicators. Mimic the network of one label, or a regressor."
        )
    decision = targets.decision(z, trained.loss)
    if decision.ndim == 1:
        decision = logits_of_margin(decision)
    return Answers(decision - decision.mean(axis=1, keepdims=True), trained.classes)
