"""What a trained estimator can be asked."""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    is_classifier,
)
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from skorch import NeuralNet
from skorch.dataset import Dataset as ArrayDataset
from torch import Tensor, nn
from torch.utils.data import Dataset

from sklflat._compat import EstimatorMixin
from sklflat.curvature import sharpness
from sklflat.networks import MLP, Network, Parts
from sklflat.training.engine.protocols import TrainedNet
from sklflat.training.estimators import outputs
from sklflat.training.estimators.cloned_nets import cloned_net
from sklflat.training.estimators.containers import (
    INTEGERS,
    InputDataset,
    holds_integers,
    joined,
    plain,
    targets_of,
)
from sklflat.training.estimators.data import Inputs, as_input
from sklflat.training.estimators.opened import opened
from sklflat.training.estimators.targets import refuse_labels
from sklflat.training.estimators.trained_network import (
    TrainedNetwork,
    last_hidden,
    last_hidden_names,
    network_of,
    settling,
)

#: rows of integers that are cast at once
_N_AT_ONCE = 1024


class FittedNet(EstimatorMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Validation of data, predictions and properties of an estimator with ``net_``.

    Training sets ``net_``, ``_targets``, ``_loss`` (what outputs mean), ``_shape`` (of one
    output of a skorch net, else None), ``_dtype``, ``_embeds`` (whether integers are token ids)
    and ``_sample_shape``.
    """

    _targets: Any  # ClassTargets or RealTargets
    _loss: str
    _shape: tuple[int, ...] | None
    _dtype: torch.dtype
    _embeds: bool
    _sample_shape: tuple[int, ...]
    #: how several inputs by name lie in one array
    _parts: Parts | None = None
    _is_read_by_net: bool  # whether the net's own nonlinearity says what outputs mean
    _y_numeric: bool
    net_: Any

    def __sklearn_clone__(self) -> Any:
        bare = copy.copy(self)
        bare.net = None
        cloned = BaseEstimator.__sklearn_clone__(bare)
        cloned.net = cloned_net(self.net)
        return cloned

    def _validate(
        self, X: Inputs, y: ArrayLike | None, reset: bool
    ) -> tuple[NDArray | Dataset, NDArray]:
        if isinstance(X, Dataset):
            X = self._joined(X, reset)
            y = targets_of(X, y)
        else:
            X, y = self._validate_X(X, plain(y), reset=reset)
        return X, self._checked_y(y)

    def _joined(self, X: Inputs, reset: bool = False) -> Any:
        """One array or data set; several inputs by name are joined."""
        if self.net is not None:
            X, parts = joined(X, None if reset else self._parts)
            self._parts = parts if reset else self._parts
        return plain(X)

    def _validate_X(self, X: Inputs, *y: ArrayLike | None, reset: bool = False) -> Any:
        """Dense X in float32 or float64 (integers stay for a user's net); y if given."""
        X = self._joined(X, reset)
        keeps_integers = self.net is not None and holds_integers(X)
        if y and self._y_numeric:
            refuse_labels(y[0])
        checked = validate_data(
            self,
            X,
            *y,
            reset=reset,
            accept_sparse=True,
            allow_nd=self.net is not None,
            dtype=INTEGERS if keeps_integers else (np.float64, np.float32),
            **({"multi_output": True, "y_numeric": self._y_numeric} if y else {}),
        )
        X = checked[0] if y else checked
        X = X.toarray() if issparse(X) else X
        return (X, checked[1]) if y else X

    def _read_X(self, X: Inputs) -> NDArray | Dataset:
        """X to predict for, validated."""
        return self._joined(X) if isinstance(X, Dataset) else self._validate_X(X)

    def _input(self, X: ArrayLike | Tensor, dtype: torch.dtype | None = None) -> Tensor:
        X = as_input(X, dtype or self._dtype)
        if X.is_floating_point():
            return X
        return X.long() if self._embeds else X.to(dtype or self._dtype)

    def _stored(self, X: NDArray) -> Tensor:
        """Training inputs as they are kept: narrow integers are cast batch by batch."""
        narrow = X.dtype.kind in "iu" and X.dtype.itemsize < self._dtype.itemsize
        whole = self._embeds or self.net_.steps_.needs_landscape or isinstance(self.net, NeuralNet)
        return as_input(X, self._dtype) if narrow and not whole else self._input(X)

    def _inputs(self, X: NDArray | Dataset) -> Tensor | InputDataset:
        """What the network reads, of validated X."""
        return InputDataset(X, self._input) if isinstance(X, Dataset) else self._input(X)

    def _encode(self, y: NDArray) -> Tensor:
        encoded = self._targets.encode(y, self._loss)
        if self._shape is not None and encoded.ndim > 1:
            encoded = encoded.reshape(len(y), *self._shape)  # a skorch criterion wants its shape
        target = torch.as_tensor(encoded)
        return target.to(self._dtype) if target.is_floating_point() else target

    def _encode_dataset(self, dataset: Dataset) -> Dataset:
        """A data set of inputs and targets, as the network and the criterion want them."""
        y = self._encode(self._checked_y(targets_of(dataset)))
        dataset = self._joined(dataset)
        if isinstance(dataset, ArrayDataset):  # of whose arrays skorch's scorings make use
            return ArrayDataset(self._input(self._validate_X(dataset.X)), y)
        return InputDataset(dataset, self._input, y)

    def _outputs(self, X: NDArray | Dataset) -> NDArray:
        """Outputs (n_samples, k) in float64, as the net's own nonlinearity reads them."""
        network = self._opened()
        if isinstance(X, Dataset) or X.dtype.kind not in "iu":
            return self._read(network.outputs(self._inputs(X)).numpy())
        # integers, such as the bytes of pictures, are cast part by part
        parts = range(0, max(len(X), 1), _N_AT_ONCE)
        z = [network.outputs(self._input(X[i : i + _N_AT_ONCE])).numpy() for i in parts]
        return self._read(np.concatenate(z))

    def _opened(self) -> Network:
        """The network, to be asked and not to be changed."""
        net = self.net_
        if isinstance(self.net, NeuralNet):  # of whose class anything may be the user's own
            return network_of(net)
        return opened(net, (net.module_, net.criterion_, net.device), lambda: network_of(net))

    def _read(self, z: NDArray) -> NDArray:
        """Raw outputs as logits or predictions; those of a net that reads them itself, by it."""
        if not getattr(self, "_is_read_by_net", False):
            return z
        if is_classifier(self):
            return outputs.log_probabilities_by(self.net_, torch.as_tensor(z))
        return outputs.values_by(self.net_, torch.as_tensor(z))

    def _raw_predict(self, X: Inputs) -> NDArray:
        check_is_fitted(self)
        return self._outputs(self._read_X(X))

    def transform(self, X: Inputs) -> NDArray:
        """Activations of the last hidden layer.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            What ``fit`` accepts.

        Returns
        -------
        activations : ndarray of shape (n_samples, n_units), float64
            What the last affine layer reads, in evaluation mode.
        """
        check_is_fitted(self)
        X = self._inputs(self._read_X(X))
        return last_hidden(network_of(self.net_), X).numpy()

    def sharpness(self, X: Inputs, y: ArrayLike, rho: float = 0.05, *, steps: int = 1) -> float:
        """Rise of the loss on data within radius rho of the trained weights.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        rho : float, default=0.05
            Radius, in units of the parameters' Euclidean norm; need not be the one that was
            trained with.
        steps : int, default=1
            Ascent steps. One is the rise that SAM itself meets; more find higher rises. All
            are lower bounds of the maximum over the ball.

        Returns
        -------
        rise : float
            In units of the loss, without the L2 term; the network is in evaluation mode.

        References
        ----------
        Foret et al.: Sharpness-Aware Minimization. ICLR 2021, equation 1.
        """
        check_is_fitted(self)
        if not rho >= 0:
            raise ValueError(f"rho must be a radius >= 0, got {rho!r}.")
        X, y = self._validate(X, y, reset=False)
        network = network_of(self.net_)
        x, y = self._inputs(X), self._encode(y)
        x = torch.stack([x[i] for i in range(len(x))]) if isinstance(x, Dataset) else x
        w = network.vector.read()
        return sharpness(lambda w: network.loss_and_gradient(w, x, y), w, rho, steps)

    def trained_network(self) -> TrainedNetwork:
        """What the probes look into: the network as a private copy, and the way into it."""
        check_is_fitted(self)
        trained = TrainedNetwork(
            network_of(self.net_),
            self._targets,
            "softmax" if self._loss == "nll" else self._loss,
            lambda X: self._input(self._validate_X(X)),
            lambda y: self._encode(self._checked_y(y)),
        )
        if not is_classifier(self):
            return trained
        return settling(self.net_, trained, getattr(self, "_is_read_by_net", False))

    def _checked_y(self, y: Any) -> NDArray:
        y = y.toarray() if issparse(y) else np.asarray(y)  # multilabel indicators
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        self._check_y(y)
        return y

    @property
    def module_(self) -> nn.Module:
        """The trained torch module."""
        return self._fitted_net("module_").module_

    @property
    def cosine_to_sam_(self) -> float:
        """Cosine between the last perturbation of Fisher SAM and that of SAM."""
        state = self._fitted_net("cosine_to_sam_").steps_.state or {}
        if "cosine" not in state:
            raise AttributeError("cosine_to_sam_ exists for variant='fisher' only.")
        return float(state["cosine"])

    @property
    def coefs_(self) -> list[NDArray]:
        """Weights (fan_in, fan_out) of every layer of the default network."""
        return [m.weight.detach().cpu().numpy().T for m in self._linears("coefs_")]

    @property
    def intercepts_(self) -> list[NDArray]:
        """Biases (fan_out,) of every layer of the default network."""
        return [m.bias.detach().cpu().numpy() for m in self._linears("intercepts_")]

    @property
    def n_layers_(self) -> int:
        """Number of layers of the default network, input and output included."""
        return len(self._linears("n_layers_")) + 1

    def _linears(self, asked_for: str) -> list[nn.Linear]:
        module = self._fitted_net(asked_for).module_
        if not isinstance(module, MLP):
            raise AttributeError(f"{asked_for} exists for the default network only (net=None).")
        return module.linears

    def _fitted_net(self, asked_for: str) -> TrainedNet:
        if "net_" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no {asked_for} before fit.")
        return self.net_

    def get_feature_names_out(self, input_features: Any = None) -> NDArray:
        """Names of the columns of :meth:`transform`: those that probes give the units.

        Such as ``"hidden.relu_0[3]"``. Where the last affine layer reads no layer of units itself,
        but what normalisation or pooling makes of it, the class's name and a number.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Not used.

        Returns
        -------
        names : ndarray of str objects
        """
        numbered = super().get_feature_names_out(input_features)
        names = last_hidden_names(network_of(self.net_), self._made_up_rows(4))
        return numbered if names is None else np.array(names, dtype=object)

    @property
    def _n_features_out(self) -> int:
        return last_hidden(network_of(self.net_), self._made_up_rows(1)).shape[1]

    def _made_up_rows(self, n_rows: int) -> Tensor:
        """Inputs (n_rows, ...) of the shape of the training data: noise; zeros, for token ids."""
        shape = (n_rows, *self._sample_shape)
        drawn = np.random.RandomState(0).normal(size=shape)
        return self._input(np.zeros(shape, int) if self._embeds else drawn)
