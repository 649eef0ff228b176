"""A trained PyTorch module as a fitted scikit-learn estimator."""

import copy
import inspect
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, column_or_1d
from torch import Tensor, nn

from sklflat._compat import EstimatorMixin
from sklflat.exceptions import OutputWidthError
from sklflat.networks import Network, TaskLoss
from sklflat.networks.before_activation import settle_before_activation
from sklflat.networks.criterion import OF_NUMBERS
from sklflat.networks.network import copy_module
from sklflat.networks.outputs import N_SETTLED, as_logits, in_log_odds
from sklflat.probing.module_outputs import check_criterion, default_loss
from sklflat.training.estimators.build import choose_device, output_shape, takes_integers
from sklflat.training.estimators.containers import holds_integers, own_copy, plain
from sklflat.training.estimators.data import as_input
from sklflat.training.estimators.opened import opened
from sklflat.training.estimators.targets import ClassTargets, RealTargets
from sklflat.training.estimators.trained_network import Joining, TrainedNetwork

#: where X is of another shape than the module reads
_SHAPE_REMEDY = (
    "Give rows as the module reads them, such as (n, channels, height, width) to a Conv2d."
)

_CLASSIFY = (nn.CrossEntropyLoss, nn.NLLLoss, nn.BCELoss, nn.BCEWithLogitsLoss)


