"""A ticket of few weights beside both controls, on digits: the order that was published."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sklflat import BasinRewinder, SAMClassifier

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklflat.exceptions.NothingFoundWarning"),
]


def test_tickets_beat_the_same_mask_with_fresh_weights_and_that_beats_random_masks():
    """With 5 % of the weights; Frankle and Carbin (2019), figure 5, have this order."""
    X, y = load_digits(return_X_y=True)
    net = SAMClassifier((100,), learning_rate_init=0.003, rho=0, max_iter=20, batch_size=60)
    few = {"n_retrains": 2, "n_bootstrap": 2, "n_null": 10, "n_units": None}
    last = []
    for seed in range(2):
        rewinder = BasinRewinder(
            net, sparsity=0.95, prune="layerwise", rewind=0, n_controls=2, random_state=seed, **few
        ).fit((X / 16).astype(np.float32), y)
        scores = rewinder.rounds_.pivot_table(index="remaining", columns="network", values="score")
        assert scores["ticket"].iloc[-1] > 0.9  # all weights
        last.append(scores.iloc[0])
    ticket, fresh, random = (
        np.array([row[name] for row in last])
        for name in ("ticket", "re-initialised", "random pruning")
    )
    assert (ticket > fresh).all()
    assert (fresh > random).all()
    assert (ticket - fresh).mean() > 0.01
    assert (fresh - random).mean() > 0.02
