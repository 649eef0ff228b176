"""The output layer of a network, and its refit by least squares."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sklflat.exceptions import UnsupportedNetworkError
from sklflat.networks.hooks import temporary_hooks
from sklflat.networks.network import Network
from sklflat.probing.sample import Sample

#: ridge, relative to the mean variance of what the output layer reads
_RIDGE = 1e-8


@dataclass(frozen=True)
class OutputLayer:
    """The ``torch.nn.Linear`` that runs last, once a pass, by its path in the module.

    Parameters
    ----------
    path : str
    """

    path: str

    @classmethod
    @torch.no_grad()
    def of(cls, network: Network, x: Tensor) -> "OutputLayer | None":
        """The output layer, found by running the network; None if there is none for every row."""
        ran: list[tuple[str, int]] = []

        def keep(path: str) -> Any:
            return lambda module, inputs, out: ran.append((path, inputs[0].ndim))

        parts = network.module.named_modules()
        linear = [(p, m) for p, m in parts if isinstance(m, nn.Linear)]
        with temporary_hooks(m.register_forward_hook(keep(path)) for path, m in linear):
            network.forward(x)
        if not ran or ran[-1][1] != 2 or [p for p, _ in ran].count(ran[-1][0]) > 1:
            return None
        return cls(ran[-1][0])

    def find(self, module: nn.Module) -> nn.Linear:
        """The layer in a twin of the module."""
        return module.get_submodule(self.path)  # type: ignore[return-value]

    @torch.no_grad()
    def inputs(
        self, sample: Sample, ablation: Any = None, *, of_layer: bool = False
    ) -> tuple[Tensor, Tensor]:
        """What the layer reads (n_samples, n_read), and the network's outputs.

        With ``ablation`` the units are replaced, and with ``of_layer`` the outputs are the layer's.
        """
        read, said = [], []
        layer = self.find(sample.network.module)

        def keep(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            read.append(inputs[0].clone())
            if of_layer:
                said.append(out.clone())

        replace = (lambda _, a: a) if ablation is None else ablation
        with layer.register_forward_hook(keep):
            for x in sample.network.batches(sample.X):
                with sample.units.replaced(replace):
                    z = sample.network.forward(x)
                if not of_layer:
                    said.append(z)
        return torch.cat(read), torch.cat(said)


@dataclass(frozen=True)
class Refit:
    """Weights (n_outputs, n_read) and biases (n_outputs,) of a refitted output layer."""

    W: NDArray
    bias: NDArray


@dataclass(frozen=True)
class Moments:
    """Weighted moments of what the output layer reads and of what it says.

    Parameters
    ----------
    G : ndarray of shape (n_read, n_read)
        Covariance of what is read, with a small ridge.
    B : ndarray of shape (n_read, n_outputs)
        Covariance of what is read and what is said by the whole network.
    a : ndarray of shape (n_read,)
    z : ndarray of shape (n_outputs,)
        Means.
    """

    G: NDArray
    B: NDArray
    a: NDArray
    z: NDArray

    @classmethod
    def of(cls, A: Tensor, z: Tensor, weights: NDArray) -> "Moments":
        """Moments over rows whose weights (n_samples,) add up to 1."""
        read, said = A.double().cpu().numpy(), z.double().cpu().numpy()
        a, mean = weights @ read, weights @ said
        centred = read - a
        weighted = weights[:, None] * centred
        G = weighted.T @ centred
        ridge = _RIDGE * max(float(np.trace(G)) / max(len(G), 1), np.finfo(float).tiny)
        return cls(G + ridge * np.eye(len(G)), weighted.T @ (said - mean), a, mean)

    def solve(self, kept: NDArray) -> Refit:
        """The output layer for what is kept (n_read,); other weights are 0."""
        W = np.zeros_like(self.B)
        i = np.flatnonzero(kept)
        if len(i):
            W[i] = np.linalg.solve(self.G[np.ix_(i, i)], self.B[i])
        return Refit(W.T, self.z - self.a @ W)


@torch.no_grad()
def with_output(module: nn.Module, output: OutputLayer, refit: Refit) -> nn.Module:
    """A copy of a module whose output layer has other weights and biases."""
    copied = copy.deepcopy(module)
    layer = output.find(copied)
    layer.weight.copy_(torch.as_tensor(refit.W).to(layer.weight))
    layer.bias = nn.Parameter(torch.as_tensor(refit.bias).to(layer.weight))
    return copied


def require_output(output: OutputLayer | None, module: nn.Module) -> OutputLayer:
    """The output layer, or an error that says what to do without one."""
    if output is None:
        raise UnsupportedNetworkError(
            f"refit=True needs a torch.nn.Linear that reads one vector a row and runs last, and "
            f"{type(module).__name__} has none. Set refit=False."
        )
    return output
