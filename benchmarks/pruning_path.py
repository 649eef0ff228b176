"""How many units a network needs: joint orders beside simple ones, on rows that chose nothing.

``python benchmarks/pruning_path.py`` trains a network of 64 units on each of four bundled data sets
(10 seeds of digits, 5 of the others) and prunes it by `PruningPath`, with and without refitted
outputs; with ``--data mnist10k.npz`` (arrays ``images`` and ``labels``) a fifth one, 3 seeds, on
4,000 of its digits. A small convolutional network on bundled digits is one more: the 16 channels of
its first layer, which a second convolution reads, 2 seeds. Scores are accuracies (R^2 of diabetes)
with 16 units (4 channels) on a quarter of the rows, means over seeds. ``above ablation`` is the
difference of the backward order and single ablation, paired over seeds, with its 95 % interval.
``within .02`` is the median number of units that is selected at ``tol=.02``. ``--kept FILE{}.json``
keeps finished seeds of each data set, so that a run can go on.

On digits three things are asked with ``--check``, written down before: the backward order has at
least .88 without and .94 with refitted outputs, and is above single ablation by its interval.
"""

import argparse
import time
import warnings

import numpy as np
import torch
from _rewinding import RESULTS, as_table, by_seed, interval, mean_and_half
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler
from torch import nn

from sklflat import PruningPath, SAMClassifier, SAMRegressor
from sklflat.exceptions import NothingFoundWarning

LOADERS = {
    "digits": load_digits,
    "wine": load_wine,
    "breast cancer": load_breast_cancer,
    "diabetes": load_diabetes,
}
CNN = "digits, CNN"
SEEDS = {"wine": 5, "breast cancer": 5, "diabetes": 5, "mnist": 3, CNN: 2}
ABLATION = "single ablation"


class SmallCNN(nn.Module):
    """Two convolutions, 16 and 16 channels, on 8 by 8 digits."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1, stride=2)
        self.output = nn.Linear(256, 10)

    def forward(self, X):
        x = torch.relu(self.first(X.view(-1, 1, 8, 8)))
        return self.output(torch.relu(self.second(x)).flatten(1))


def data_of(name, path):
    """Rows and targets on the scale of a network."""
    if name == "mnist":
        with np.load(path) as file:
            return file["images"].reshape(-1, 784)[:4000] / 255, file["labels"][:4000].astype(int)
    X, y = load_digits(return_X_y=True) if name == CNN else LOADERS[name](return_X_y=True)
    if name == "diabetes":
        return StandardScaler().fit_transform(X), (y - y.mean()) / y.std()
    return (X / 16 if "digits" in name else StandardScaler().fit_transform(X)), y


def network_of(name):
    """An untrained estimator."""
    if name == CNN:
        return SAMClassifier(net=SmallCNN, rho=0, max_iter=30)
    make = SAMRegressor if name == "diabetes" else SAMClassifier
    return make((64,), rho=0, max_iter=40 if name == "mnist" else 200)


def of_seed(name, seed, path):
    """Scores at one number of units by every order, with and without refitted outputs."""
    X, y = data_of(name, path)
    n_kept = 4 if name == CNN else 16
    more = {"layers": ("first",), "n_random": 20} if name == CNN else {}
    found = {}
    for refit in (False, True):
        for direction in ("backward", "forward"):
            if name == CNN and direction == "forward":
                continue
            pruned = PruningPath(
                network_of(name), refit=refit, direction=direction, tol=0.02, random_state=seed
            ).set_params(**more)
            begun = time.process_time()
            pruned.fit(X, y)
            table = pruned.path_
            i = int(np.flatnonzero(table.sizes == n_kept)[0])
            random = table.random_scores[:, table.random_sizes == n_kept]
            found[f"{direction}, {refit}"] = {
                "full": table.full_score,
                "score": float(table.path.scores[i]),
                "n_units": int(pruned.n_units_),
                "random": float(random.mean()),
                **{b: float(curve.scores[i]) for b, curve in table.baselines.items()},
                "cpu_s": time.process_time() - begun,
            }
    return found


def row_of(name, refit, seeds):
    """One line of the table."""
    back = [found[f"backward, {refit}"] for found in seeds]
    forward = [found.get(f"forward, {refit}", {"score": np.nan}) for found in seeds]

    def mean(rows, key):
        return f"{np.mean([row[key] for row in rows]):.3f}".replace("nan", "")

    above = [row["score"] - row[ABLATION] for row in back]
    names = [b for b in back[0] if b not in ("full", "score", "n_units", "random", "cpu_s")]
    return {
        "data": name,
        "outputs": "refitted" if refit else "as they are",
        "whole": mean(back, "full"),
        "backward": mean(back, "score"),
        "forward": mean(forward, "score"),
        **{b: mean(back, b) for b in names},
        "random": mean(back, "random"),
        "above ablation": interval(above, 3),
        "within .02": f"{np.median([row['n_units'] for row in back]):.0f}",
    }


def check(found):
    """The three claims about digits."""
    for refit, least in ((False, 0.88), (True, 0.94)):
        back = [seed[f"backward, {refit}"] for seed in found]
        score = np.mean([row["score"] for row in back])
        mean, half = mean_and_half([row["score"] - row[ABLATION] for row in back])
        assert score >= least, (refit, score)
        assert mean - half > 0, (refit, mean, half)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="an npz file with images and labels")
    parser.add_argument("--kept", help="file of finished seeds, {} for a data set")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--check", action="store_true", help="fail where a claim does not hold")
    args = parser.parse_args()
    names = [*LOADERS, CNN, *(["mnist"] if args.data else [])]
    lines, found = [], {}
    for name in names:
        kept = args.kept and args.kept.format(name.replace(", ", "_").replace(" ", "_"))
        seeds = range(min(args.seeds, SEEDS.get(name, args.seeds)))
        found[name] = by_seed(kept, seeds, lambda seed, name=name: of_seed(name, seed, args.data))
        lines += [row_of(name, refit, found[name]) for refit in (False, True)]
        text = "\n".join(
            ["# Joint orders of units", "", __doc__.split("\n\n")[1], "", *as_table(lines)]
        )
        (RESULTS / "pruning_path.md").write_text(text + "\n")
        print(text, flush=True)
    if args.check:
        check(found["digits"])


if __name__ == "__main__":
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.simplefilter("ignore", NothingFoundWarning)
    main()
