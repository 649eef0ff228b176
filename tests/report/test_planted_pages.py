"""Three pages on planted data, read as somebody reads them who has the page and nothing else.

Which units are real? Is it a flat minimum? Would another training find the same?
"""

import copy
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator
from torch import nn

from sklflat import MinimaReport, SAMClassifier, SAMRegressor, from_module
from sklflat.datasets import make_shared_private, make_teacher_student

pytestmark = pytest.mark.slow


class Words(HTMLParser):
    """The text of a page, an element of text a line; scripts and styles are not read."""

    def __init__(self, page):
        super().__init__()
        self.lines, self.silent = [], False
        self.feed(page)
        self.text = " ".join(self.lines)

    def handle_starttag(self, tag, attrs):
        self.silent = tag in ("script", "style")

    def handle_data(self, data):
        if data.strip() and not self.silent:
            self.lines.append(" ".join(data.split()))


def read(estimators, X, y):
    report = MinimaReport(
        estimators,
        effort="quick",
        techniques=("prediction", "ablation", "curvature", "universality"),
        random_state=0,
    )
    return Words(report.fit(X, y).to_html()).text.partition("Comparison of the estimators")[0]


def numbers_of(units):
    return {int(n) for n in re.findall(r"\[(\d+)\]", units)}


def planted_module(network):
    module = nn.Sequential(
        nn.Linear(*network.W1.shape), nn.ReLU(), nn.Linear(*network.W2.shape)
    ).double()
    arrays = (network.W1.T, network.b1, network.W2.T, network.b2)
    with torch.no_grad():
        for parameter, values in zip(module.parameters(), arrays, strict=True):
            parameter.copy_(torch.as_tensor(values))
    return module


def test_units_that_all_networks_share_are_named_and_no_others():
    n_named = 0
    for seed in range(3):
        X, y, truth = make_shared_private(1500, n_shared=8, n_students=7, random_state=seed)
        page = read({"mine": [from_module(planted_module(s)) for s in truth.students]}, X, y)
        said = re.search(r"of 24 units are real, .*? other trainings: (.*?)\. ", page)
        named = numbers_of(said[1])
        assert named <= set(np.flatnonzero(truth.units))
        n_named += len(named)
        assert "Another training finds some of the same units" in page
        assert "is not flat" in page
    assert n_named >= 22  # of 24


def test_of_labels_without_meaning_nothing_is_called_real():
    X, y, _ = make_teacher_student(400, task="classification", random_state=1)
    y = np.random.RandomState(1).permutation(y)
    network = SAMClassifier(
        (24,), max_iter=200, learning_rate_init=0.01, tol=0, n_iter_no_change=200
    )
    page = read({"memory": network}, X, y)
    assert "Not shown to be better than a constant" in page
    assert "No unit of 24 is shown to be real" in page
    assert not re.search(r"finds at least half of the same", page)


def rescaled(module, factor):
    """The same function of the rows, elsewhere among the weights."""
    moved = copy.deepcopy(module)
    first, last = (m for m in moved.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        first.weight *= factor
        first.bias *= factor
        last.weight /= factor
    return moved


def test_rescaled_weights_are_sharper_and_said_to_be_the_same():
    X, y, truth = make_teacher_student(2000, task="regression", noise=0.3, random_state=2)
    settings = {"max_iter": 100, "learning_rate_init": 0.01}
    networks = [
        SAMRegressor((24,), random_state=i, **settings).fit(X[:800], y[:800]) for i in range(7)
    ]
    moved = [from_module(rescaled(n.module_, 1 / 7)) for n in networks]
    X, y = X[800:], y[800:]
    page = read({"trained": [FrozenEstimator(n) for n in networks], "moved": moved}, X, y)
    assert "moved: Its loss on the rows given is sharp" in page.replace(" :", ":")
    assert "moved is sharper" in page
    assert "moved and trained have the same score on each of 1,200 held-out rows" in page
    both = re.findall(r"units are real, .*? other trainings: (.*?)\. ", page)
    assert len(both) == 2
    assert both[0] == both[1]  # what is real is of the function
    hidden = networks[0].transform(X)
    live = np.flatnonzero(hidden.std(axis=0) > 1e-6)
    teacher = truth.latent[800:]
    r = np.corrcoef(hidden[:, live].T, teacher.T)[: len(live), len(live) :]
    close = dict(zip(live, np.abs(r).max(axis=1), strict=True))
    named = numbers_of(both[0])
    others = [close[u] for u in live if u not in named]
    assert np.mean([close[u] for u in named]) > 0.85
    assert np.mean(others) < 0.5
