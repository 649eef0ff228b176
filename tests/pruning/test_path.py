"""PruningPath as a user sees it: what is selected, what is said, what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array, dok_array
from sklearn.datasets import load_digits
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat import PruningDisplay, PruningPath, SAMClassifier, SAMRegressor, from_module
from sklflat.exceptions import NothingFoundWarning, OutputWidthError, UnsupportedNetworkError
from sklflat.pruning.findings import findings

RNG = np.random.RandomState(0)
X = RNG.normal(size=(1200, 3))
FEW = {"n_random": 3, "random_state": 0}


def planted(n_idle=4):
    """y = |x0| + relu(x1) with three ReLU units; the others feed the output with nothing."""
    module = nn.Sequential(nn.Linear(3, 3 + n_idle), nn.ReLU(), nn.Linear(3 + n_idle, 1)).double()
    incoming = RNG.normal(size=(3 + n_idle, 3))
    incoming[:3] = [[1, 0, 0], [-1, 0, 0], [0, 1, 0]]
    with torch.no_grad():
        module[0].weight.copy_(torch.as_tensor(incoming))
        module[0].bias.zero_(), module[2].bias.zero_(), module[2].weight.zero_()
        module[2].weight[0, :3] = 1.0
    return from_module(module), np.abs(X[:, 0]) + np.maximum(X[:, 1], 0)


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_the_planted_units_are_found_and_the_others_can_go(refit, direction):
    network, y = planted()
    path = PruningPath(network, refit=refit, direction=direction, **FEW).fit(X, y)
    assert path.get_support(indices=True).tolist() == [0, 1, 2]
    assert path.n_units_ == 3
    assert path.transform(X).shape == (1200, 3)
    small = from_module(path.to_module())
    np.testing.assert_allclose(small.predict(X), y, atol=1e-6)
    assert path.path_.at(3)["score"] == pytest.approx(1.0)
    assert "3 of 7 units are kept" in path.findings_[0]


def test_scores_are_those_of_the_smaller_network():
    X, y = load_digits(return_X_y=True)
    path = PruningPath(SAMClassifier((32,), max_iter=30), n_units=10, **FEW).fit(X / 16, y)
    judged = np.setdiff1d(np.arange(len(X)), _chosen(path, X, y))
    small = from_module(path.to_module(), classes=range(10))
    score = small.score(X[judged] / 16, y[judged])
    assert path.path_.at(10)["score"] == pytest.approx(score, abs=1e-9)
    assert path.path_.full_score == pytest.approx(path.estimator_.score(X[judged] / 16, y[judged]))
    assert len(repr(path.path_)) < 100  # in a notebook
    frame = path.path_.to_frame()
    assert {"score", "low", "high", "single ablation", "magnitude", "random"} < set(frame)
    assert (frame["low"] <= frame["drop"] + 1e-12).all()
    assert (frame["high"] >= frame["drop"] - 1e-12).all()
    display = PruningDisplay.from_estimator(path)
    assert display.ax_.get_ylabel() == "accuracy, judged rows"
    assert "score" in str(path.unit_card(path.unit_names_[0]))
    assert path.to_frame()["place"].sort_values().tolist() == list(range(1, 33))


def _chosen(path, X, y):
    from sklearn.utils import check_random_state

    from sklflat.probing.nulls import seeded
    from sklflat.probing.split import Rows, split_rows

    rng = check_random_state(path.random_state)
    seeded(path.estimator, rng)
    return split_rows(Rows(X, y, {}), path.holdout, True, rng)[0].numbers


def test_smallest_is_read_from_the_whole_downwards():
    """A small number that passes below one that does not is chance, and is not taken."""
    network, y = planted()
    table = PruningPath(network, **FEW).fit(X, y).path_
    table.path.high[:] = [1, 1, 0, 1, 0, 0, 0, 0]
    assert table.smallest_within(0.5) == 4


def test_it_says_where_reading_ended_and_that_a_smaller_number_would_be_within():
    network, y = planted()
    path = PruningPath(network, **FEW).fit(X, y)
    assert any("2 is the first that is not shown to be within" in f for f in path.findings_)
    assert not any("by its own interval" in f for f in path.findings_)
    path.path_.path.high[:] = [1, 1, 0, 1, 0, 0, 0, 0]
    path.n_units_ = 4
    said = findings(path, 1.0, 7)
    assert any("3 is the first that is not" in f and "2 would be by its own" in f for f in said)


def test_with_all_units_kept_no_random_set_is_spoken_of():
    network, y = planted()
    path = PruningPath(network, n_units=None, **FEW).fit(X, y)
    assert path.findings_[0].startswith("All 7 units are kept, the output layer refitted")
    assert path.findings_[-1] == "All 7 units were kept, so there is no other set of as many."
    network.module[0].weight.data[6] = 0  # a unit without input is dead
    path = PruningPath(network, n_units=None, **FEW).fit(X, y)
    assert path.findings_[-1].startswith("All 6 units that are alive were kept")


def test_frames_strings_pipelines_and_weights():
    y = np.where(X[:, 0] > 0, "yes", "no")
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    network = SAMClassifier((6,), max_iter=20, learning_rate_init=0.01)
    settings = {"tol": 0.2, **FEW}
    path = PruningPath(make_pipeline(StandardScaler(), network), **settings)
    path.fit(frame, y, samclassifier__sample_weight=np.ones(len(y)))
    plain = PruningPath(make_pipeline(StandardScaler(), network), **settings).fit(frame, y)
    np.testing.assert_array_equal(path.order_, plain.order_)
    assert path.set_output(transform="pandas").transform(frame).columns[0].startswith("hidden")
    frozen = PruningPath(FrozenEstimator(plain.estimator_), **settings)
    weight = np.r_[np.ones(600), np.zeros(600)]
    weighted = frozen.fit(frame, y, sample_weight=weight)
    assert 100 < weighted.path_.n_judged < 200
    assert weighted.n_units_ <= 6


def test_any_sparse_table_is_a_table():
    y, network = X[:, 0], SAMRegressor((3,), max_iter=5)
    found = [
        PruningPath(network, n_units=2, **FEW).fit(kind(X[:60]), y[:60]).transform(kind(X[:60]))
        for kind in (np.asarray, csr_array, dok_array)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize("refit", [False, True])
def test_several_targets_and_several_labels(refit):
    Y = np.c_[X[:, 0], X[:, 1] - X[:, 2]]
    path = PruningPath(SAMRegressor((6,), max_iter=20), refit=refit, tol=5.0, **FEW)
    path.set_params(n_units=3).fit(X, Y)
    assert path.path_.score_name == "R^2"
    labels = (Y > 0).astype(int)
    path = PruningPath(SAMClassifier((6,), max_iter=20), refit=refit, n_units=3, **FEW)
    path.fit(X, labels)
    assert 0 <= path.path_.full_score <= 1
    assert path.transform(X).shape == (1200, 3)


# --- bad input ---


def test_all_units_negligible_is_said():
    network, _ = planted()
    network.module[2].weight.data.zero_()
    network.module[2].bias.data.fill_(0.5)
    with pytest.warns(NothingFoundWarning, match="All units are negligible"):
        path = PruningPath(network, **FEW).fit(X, X[:, 0])
    assert path.n_units_ == 1
    assert path.p_value_ == 1


def test_a_tolerance_below_what_the_rows_resolve_is_said_with_the_rows_it_takes():
    y = (X[:400, 0] > 0).astype(int)
    network = SAMClassifier((4,), max_iter=20, learning_rate_init=0.02)
    with pytest.warns(NothingFoundWarning, match="below what 100 judged rows can resolve") as seen:
        path = PruningPath(network, **FEW).fit(X[:400], y)
    said = [str(w.message) for w in seen if w.category is NothingFoundWarning]
    assert "381 rows" in said[0]  # 1.96^2 * .99 / .01
    assert path.n_units_ == (~path.dead_).sum()
    with pytest.warns(NothingFoundWarning, match="Raise tol"):
        PruningPath(network, tol=0, **FEW).fit(X[:400], y)


def test_few_judged_rows_decide_nothing():
    network, y = planted()
    with pytest.warns(NothingFoundWarning, match="15 judged rows are too few"):
        path = PruningPath(network, **FEW).fit(X[:60], y[:60])
    assert path.n_units_ == 7


def test_a_layer_of_one_unit_keeps_it():
    y = X[:, 0]
    path = PruningPath(SAMRegressor((1,), "identity", max_iter=100), **FEW).fit(X, y)
    assert path.support_.tolist() == [True]
    assert path.p_value_ == 1


def test_outputs_that_do_not_match_the_targets_are_named():
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 10))
    with pytest.raises(OutputWidthError, match="classes="):
        PruningPath(from_module(module), **FEW).fit(X, np.arange(1200) % 10)


def test_targets_that_do_not_vary_are_refused():
    network, _ = planted()
    with pytest.raises(ValueError, match="targets are the same"):
        PruningPath(network, **FEW).fit(X, np.ones(1200))


def test_a_network_without_an_output_layer_is_pruned_without_a_refit():
    module = nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 1), nn.Flatten()
    )
    network, y = from_module(module, classes=[0, 1]), np.arange(1200) % 2
    with pytest.raises(UnsupportedNetworkError, match="refit=False"):
        PruningPath(network, **FEW).fit(X, y)
    path = PruningPath(network, refit=False, n_units=2, **FEW).fit(X, y)
    assert path.to_module()[1].out_channels == 2
