"""Running statistics of batch normalisation, computed anew for weights as they are."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recompute_batch_statistics(module: nn.Module, inputs: Iterable[Tensor]) -> int:
    """Replace running means and variances by those of inputs, at the present weights.

    Statistics that were gathered while weights moved, or at perturbed ones, are not those of the
    final weights. Means over batches are taken one after the other in one pass, as in training;
    dropout stays off.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place; ``training`` flags and momenta are left as they were.
    inputs : iterable of Tensor of shape (n, ...)
        Batches.

    Returns
    -------
    n_layers : int
        Layers whose statistics are new; without any, the inputs are not read.

    Examples
    --------
    >>> import torch
    >>> from sklflat.networks.batch_statistics import recompute_batch_statistics
    >>> norm = torch.nn.BatchNorm1d(1)
    >>> recompute_batch_statistics(norm, [torch.tensor([[1.0], [3.0]])])
    1
    >>> norm.running_mean, norm.running_var
    (tensor([2.]), tensor([2.]))
    """
    layers = [
        m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None
    ]
    if not layers:
        return 0
    flags = {m: m.training for m in module.modules()}
    momenta = [m.momentum for m in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain mean over batches
        layer.train()
    try:
        for x in inputs:
            if len(x) > 1:
                module(x.clone())
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
        for part, flag in flags.items():
            part.training = flag
    return len(layers)
