"""What the benchmarks of temperatures share: classes on planted trees, and trained networks."""

import numpy as np
from sklearn.base import clone

from sklflat import SAMClassifier
from sklflat.datasets import make_class_tree
from sklflat.metrics import bca_interval
from sklflat.training.runs import Training
from sklflat.training.stacking import train

N_SEEDS, N_TRAIN, N_HELD_OUT = 10, 12_000, 1500
#: separation of the classes that part at the top, and its decay from level to level
OVERLAPS = ((8.0, 0.6), (5.0, 0.7), (3.5, 0.8))
TRAINING = {
    "hidden_layer_sizes": (128,),
    "alpha": 0.3,
    "learning_rate_init": 0.003,
    "max_iter": 30,
    "n_iter_no_change": 30,
}
NET = SAMClassifier(rho=0, **TRAINING)


def tree_data(shape, warp, overlap, seed, n_train=N_TRAIN):
    """Rows to train on, held-out rows, and the truth."""
    X, y, truth = make_class_tree(
        n_train + N_HELD_OUT,
        tree=shape,
        separation=overlap[0],
        decay=overlap[1],
        n_noise=0,
        warp=warp,
        random_state=seed,
    )
    return X[:n_train], y[:n_train], X[n_train:], y[n_train:], truth


def trained(network, sets):
    """One network for each data set, with its number as a seed, trained as a stack."""
    trainings = [
        Training(clone(network).set_params(random_state=seed), X, y)
        for seed, (X, y, *_) in enumerate(sets)
    ]
    for i in train(trainings):
        if trainings[i].error is not None:
            raise trainings[i].error
    return [training.estimator for training in trainings]


def interval(values, digits=2):
    """Mean of paired values with its 95 % interval."""
    values = np.asarray(values)
    low, high = bca_interval(values, random_state=0) if np.ptp(values) > 0 else values[:2]
    return f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
