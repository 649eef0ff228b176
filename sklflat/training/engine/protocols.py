"""What the loops need of a network that is trained."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sklflat.training.engine.randomness import RandomStream
from sklflat.training.engine.step import PerturbedStep

#: inputs (a tensor, or a dictionary with sample weights beside it) and targets
Batch = Sequence[Any]


class TrainedNet(Protocol):
    """An initialised skorch net with perturbed steps, as :class:`PerturbedNetMixin` makes it."""

    module_: nn.Module
    criterion_: nn.Module
    optimizer_: torch.optim.Optimizer
    steps_: PerturbedStep
    random_stream_: RandomStream
    history: Any
    device: str

    def infer(self, x: Any) -> Tensor:
        """The module's output."""

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        """The loss of a batch."""

    def split_input(self, X: Any) -> tuple[Any, Tensor | None]:
        """A batch's input as the network's input and sample weights."""

    def batch_weight(self, batch: Batch) -> float:
        """Number of samples in a batch, or the sum of their weights."""

    def begin_step(self, sync: Callable[[], None], epoch: Any = None) -> None:
        """Count a step and take the snapshots before it."""

    def user_classes(self) -> list[type]:
        """Base classes that are neither skorch's nor this package's."""

    def notify(self, method_name: str, **cb_kwargs: Any) -> None:
        """Call a method of all callbacks."""

    def train_step(self, batch: Batch, **fit_params: Any) -> dict[str, Any]:
        """Train on one batch."""

    def run_single_epoch(
        self, iterator: Iterable[Batch], training: bool, prefix: str, step_fn: Callable[..., Any]
    ) -> None:
        """Train for one pass over batches."""

    def _set_training(self, training: bool = True) -> None: ...