def from_module(
    module: nn.Module, criterion: Any = None, classes: Any = None, *, device: str = "cpu"
) -> Any:
    """A trained PyTorch module as a fitted estimator.

    The result predicts and scores, pickles, draws scikit-learn's displays, counts as frozen
    (``clone`` returns it as it is) and can be given to every probe.

    Parameters
    ----------
    module : torch.nn.Module
        Trained. It is copied, so later changes to it do not show.
    criterion : torch.nn.Module instance or class, default=None
        The loss it was trained with. ``None`` is cross-entropy where there are classes (the
        logistic loss, of one output for two), else half the squared error. ``NLLLoss`` means, as
        in PyTorch, that the module ends in log-probabilities, and ``BCELoss`` that it ends in a
        probability. Without a criterion, a module that is seen to end in softmax or sigmoid is
        taken for one of these.
    classes : array-like of shape (n_classes,), default=None
        Labels in the order of the module's outputs; a single output (``BCEWithLogitsLoss``)
        belongs to the second of two. ``None`` makes a regressor.
    device : {"cpu", "cuda", "auto"}, default="cpu"

    Returns
    -------
    estimator : ModuleClassifier or ModuleRegressor

    Raises
    ------
    TypeError
        If `module` is no module.
    ValueError
        If there are fewer than two classes, two of them are equal, or the criterion is of numbers.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from sklflat import from_module
    >>> module = torch.nn.Linear(1, 2)
    >>> with torch.no_grad():
    ...     _ = module.weight.copy_(torch.tensor([[-1.0], [1.0]])), module.bias.zero_()
    >>> from_module(module, classes=["negative", "positive"]).predict(np.array([[-3.0], [2.0]]))
    array(['negative', 'positive'], dtype='<U8')
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            f"module must be a torch.nn.Module instance, got {module!r}. Estimators and skorch "
            "nets go to the probes directly, fitted ones inside a FrozenEstimator."
        )
    criterion = criterion() if inspect.isclass(criterion) else criterion
    module, device = copy_module(module), choose_device(device)
    if classes is not None:
        n_classes = len(ModuleTargets(classes).given)  # raises, if they make no sense
        if isinstance(criterion, OF_NUMBERS):
            raise ValueError(
                f"{type(criterion).__name__} compares outputs with numbers, and classes= makes y "
                "labels. Leave classes out, or name the loss of labels that the module was "
                "trained with."
            )
        loss = TaskLoss(default_loss(module, n_classes))
        return ModuleClassifier(module, criterion or loss, classes, device)
    if isinstance(criterion, _CLASSIFY):
        raise ValueError(
            f"{type(criterion).__name__} needs to know which class each output stands for: pass "
            "classes=, the labels in the order of the module's outputs."
        )
    return ModuleRegressor(module, criterion or TaskLoss("squared"), device)


class ModuleTargets(ClassTargets):
    """Class labels of a module whose outputs may be in any order.

    Parameters
    ----------
    classes : array-like of shape (n_classes,)
        In the order of the outputs.
    """

    def __init__(self, classes: Any) -> None:
        given = column_or_1d(classes)
        if len(given) < 2 or len(np.unique(given)) < len(given):
            raise ValueError(f"classes must hold at least two different labels, got {given}.")
        super().__init__(given)
        self.given = given
        self.order = np.argsort(given)

    def _mismatch(self, width: int) -> OutputWidthError:
        return OutputWidthError(
            f"`classes` has {len(self.given)} labels, the module {width} outputs: pass "
            "from_module(module, classes=[one label an output]), in the order of the outputs."
        )

    def encode(self, y: np.ndarray, loss: str) -> np.ndarray:
        """Indices of outputs (n,), or 0.0 and 1.0 of shape (n, 1) for the logistic loss."""
        encoded = super().encode(y, loss)
        return self.order[encoded.astype(int)].astype(encoded.dtype)

    def decision(self, z: np.ndarray, loss: str) -> np.ndarray:
        """Logits in the order of the sorted classes: (n,) for two classes, else (n, k)."""
        if loss == "logistic":
            return super().decision(z if self.order[0] == 0 else -z, loss)
        return super().decision(z[:, self.order], loss)


#: targets of classifiers, which take longer to make than a row to predict
_TARGETS: WeakKeyDictionary[Any, tuple[list[Any], ModuleTargets]] = WeakKeyDictionary()


class ModuleValues(RealTargets):
    """Real targets of a module with any number of outputs."""

    def __init__(self, loss: str) -> None:
        super().__init__(np.zeros((1, 1)), loss)

    def predict(self, z: np.ndarray) -> np.ndarray:
        """Predictions (n,) of one output, (n, k) of several."""
        values = super().predict(z)
        return values[:, 0] if values.shape[1] == 1 else values


class FittedModule(EstimatorMixin, BaseEstimator):
    """What both kinds share. Fitted from the start, and not to be fitted again."""

    module: Any
    criterion: Any
    device: str
    transformer: Any
    _loss = "squared"

    def __sklearn_clone__(self) -> Any:
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Any, y: Any = None) -> Any:
        """Do nothing: the module is trained.

        Parameters
        ----------
        X : ignored
        y : ignored

        Returns
        -------
        self : object
        """
        return self

    @property
    def _targets(self) -> Any:
        raise NotImplementedError

    def _to_input(self, X: Any, network: Network) -> Tensor:
        X = plain(X)
        keeps_integers = holds_integers(X) and takes_integers(network, X)
        dtype = np.int64 if keeps_integers else (np.float64, np.float32)
        X = check_array(X, accept_sparse=True, allow_nd=True, dtype=dtype)
        X = X.toarray() if issparse(X) else X
        return as_input(X, torch.float64)

    def _to_target(self, y: Any) -> Tensor:
        y = np.asarray(y)
        encoded = self._targets.encode(column_or_1d(y) if y.shape[1:] == (1,) else y, self._loss)
        return torch.as_tensor(encoded)

    def trained_network(self) -> TrainedNetwork:
        """The network as a private copy, and how data become its input.

        What its outputs mean is settled by the first data that come in.
        """
        return self._trained(self._open())

    def _open(self) -> Network:
        module, criterion = self.module, self.criterion
        if isinstance(criterion, nn.BCELoss):
            module, criterion = in_log_odds(module, criterion)
        return Network(module, criterion, device=self.device)

    def _trained(self, network: Network) -> TrainedNetwork:

        join = Joining(network)

        def to_input(X: Any) -> Tensor:
            X = X if self.transformer is None else self.transformer.transform(own_copy(plain(X)))
            x = self._to_input(join(X), network)
            self._settle(network, x)
            return x

        return TrainedNetwork(network, self._targets, self._loss, to_input, self._to_target)

    def _settle(self, network: Network, x: Tensor) -> None:
        """Let a network whose loss nobody has said end in logits, if it ends in probabilities."""
        if "outputs" in network.verified or not len(x):
            return
        self._check_width((*output_shape(network.forward, x[:2], _SHAPE_REMEDY), 1)[0])
        if isinstance(network.criterion.module, TaskLoss):
            forward = network.forward
            network.module = as_logits(network.module, x[:N_SETTLED], self._loss, forward)
        else:
            check_criterion(self.criterion, network, x[:N_SETTLED])
        settle_before_activation(network, x[:N_SETTLED])
        network.verified.add("outputs")

    def _check_width(self, width: int) -> None:
        """Raise an OutputWidthError if these are no outputs for the targets."""

    def _outputs(self, X: Any) -> np.ndarray:
        network = copy.copy(opened(self, (self.module, self.criterion, self.device), self._open))
        network.verified = set()  # what outputs mean is settled anew
        x = self._trained(network).to_input(X)
        return network.outputs(x).numpy()


class ModuleClassifier(ClassifierMixin, FittedModule):
    """A trained module as a fitted classifier; made by :func:`~sklflat.from_module`.

    Parameters
    ----------
    module : torch.nn.Module
    criterion : torch.nn.Module
    classes : array-like of shape (n_classes,)
        In the order of the outputs.
    device : str, default="cpu"
    transformer : fitted transformer, default=None
        What X goes through before it reaches the module.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted, whatever the order of the outputs.
    """

    def __init__(
        self,
        module: Any,
        criterion: Any,
        classes: Any,
        device: str = "cpu",
        transformer: Any = None,
    ) -> None:
        self.module = module
        self.criterion = criterion
        self.classes = classes
        self.device = device
        self.transformer = transformer

    @property
    def _targets(self) -> ModuleTargets:
        classes = list(self.classes)
        before, targets = _TARGETS.get(self, (None, None))
        if targets is None or classes != before:
            targets = ModuleTargets(self.classes)
            _TARGETS[self] = classes, targets
        return targets

    @property
    def _loss(self) -> str:  # type: ignore[override]
        return "logistic" if _is_logistic(self.criterion) else "softmax"

    @property
    def classes_(self) -> np.ndarray:
        """Sorted class labels."""
        return self._targets.classes

    def _check_width(self, width: int) -> None:
        if self._targets.loss(width) != self._loss:
            raise OutputWidthError(
                f"The module has {width} outputs for the classes {self.classes_} and the "
                f"criterion {type(self.criterion).__name__}. One output goes with "
                "criterion=BCEWithLogitsLoss() (BCELoss() after a sigmoid), one output a class "
                "with CrossEntropyLoss()."
            )

    def decision_function(self, X: Any) -> np.ndarray:
        """Logits in float64.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes the margin of ``classes_[1]`` over ``classes_[0]``.
        """
        targets, z = self._targets, self._outputs(X)
        return targets.decision(z, self._loss)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities: softmax (or sigmoid) of the logits.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
        """
        return self._targets.proba(self.decision_function(X))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        y : ndarray of shape (n_samples,)
        """
        return self._targets.predict(self.decision_function(X))


class ModuleRegressor(RegressorMixin, FittedModule):
    """A trained module as a fitted regressor; made by :func:`~sklflat.from_module`.

    Parameters
    ----------
    module : torch.nn.Module
    criterion : torch.nn.Module
    device : str, default="cpu"
    transformer : fitted transformer, default=None
        What X goes through before it reaches the module.
    """

    def __init__(
        self, module: Any, criterion: Any, device: str = "cpu", transformer: Any = None
    ) -> None:
        self.module = module
        self.criterion = criterion
        self.device = device
        self.transformer = transformer

    @property
    def _targets(self) -> ModuleValues:
        own = self.criterion
        of_logs = isinstance(own, nn.PoissonNLLLoss) and own.log_input
        poisson = of_logs or (isinstance(own, TaskLoss) and own.loss == "poisson")
        return ModuleValues("poisson" if poisson else "squared_error")

    def predict(self, X: Any) -> np.ndarray:
        """The module's outputs.

        Parameters
        ----------
        X : array-like of shape (n_samples, ...)

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        """
        return self._targets.predict(self._outputs(X))


def _is_logistic(criterion: Any) -> bool:
    return isinstance(criterion, (nn.BCELoss, nn.BCEWithLogitsLoss)) or (
        isinstance(criterion, TaskLoss) and criterion.loss == "logistic"
    )
