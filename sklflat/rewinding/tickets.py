"""Iterative magnitude pruning with rewinding, beside its two controls."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from sklflat.rewinding.pruning import OUTPUT_RATE
from sklflat.rewinding.recipe import Recipe, weights_of
from sklflat.training.runs import Training
from sklflat.training.runs.start import Start

#: share of the weights that a round removes at most, where their number is not given
RATE = 0.2
TICKET, REINITIALISED, RANDOM = "ticket", "re-initialised", "random pruning"


@dataclass(frozen=True)
class Round:
    """One level of sparsity: the mask, and what was trained with it.

    Parameters
    ----------
    remaining : float
        Share of the prunable weights that is left.
    mask : Tensor of shape (p,), bool
    trainings : dict of str to list of Training
        The ticket, networks of fresh weights with the same mask, and networks at the ticket's
        weights with random masks of the same number in each layer.
    """

    remaining: float
    mask: Tensor = field(repr=False)
    trainings: dict[str, list[Training]] = field(repr=False)

    @property
    def ticket(self) -> Training:
        """The training with the weights of the rewind point."""
        return self.trainings[TICKET][0]

    @property
    def controls(self) -> list[Training]:
        """The networks that the ticket is compared with."""
        return [t for name, own in self.trainings.items() if name != TICKET for t in own]

    def rows(self, score: Callable[[Training], float]) -> list[dict[str, Any]]:
        """One row a training that has not failed."""
        return [
            {
                "remaining": self.remaining,
                "network": name,
                "score": score(training),
                "epochs": epochs_of(training),
                "train_loss": float(training.estimator.loss_curve_[-1]),
            }
            for name, own in self.trainings.items()
            for training in own
            if training.error is None
        ]


def epochs_of(training: Training) -> int:
    """The epoch that early stopping chose; without it, the epochs until training stopped.

    Of a training that was rewound, epochs before the rewind point count, but are no choice.
    """
    start = training.start
    before = 0 if start is None else int(start.state.info["record"]["n_iter"])
    scores = (training.estimator.validation_scores_ or [])[before:]
    return before + int(np.argmax(scores)) + 1 if scores else int(training.estimator.n_iter_)


def n_rounds_for(sparsity: float, n_rounds: int | str) -> int:
    """Rounds of at most 20 % each, unless their number is given.

    Examples
    --------
    >>> from sklflat.rewinding.tickets import n_rounds_for
    >>> n_rounds_for(0.36, "auto"), n_rounds_for(0.37, "auto"), n_rounds_for(0.99, 3)
    (2, 3, 3)
    """
    if n_rounds != "auto":
        return int(n_rounds)
    return max(1, int(np.ceil(round(np.log1p(-sparsity) / np.log1p(-RATE), 9))))


def check_sparsity(sparsity: float, n_weights: int) -> None:
    """Raise a ValueError unless some weight is pruned."""
    if round((1 - sparsity) * n_weights) == n_weights:
        raise ValueError(
            f"sparsity={sparsity} of {n_weights} weights is none of them. Give a greater one."
        )


def find_ticket(
    recipe: Recipe,
    parent: Training,
    step: int,
    *,
    sparsity: float,
    n_rounds: int,
    scope: str,
    rewinding: str,
    n_controls: int,
    rng: np.random.RandomState,
) -> list[Round]:
    """Train, prune, rewind, and so on; then all controls of all rounds as one stack.

    Parameters
    ----------
    recipe : Recipe
    parent : Training
        The whole network, trained, with its state at ``step``.
    step : int
        What is rewound to.
    sparsity : float
        Share of the prunable weights to remove in all.
    n_rounds : int
    scope : {"global", "layerwise"}
    rewinding : {"weights", "learning_rate"}
        Whether weights go back to what they were at that step, or only the schedule does [2]_.
    n_controls : int
        Networks of each control in each round.
    rng : RandomState

    Returns
    -------
    rounds : list of Round
        The first is the whole network.

    References
    ----------
    .. [1] J. Frankle, M. Carbin, "The lottery ticket hypothesis", ICLR 2019.
       https://arxiv.org/abs/1803.03635
    .. [2] A. Renda, J. Frankle, M. Carbin, "Comparing rewinding and fine-tuning in neural network
       pruning", ICLR 2020. https://arxiv.org/abs/2003.02389
    """
    layers, state = recipe.layers, parent.states[step]
    rounds = [Round(1.0, layers.full(), {TICKET: [parent]})]
    kept = (1 - sparsity) ** (1 / n_rounds)
    kept_of_output = 1 - OUTPUT_RATE * (1 - kept)
    for k in range(1, n_rounds + 1):
        last, shares = rounds[-1], {"kept": kept**k, "kept_of_output": kept_of_output**k}
        mask = layers.pruned(last.mask, weights_of(last.ticket), scope=scope, **shares)
        weights = last.ticket.checkpoint() if rewinding == "learning_rate" else None
        start = Start(state, weights_of=weights)
        ticket = recipe.training(mask=mask, start=start)
        seeds = [int(rng.randint(2**31 - 1)) for _ in range(n_controls)]
        fresh = [recipe.training(mask=mask, seed=seed) for seed in seeds]
        masks = [layers.at_random(mask, rng) for _ in range(n_controls)]
        random = [recipe.training(mask=own, start=start) for own in masks]
        recipe.run([ticket])
        if ticket.error is not None:
            raise ticket.error
        trained = {TICKET: [ticket], REINITIALISED: fresh, RANDOM: random}
        rounds.append(Round(layers.remaining(mask), mask, trained))
    recipe.run([t for r in rounds for t in r.controls])
    return rounds
