"""Running statistics of batch normalisation, computed anew for weights as they are."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.hooks import temporary_hooks
from sklflat.networks.moments import RunningMoments


def tracking_layers(module: nn.Module) -> dict[str, Any]:
    """Layers of batch and instance normalisation, by name, that keep running statistics."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, (_BatchNorm, _InstanceNorm)) and layer.running_mean is not None
    }


@torch.no_grad()
def recompute_batch_statistics(
    module: nn.Module, inputs: Iterable[Tensor], *, unbiased: bool = True
) -> int:
    r"""Replace running means and variances by those of all rows, at the present weights.

    Statistics that were gathered while weights moved, or at perturbed ones, are not those of the
    final weights. They become what one pass in training mode over all rows as a single batch would
    make of them, however the rows are cut into batches: pooled moments

    .. math:: \mu = \frac1n \sum_i x_i, \qquad \sigma^2 = \frac{1}{n - 1} \sum_i (x_i - \mu)^2

    over the n values of a channel, with the layers before normalised by theirs. That takes one
    pass over a single batch, and over several as many as the network calls such layers. Dropout
    stays off. A layer that is called several times in a pass gets the mean over its calls, as in
    training; one of instance normalisation the mean over instances.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place; ``training`` flags and momenta are left as they were.
    inputs : iterable of Tensor of shape (n, ...)
        Batches, of any number of rows.
    unbiased : bool, default=True
        Whether variances are divided by n - 1, as PyTorch keeps them, or by n, as it normalises
        a batch in training.

    Returns
    -------
    n_layers : int
        Layers whose statistics are new; without any, the inputs are not read.

    Raises
    ------
    ValueError
        If a channel has a single value, which has no variance.
    UnsupportedNetworkError
        If it depends on the rows which layers are called.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.batch_statistics import recompute_batch_statistics
    >>> norm = torch.nn.BatchNorm1d(1)
    >>> recompute_batch_statistics(norm, [torch.tensor([[1.0], [2.0]]), torch.tensor([[6.0]])])
    1
    >>> norm.running_mean, norm.running_var
    (tensor([3.]), tensor([7.]))
    """
    layers = list(tracking_layers(module).values())
    if not layers:
        return 0
    gathering = _Gathering([x for x in inputs if len(x)])
    hooks = [layer.register_forward_pre_hook(gathering.before) for layer in layers]
    with temporary_hooks(hooks), _evaluated(module, layers):
        gathering.run(module)
    gathering.write(unbiased)
    return len(layers)


class _StopForward(Exception):
    """What is needed of this forward pass has been computed."""


class _Call:
    """One call of a layer in each pass: the moments of its inputs over all batches."""

    def __init__(self, layer: Any) -> None:
        self.layer: Any = layer
        self.n_batches = 0
        self._values = RunningMoments()
        #: mean unbiased variance of instances
        self._within = RunningMoments()

    def add(self, x: Tensor) -> None:
        """A batch (n, channels, ...)."""
        self.n_batches += 1
        if isinstance(self.layer, _BatchNorm):
            values = x.transpose(0, 1).flatten(1)
            variance, mean = torch.var_mean(values, 1, correction=0)
            n = values.shape[1]
            self._values.merge(n, mean.double(), n * variance.double())
        else:
            values = x.flatten(2)
            variance, mean = torch.var_mean(values, 2, correction=1)
            self._values.add(mean.double())
            self._within.add(variance.double())

    def use(self) -> None:
        """Let the layer normalise by these moments, as it does in training."""
        layer: Any = self.layer
        if isinstance(layer, _InstanceNorm):
            return
        layer.running_mean.copy_(self._values.mean)
        layer.running_var.copy_(self._values.squares / self._values.n)

    def statistics(self, unbiased: bool) -> tuple[Tensor, Tensor]:
        """Mean and variance, (channels,) each."""
        if not isinstance(self.layer, _BatchNorm):
            return self._values.mean, self._within.mean
        if self._values.n < 2:
            raise ValueError(
                "Batch normalisation needs at least two values of a channel for a variance, got "
                f"{self._values.n}: give it more rows."
            )
        return self._values.mean, self._values.squares / (self._values.n - unbiased)


class _Gathering:
    """The moments of all calls of some layers, in the order in which they are made.

    A call can only be known on all rows once those before it are. So a pass over several batches
    goes no further than the first call that is not known yet.
    """

    def __init__(self, batches: Sequence[Tensor]) -> None:
        self.batches = batches
        self.calls: list[_Call] = []
        self._position = 0
        self._n_known = 0

    def run(self, module: nn.Module) -> None:
        """Pass over the batches until all calls are known."""
        while True:
            self._n_known = len(self.calls)
            for x in self.batches:
                self._position = 0
                with suppress(_StopForward):
                    module(x.clone())
            if self._n_known == len(self.calls) or len(self.batches) == 1:
                return
            if self.calls[-1].n_batches < len(self.batches):
                raise UnsupportedNetworkError(
                    f"Which layers of {type(module).__name__} run depends on the rows, so that "
                    "the statistics of its batch normalisation are not defined."
                )

    def before(self, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        """Gather the input of a call of a layer, or let the layer use what is known of it."""
        k, self._position = self._position, self._position + 1
        if k == len(self.calls):
            self.calls.append(_Call(layer))
        call = self.calls[k]
        if call.layer is not layer:
            raise UnsupportedNetworkError(
                "The order in which a network calls its normalisation layers depends on the rows, "
                "so that their statistics are not defined."
            )
        if k >= self._n_known:
            call.add(given[0])
            if len(self.batches) > 1:
                raise _StopForward
        call.use()

    def write(self, unbiased: bool) -> None:
        """Give every layer that was called the mean of the statistics of its calls."""
        for layer in {call.layer: None for call in self.calls}:
            own = [call.statistics(unbiased) for call in self.calls if call.layer is layer]
            mean, variance = (torch.stack(part).mean(0) for part in zip(*own, strict=True))
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
            layer.num_batches_tracked.fill_(len(own))


@contextmanager
def _evaluated(module: nn.Module, layers: Sequence[Any]) -> Iterator[None]:
    """Evaluation mode, but with instances normalised by themselves; flags are put back."""
    flags = {part: part.training for part in module.modules()}
    momenta = [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.training = isinstance(layer, _InstanceNorm)
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for part, flag in flags.items():
            part.training = flag
