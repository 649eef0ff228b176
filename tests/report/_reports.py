"""Small reports for tests: two networks on three classes, trained in a second."""

from functools import cache

from sklearn.datasets import make_classification

from sklflat import MinimaReport, SAMClassifier

CHEAP = ("prediction", "ablation", "activation", "curvature", "universality")


def data(n=240, **settings):
    given = {"n_features": 6, "n_informative": 4, "n_classes": 3, "random_state": 0} | settings
    return make_classification(n, **given)


def network(rho=0.0, **settings):
    return SAMClassifier((8,), rho=rho, **{"max_iter": 30, "learning_rate_init": 0.02} | settings)


def report(estimators=None, techniques=CHEAP, **settings):
    estimators = {"plain": network(), "SAM": network(0.1)} if estimators is None else estimators
    given = {"effort": "quick", "n_models": 2, "random_state": 0} | settings
    return MinimaReport(estimators, techniques=techniques, **given)


@cache
def fitted():
    return report().fit(*data())
