"""Per-sample gradients of a net, for Fisher information."""

import torch
from torch import Tensor

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.criterion import label_weights
from sklflat.networks.functional import ParameterVector
from sklflat.networks.likelihood import drawn_scores
from sklflat.training.engine.protocols import Batch, TrainedNet

_CHUNK_BYTES = 2**28


def squared_gradients(
    net: TrainedNet, vector: ParameterVector, w: Tensor, batch: Batch, labels: str
) -> Tensor:
    """Mean (p,) over a batch of squared per-sample gradients at w (p,), by ``torch.func.vmap``.

    Sample weights and a criterion's class weights weight the mean; ignored samples are left out.
    ``labels`` are the batch's own ("data"), or drawn from the model's predictions ("model").
    """
    X, weight = net.split_input(batch[0])
    X, y = X.to(net.device), batch[1]
    share = torch.full((len(y),), 1 / len(y)) if weight is None else weight / weight.sum()
    if labels == "model":
        # the gradient in w at a drawn label is J' times that in the outputs
        loss = vector.function(net.module_, lambda output, score: (output * score).sum())
        output = vector.function(net.module_, lambda output: output)
        with net.random_stream_.as_global():
            y = drawn_scores(net.criterion_, output(w, X), y)
    else:
        loss = vector.function(
            net.module_, lambda output, y: net.get_loss(output, y, training=True)
        )
        share = _of_counted(share, label_weights(net.criterion_, y))

    def gradient(x: Tensor, target: Tensor) -> Tensor:
        return torch.func.grad(loss)(w, x[None], target[None])

    chunk = max(1, _CHUNK_BYTES // (w.numel() * w.element_size()))
    per_sample = torch.func.vmap(gradient, chunk_size=chunk, randomness="different")
    try:
        with net.random_stream_.as_global():
            g = per_sample(X, y)
    except RuntimeError as error:
        raise UnsupportedNetworkError(
            f"Per-sample gradients of {type(net.module_).__name__} cannot be vectorised "
            f"({error}). Use FisherSAM(fisher='batch'), or layers without batch statistics."
        ) from error
    share = share.to(g)
    # the mean over no label is NaN
    return share @ torch.where(share[:, None] > 0, g, 0).square()


def _of_counted(share: Tensor, label_weight: Tensor | None) -> Tensor:
    """Shares (n,) of samples whose labels have weights (n, ...)."""
    if label_weight is None:
        return share
    by_sample = label_weight.flatten(1).mean(1) if label_weight.ndim > 1 else label_weight
    product = share.to(by_sample) * by_sample
    return product / product.sum()
