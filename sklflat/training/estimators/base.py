"""What the classifier and the regressor share: from ``fit`` to a trained net."""

import copy
from collections.abc import Callable
from contextlib import suppress
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from skorch import NeuralNet
from skorch.dataset import Dataset as ArrayDataset
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sklflat._compat import fit_context
from sklflat.exceptions import (
    DivergenceError,
    NonFiniteStepWarning,
    UnsupportedNetworkError,
    warn,
)
from sklflat.networks import MLP, OfParts, TaskLoss
from sklflat.networks.network import cast, copy_module, precision
from sklflat.networks.outputs import as_logits
from sklflat.training.engine.epochs import EpochLoop, Fitting, Record, run_alone
from sklflat.training.engine.loader import SampleOrder, TensorLoader
from sklflat.training.engine.net import INPUT, perturbed
from sklflat.training.engine.optimizer import check_velocity
from sklflat.training.engine.randomness import RandomStream
from sklflat.training.estimators import build, outputs
from sklflat.training.estimators.cloned_nets import cloned_net
from sklflat.training.estimators.containers import InputDataset, first_rows
from sklflat.training.estimators.data import Checkpoint, Inputs, TrainingData, weighted
from sklflat.training.estimators.destructive import warn_of_destruction
from sklflat.training.estimators.fitted import FittedNet
from sklflat.training.estimators.loss_landscape import MAX_SAMPLES, landscape_of
from sklflat.training.estimators.parameters import TrainingParameters, check_conflicts, check_solver
from sklflat.training.estimators.skorch_split import encoding_split


