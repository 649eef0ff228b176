"""The loop over epochs: why it ends, and that a checkpoint from before it said so is read."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import Callback

from sklflat import SAMClassifier
from sklflat.training.engine.epochs import Record, run_alone

X, Y = [[0.0], [1.0], [0.1], [0.9]] * 5, [0, 1, 0, 1] * 5


class StopIn(Callback):
    """A callback that asks for the end in an epoch's hook."""

    def __init__(self, hook, epoch):
        self.hook, self.epoch = hook, epoch

    def _stop(self, hook, net):
        if hook == self.hook and len(net.history) == self.epoch:
            raise KeyboardInterrupt

    def on_epoch_begin(self, net, **kwargs):
        self._stop("on_epoch_begin", net)

    def on_epoch_end(self, net, **kwargs):
        self._stop("on_epoch_end", net)


@pytest.mark.parametrize(
    ("parameters", "ended", "n_iter"),
    [
        ({"tol": 1.0, "n_iter_no_change": 2}, "converged", 4),
        ({}, "all epochs", 5),
        ({"callbacks": [StopIn("on_epoch_end", 3)]}, "callback", 3),
        # skorch's history has a row for the epoch that begins
        ({"callbacks": [StopIn("on_epoch_begin", 3)]}, "callback", 2),
    ],
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_record_says_why_training_ended(parameters, ended, n_iter):
    clf = SAMClassifier((3,), max_iter=5, random_state=0, **parameters).fit(X, Y)
    assert clf._record.ended == ended
    assert clf.n_iter_ == n_iter == len(clf.loss_curve_)


def test_an_interrupted_training_is_not_an_ended_one():
    clf = SAMClassifier((3,), max_iter=5, random_state=0)
    fitting = clf._fitting(X, Y)
    next(fitting).run()
    next(fitting).run()
    request = next(fitting)
    with pytest.warns(UserWarning, match="interrupted by user"), pytest.raises(StopIteration):
        fitting.throw(KeyboardInterrupt())
    assert request.net is clf.net_
    assert (clf._record.ended, clf.n_iter_) == ("interrupted", 2)


def test_warnings_point_at_the_line_that_called_fit():
    with pytest.warns(UserWarning, match="clipped|converged") as caught:
        SAMClassifier((3,), max_iter=2, batch_size=50, random_state=0).fit(X, Y)
    assert [w.category for w in caught] == [UserWarning, ConvergenceWarning]
    assert {w.filename for w in caught} == {__file__}


def test_partial_fit_runs_all_the_epochs_that_it_was_asked_for():
    clf = SAMClassifier((3,), random_state=0).partial_fit(X, Y, classes=[0, 1])
    assert clf._record.ended == "all epochs"
    run_alone(clf._fitting(X, Y, incremental=True, classes=[0, 1]))
    assert clf.n_iter_ == 1
    assert len(clf.loss_curve_) == 2


def test_a_record_of_before_it_said_why_it_ended_is_read():
    assert Record(n_iter=3, converged=True).ended == "converged"
    assert Record(n_iter=3, converged=False).ended is None
    assert "converged" not in vars(Record(converged=True))


def test_the_history_has_the_losses_and_which_was_the_best_so_far():
    X, y = load_digits(return_X_y=True)
    clf = SAMClassifier((8,), max_iter=12, learning_rate_init=0.3, random_state=0, batch_size=50)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        clf.fit(X[:100] / 16, y[:100])
    rows = clf.net_.history[:, ("epoch", "train_loss", "train_loss_best", "train_batch_count")]
    losses = np.array(clf.loss_curve_)
    best = np.diff(np.minimum.accumulate(losses), prepend=np.inf) < 0
    assert not best.all()
    expected = zip(range(1, 13), losses.tolist(), best.tolist(), [2] * 12, strict=True)
    assert rows == list(expected)
