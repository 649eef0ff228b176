"""Adam as scikit-learn has it: the stabiliser is added before the bias is corrected."""

import math
from collections.abc import Callable
from typing import Any

import torch


def eps_of_step(eps: float, beta2: float, n_steps: float) -> float:
    r"""What torch's Adam has to add in a step to be scikit-learn's.

    .. math::
        \frac{m}{\sqrt{v} + \epsilon} \sqrt{1 - \beta_2^t}
        = \frac{m}{\sqrt{v / (1 - \beta_2^t)} + \epsilon / \sqrt{1 - \beta_2^t}}

    ``n_steps`` is t, from 1.

    Examples
    --------
    >>> from sklflat.training.engine.scikit_learn_adam import eps_of_step
    >>> eps_of_step(1e-8, 0.75, 1)
    2e-08
    """
    return eps / math.sqrt(1 - beta2**n_steps)


class ScikitLearnAdam(torch.optim.Adam):
    """``torch.optim.Adam`` with the steps of :class:`sklearn.neural_network.MLPClassifier`.

    Both are Adam; the paper names the two places of the stabiliser, "epsilon hat" and epsilon. They
    differ where gradients are as small as epsilon, as those of units that hardly ever fire.

    References
    ----------
    D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, section 2.
    https://arxiv.org/abs/1412.6980
    """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; see ``torch.optim.Adam``."""
        given = [group["eps"] for group in self.param_groups]
        try:
            for group in self.param_groups:
                states = (self.state.get(p, {}) for p in group["params"])
                count = next((float(state["step"]) for state in states if "step" in state), 0.0)
                group["eps"] = eps_of_step(group["eps"], group["betas"][1], count + 1)
            return super().step(closure)
        finally:
            for group, eps in zip(self.param_groups, given, strict=True):
                group["eps"] = eps
