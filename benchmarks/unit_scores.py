"""Whether a unit's place in the eigenspace and its curvature foretell what noise on it does.

For five kinds of networks and five seeds each: the rank correlation, over the live units, of every
score with the rise of the loss on unseen rows when noise of half their length is put on the unit's
incoming parameters. Beside the scores of HessianSpectrum: the norm of the unit's parameters,
Optimal Brain Damage (sum of H_ii w_i^2 / 2, its diagonal from 200 random products) and the squared
gradient. ``python benchmarks/unit_scores.py`` writes results/unit_scores.md.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.datasets import load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat import HessianSpectrum, SAMClassifier, SAMRegressor
from sklflat.curvature import Hessian
from sklflat.datasets import make_teacher_student
from sklflat.eigenspace.noise import noise_rises
from sklflat.metrics import bca_interval
from sklflat.probing import Sample

TABLE = Path(__file__).parent / "results" / "unit_scores.md"
N_SEEDS, LEVEL = 5, 0.5


class CNN(nn.Module):
    """Two convolutions on 8 x 8 images that come as rows."""

    def __init__(self, n_outputs):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(96, n_outputs),
        )

    def forward(self, X):
        return self.layers(X.unflatten(1, (1, 8, 8)))


def digits(seed):
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, train_size=800, random_state=seed)


def wine(seed):
    X, y = load_wine(return_X_y=True)
    return train_test_split(StandardScaler().fit_transform(X), y, train_size=0.6, random_state=seed)


def teacher(seed):
    X, y, _ = make_teacher_student(1200, random_state=seed)
    return train_test_split(X, y / np.std(y), train_size=800, random_state=seed)


NETWORKS = {
    "digits, ReLU 32": (digits, SAMClassifier((32,), rho=0, max_iter=40)),
    "digits, tanh 32-32": (digits, SAMClassifier((32, 32), "tanh", rho=0, max_iter=40)),
    "digits, CNN 12-24": (digits, SAMClassifier(net=CNN, rho=0, max_iter=40)),
    "wine, ReLU 24": (wine, SAMClassifier((24,), rho=0, max_iter=150)),
    "teacher and student, ReLU 40": (teacher, SAMRegressor((40,), rho=0, max_iter=150)),
}

SCORES = {
    "flat alignment": {"unit_score": "flat_alignment"},
    "flat alignment, adaptive": {"unit_score": "flat_alignment", "metric": "adaptive"},
    "response": {"unit_score": "response"},
    "curvature": {"unit_score": "curvature"},
    "curvature, adaptive": {"unit_score": "curvature", "metric": "adaptive"},
}


def baselines(sample):
    """Norm, Optimal Brain Damage and squared gradient of each unit's incoming parameters."""
    operator = Hessian(sample.network, sample.X, sample.target)
    blocks = sample.units.incoming(operator.vector)
    w = operator.vector.read()
    Z = torch.randint(2, (200, operator.size), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    diagonal = torch.stack([z * (operator @ z) for z in Z.double()]).mean(0)
    return {
        "norm of the parameters": blocks.sum(w.square()).sqrt(),
        "Optimal Brain Damage": blocks.sum(diagonal * w.square()) / 2,
        "squared gradient": blocks.sum(operator.gradient.square()),
    }


def one(data, estimator, seed):
    """Rank correlations with the measured rise, by score."""
    X, held, y, y_held = data(seed)
    fitted = estimator.set_params(random_state=seed).fit(X, y)
    frozen = _frozen(fitted)
    train, test = Sample.of(frozen, X, y), Sample.of(frozen, held, y_held)
    live = np.flatnonzero(~train.dead)
    blocks = test.units.incoming(test.network.vector)
    rises = noise_rises(
        test.network, test.X, test.target, None, blocks, live, level=LEVEL, n_draws=20, seed=seed
    )
    scores = {name: s.cpu().numpy() for name, s in baselines(train).items()}
    for name, options in SCORES.items():
        spectrum = HessianSpectrum(frozen, n_units=None, n_null=100, random_state=0, **options)
        scores[name] = spectrum.fit(X, y).unit_scores_
    return {name: spearmanr(s[live], rises).statistic for name, s in scores.items()}


def _frozen(fitted):
    from sklearn.frozen import FrozenEstimator

    return FrozenEstimator(fitted)


def main():
    found = {
        network: [one(data, estimator, seed) for seed in range(N_SEEDS)]
        for network, (data, estimator) in NETWORKS.items()
    }
    names = list(next(iter(found.values()))[0])
    names = list(SCORES) + [n for n in names if n not in SCORES]
    lines = [
        "# What foretells the damage by noise on a unit",
        "",
        "Spearman's rank correlation of a score on the training rows with the rise of the loss on",
        f"unseen rows under noise of {LEVEL} times the length of the unit's incoming parameters.",
        f"Means of {N_SEEDS} seeds a network; in the last column of all {len(NETWORKS) * N_SEEDS},",
        "with a 95 % bootstrap interval (BCa).",
        "",
        "| score | " + " | ".join(NETWORKS) + " | all |",
        "|---|" + "---|" * (len(NETWORKS) + 1),
    ]
    for name in names:
        by_network = [np.mean([r[name] for r in runs]) for runs in found.values()]
        everything = [r[name] for runs in found.values() for r in runs]
        low, high = bca_interval(everything, random_state=0)
        cells = " | ".join(f"{v:.2f}" for v in by_network)
        lines.append(f"| {name} | {cells} | {np.mean(everything):.2f} [{low:.2f}, {high:.2f}] |")
    TABLE.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