class PerturbedEstimator(FittedNet, TrainingParameters):
    """Base of the estimators whose training takes its gradient at a perturbed point.

    A subclass says what targets are: ``_check_y``, ``_make_targets``, ``_weights`` and
    ``_score_outputs``; and what the perturbation is: ``_make_perturbation`` and
    ``_finish_perturbation``.
    """

    #: of the training loss; the classifier makes it a parameter
    _temperature = 1.0
    #: whether no class weights are asked for
    _unweighted = True

    # --- fit, step by step ------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Inputs, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train on data.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features), or torch Dataset
            With ``net=``, also arrays of 3 or 4 dimensions and integers (token ids). A
            Dataset yields (input, label or target).
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, 0/1 indicators of several labels, or a regressor's targets. None for a
            Dataset.
        sample_weight : array-like of shape (n_samples,), default=None
            Rows of weight zero are left out.

        Returns
        -------
        self
        """
        run_alone(self._fitting(X, y, sample_weight))
        return self

    def _fitting(
        self,
        X: Inputs,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None = None,
        incremental: bool = False,
        classes: ArrayLike | None = None,
        setup: Callable[[], Checkpoint | None] | None = None,
    ) -> Fitting:
        """All of ``fit``: validate, build, train, finish.

        ``setup``, if given, is called when ``net_`` stands and may return a checkpoint.
        """
        # a generator of epochs, as a stack trains the epochs of many fits together
        fresh = not (hasattr(self, "net_") and (self.warm_start or incremental))
        data = self._validated(X, y, sample_weight, fresh, incremental, classes)
        self._random_state = check_random_state(self.random_state)
        if fresh:
            self._start(data.X)
        else:
            self._follow_parameters(incremental)
        checkpoint = None if setup is None else setup()
        if isinstance(self.net, NeuralNet):
            self._train_skorch(data, incremental)
        else:
            yield from self._train(data, incremental, checkpoint)
        self._finish(data.X)
        if not (incremental or isinstance(self.net, NeuralNet) or isinstance(data.X, Dataset)):
            warn_of_destruction(self, data.X, self._encode(data.y))

    def _validated(
        self,
        X: Inputs,
        y: ArrayLike | None,
        sample_weight: ArrayLike | None,
        fresh: bool,
        incremental: bool,
        classes: ArrayLike | None,
    ) -> TrainingData:
        """What is trained on: rows of weight zero influence neither batches nor splits."""
        check_conflicts(self)
        check_solver(self.solver)
        inputs, targets = self._validate(X, y, reset=fresh)
        if fresh:
            self._targets = self._make_targets(targets, classes)
        else:
            self._check_continues(targets, incremental)
        if isinstance(inputs, Dataset) and not (sample_weight is None and self._unweighted):
            raise ValueError(
                "sample_weight and class_weight need arrays; a torch Dataset brings none. "
                "Pass X and y as arrays, or sample the Dataset by weight."
            )
        weight = self._weights(inputs, targets, sample_weight, incremental)
        if weight is None or (weight == 1).all():  # the same, to the bit
            return TrainingData(inputs, targets)
        positive = weight > 0
        if not positive.any():
            raise ValueError("All sample weights are zero; at least one must be positive.")
        return TrainingData(inputs[positive], targets[positive], weight[positive])

    def _follow_parameters(self, incremental: bool) -> None:
        """Let a net that trains on follow parameters that were set since."""
        steps, net = self.net_.steps_, self.net_
        perturbation = self._make_perturbation()
        if type(perturbation) is not type(steps.perturbation):
            steps.state, steps.t = None, 0
        net.perturbation = steps.perturbation = perturbation
        if isinstance(self.net, NeuralNet):
            if not incremental:
                net._initialize_optimizer()
            check_velocity(perturbation, net.optimizer_)
            return
        net.l2 = steps.l2 = self.alpha
        net.criterion_.temperature = self._temperature
        if self.early_stopping != (self._record.validation_scores is not None):
            raise ValueError(
                f"early_stopping={self.early_stopping} differs from the fit that warm_start "
                "goes on from; the two keep different records. Fit anew with warm_start=False."
            )
        if not incremental:
            options = build.base_optimizer(self)
            net.optimizer_ = options.pop("optimizer")(net.module_.parameters(), **options)
        check_velocity(perturbation, net.optimizer_)

    # --- the net ----------------------------------------------------------------------------

    def _start(self, X: NDArray | Dataset) -> None:
        """Build and initialise ``net_`` for data like X."""
        self._record = Record.for_early_stopping() if self.early_stopping else Record()
        first = first_rows(X)
        self._sample_shape = tuple(first.shape[1:])
        parameters = {
            "perturbation": self._make_perturbation(),
            # depends on the random state, but does not advance it
            "seed": int(copy.deepcopy(self._random_state).randint(np.iinfo(np.int32).max)),
        }
        if isinstance(self.net, NeuralNet):
            self._build_skorch_net(first, parameters)
        else:
            self._build_net(first, parameters)

    def _choose_dtype(self, X: NDArray | Tensor, device: str) -> torch.dtype:
        if self.dtype is not None:
            return getattr(torch, self.dtype)
        single = str(X.dtype).endswith("float32") or not device.startswith("cpu")
        return torch.float32 if single else torch.float64

    def _settle_dtype(
        self, module: nn.Module, runs: Callable[[], Any], first: Any, device: str
    ) -> tuple[torch.dtype, tuple[int, ...]]:
        """Cast a module to the precision of training; that, and the shape of one output.

        ``runs()`` is the module, or a copy, as a function of inputs.
        """
        native, dtype = precision(module), self._choose_dtype(first, device)
        cast(module, dtype)
        try:
            return dtype, build.output_shape(runs(), self._input(first, dtype))
        except UnsupportedNetworkError:
            if self.dtype is not None or dtype == native:
                raise
        cast(module, native)  # the module itself asks for it
        return native, build.output_shape(runs(), self._input(first, native))

    def _build_net(self, first: NDArray | Tensor, parameters: dict[str, Any]) -> None:
        device = build.choose_device(self.device)
        stream = RandomStream(parameters["seed"], device)
        with stream.as_global():
            module = self._make_module(first.shape[1])
            self._embeds = build.reads_integers(module)
            dtype, shape = self._settle_dtype(module, lambda: copy_module(module), first, device)
            if self.net is None and isinstance(module, MLP):
                module.reset_parameters(self._random_state)
            self._loss, self._shape = self._targets.loss(shape[0] if shape else 1), None
            x = self._input(first, dtype)
            module = as_logits(module, x, self._loss, copy_module(module))
        self._is_read_by_net = False
        self.net_ = build.facade_net(
            module,
            TaskLoss(self._loss, self._temperature),
            self._n_classes,
            build.base_optimizer(self),
            l2=self.alpha,
            callbacks=list(self.callbacks),
            device=device,
            **parameters,
        ).initialize()
        # dropout goes on where the module's random weights ended
        self.net_.random_stream_ = stream
        self._dtype = dtype

    def _make_module(self, n_features: int) -> nn.Module:
        sizes: Any = self.hidden_layer_sizes
        sizes = tuple(sizes) if np.iterable(sizes) else (sizes,)
        if not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
            raise ValueError(
                f"hidden_layer_sizes must be > 0, got {list(sizes)}; widths are integers."
            )
        n_outputs = self._targets.n_outputs
        mlp = {"hidden_layer_sizes": sizes, "activation": self.activation, "dropout": self.dropout}
        module = build.make_module(self.net, n_features, n_outputs, self._n_classes, mlp)
        return module if self._parts is None else OfParts(module, self._parts)

    @property
    def _n_classes(self) -> int:
        """Number of classes, labels or targets."""
        return len(getattr(self._targets, "classes", range(self._targets.n_outputs)))

    def _build_skorch_net(self, first: NDArray | Tensor, parameters: dict[str, Any]) -> None:
        net_class: Any = type(self.net)
        own = cloned_net(self.net).get_params(deep=False)
        net = perturbed(net_class)(**{**own, **parameters}).initialize()
        self._embeds = build.reads_integers(net.module_)
        net.parts_ = self._parts
        net._set_training(False)
        with net.random_stream_.as_global():
            self._dtype, self._shape = self._settle_dtype(
                net.module_, lambda: net.infer, first, net.device
            )
            cast(net.criterion_, self._dtype)
            x = self._input(first, self._dtype)
            outputs.check_outputs(net, net.infer(x).detach())
        self._loss = self._targets.skorch_loss(net.criterion_, self._shape)
        self._is_read_by_net = outputs.needs_reading(net, is_classifier(self))
        self._targets.threshold = getattr(net, "threshold", 0.5)
        self.net_ = net

    # --- training ---------------------------------------------------------------------------

    def _dataset(self, data: TrainingData) -> InputDataset | ArrayDataset:
        if isinstance(data.X, Dataset):
            return InputDataset(data.X, self._input, self._encode(data.y))
        X = weighted(self._stored(data.X), data.weight, self._dtype)
        return ArrayDataset(X, self._encode(data.y))

    def _measure_landscape(self, dataset: Any, data: TrainingData) -> None:
        """Give the perturbation the loss on a part of the data, if it needs that."""
        steps, (_, y, weight) = self.net_.steps_, data
        if not steps.needs_landscape:
            return

        def score(z: NDArray, rows: NDArray) -> float:
            return self._score_outputs(
                self._read(z), y[rows], None if weight is None else weight[rows]
            )

        most = getattr(self, "max_samples", MAX_SAMPLES)
        steps.landscape = landscape_of(self.net_, dataset, score, most)

    def _train_skorch(self, data: TrainingData, incremental: bool) -> None:
        """Train by the user's own net: its epochs, split, iterators and callbacks."""
        net, dataset = self.net_, self._dataset(data)
        self._measure_landscape(dataset, data)
        own = (dataset, None) if isinstance(dataset, InputDataset) else (dataset.X, dataset.y)
        if own[1] is None and is_classifier(self):  # skorch reads classes off y
            net.classes_inferred_ = np.arange(self._n_classes)
        start = len(net.history)
        net.notify("on_train_begin", X=own[0], y=own[1])
        # skorch's callbacks stop training by an interrupt
        with suppress(KeyboardInterrupt), encoding_split(net, self._encode_dataset):
            net.fit_loop(*own, epochs=1 if incremental else None)
        net.notify("on_train_end", X=own[0], y=own[1])
        losses = [
            float(r["train_loss"]) for r in net.history.to_list()[start:] if "train_loss" in r
        ]
        self._record.loss_curve += losses
        self._record.n_iter = len(losses)
        self._record.t += len(data.y) * len(losses)
        self._record.best_loss = min(self._record.loss_curve, default=np.inf)

    def _train(
        self, data: TrainingData, incremental: bool, checkpoint: Checkpoint | None
    ) -> Fitting:
        """Train by the epochs of ``MLPClassifier``, going on from a checkpoint if there is one."""
        net, record, score = self.net_, self._record, None
        if self.early_stopping:
            if incremental:
                raise ValueError("partial_fit does not support early_stopping=True")
            data, score = self._hold_out(data)
        dataset = self._dataset(data)
        batches = self._batches(dataset, len(data.y))
        self._measure_landscape(dataset, data)
        net.notify("on_train_begin", X=data.X, y=data.y)
        if checkpoint is not None:
            checkpoint.restore(self, batches)
        n_epochs = 1 if incremental else None
        yield from EpochLoop(self, net, batches, record, score, n_epochs, checkpoint is not None)
        net.notify("on_train_end", X=data.X, y=data.y)
        if score is not None and record.best_weights is not None:
            net.module_.load_state_dict(record.best_weights)
            if not self.warm_start:
                record.best_weights = None  # they would double the size of a pickle

    def _batches(
        self, dataset: InputDataset | ArrayDataset, n_samples: int
    ) -> TensorLoader | DataLoader:
        size = min(200, n_samples) if isinstance(self.batch_size, str) else self.batch_size
        if size > n_samples:
            warn(
                f"Got batch_size={size}, larger than the sample size {n_samples}. It is going "
                "to be clipped.",
            )
            size = n_samples
        if isinstance(dataset, InputDataset):
            generator = self.net_.random_stream_.generators[0]
            return DataLoader(dataset, size, shuffle=self.shuffle, generator=generator)
        order = SampleOrder(n_samples, self._random_state) if self.shuffle else None
        x = dataset.X[INPUT] if isinstance(dataset.X, dict) else dataset.X
        least = build.least_batch(self.net_.module_, self._input(x[:2]).to(self.net_.device))
        build.check_batch(size, n_samples, least)
        cast = None if self._embeds else self._dtype
        return TensorLoader(dataset, size, order, self.net_.device, least, cast)

    def _hold_out(self, data: TrainingData) -> tuple[TrainingData, Callable[[], float]]:
        """Split off validation data; returns the rest and a function that scores the net."""
        if isinstance(data.X, Dataset):
            raise ValueError("early_stopping=True needs arrays; split a torch Dataset yourself.")
        parts = train_test_split(
            *(data[:2] if data.weight is None else data),
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=self._stratify(data.y),
        )
        rest, held_out = TrainingData(*parts[::2]), TrainingData(*parts[1::2])
        if len(held_out.X) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size "
                "of your dataset."
            )
        _, y, weight = held_out
        return rest, lambda: self._score_outputs(self._outputs(held_out.X), y, weight)

    def _finish(self, X: NDArray | Dataset) -> None:
        self._finish_perturbation(self.net_)
        self.net_.record_states()
        r, steps = self._record, self.net_.steps_
        self.n_iter_, self.t_ = r.n_iter, r.t
        self.loss_curve_, self.best_loss_ = r.loss_curve, r.best_loss
        self.loss_ = r.loss_curve[-1] if r.loss_curve else np.nan
        self.validation_scores_ = r.validation_scores
        self.best_validation_score_ = r.best_validation_score
        self.n_gradient_evaluations_ = steps.n_gradient_evaluations
        self.n_skipped_steps_ = steps.n_skipped_steps
        if steps.n_skipped_steps:
            warn(
                f"{steps.n_skipped_steps} training steps were left out because a gradient was "
                "not finite. Lower rho or learning_rate_init, or scale the inputs.",
                NonFiniteStepWarning,
            )
        if not isinstance(X, Dataset) and not np.isfinite(self._outputs(X[:200])).all():
            raise DivergenceError(
                f"After epoch {self.n_iter_} the network's predictions are not finite. Lower "
                "learning_rate_init or rho, or scale the inputs."
            )
