"""Per-sample gradients of a net, for Fisher information."""

import torch
from torch import Tensor

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.functional import ParameterVector
from sklflat.networks.losses import draw_labels
from sklflat.training.engine.protocols import Batch, TrainedNet

_CHUNK_BYTES = 2**28


def squared_gradients(
    net: TrainedNet, vector: ParameterVector, w: Tensor, batch: Batch, labels: str
) -> Tensor:
    """Mean (p,) over a batch of squared per-sample gradients at w (p,), by ``torch.func.vmap``.

    Sample weights weight the mean. ``labels`` are the batch's own ("data"), or drawn from the
    model's predictions ("model").
    """
    X, weight = net.split_input(batch[0])
    X, y = X.to(net.device), batch[1]
    loss = vector.function(net.module_, lambda output, y: net.get_loss(output, y, training=True))
    if labels == "model":
        output = vector.function(net.module_, lambda output: output)
        with net.random_stream_.as_global():
            y = draw_labels(net.criterion_, output(w, X))

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
    share = torch.full((len(g),), 1 / len(g)) if weight is None else weight / weight.sum()
    return share.to(g) @ g.square()
