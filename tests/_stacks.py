"""What the tests of stacked training share."""

from sklearn.datasets import load_digits

from sklflat import SAMClassifier

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS / 16


def estimators(variant="sam", n=4, **parameters):
    """Replicas that differ in all that may differ."""
    variant = {"variant": "sam" if variant == "none" else variant, "none": variant == "none"}
    made = []
    for seed in range(n):
        own = {
            "rho": 0.0 if variant["none"] else 0.02 * (seed + 1),
            "learning_rate_init": 0.002 * (seed + 1),
            "alpha": 1e-3 * seed,
            "training_temperature": 1.0 + seed / 4,
            "random_state": seed,
        }
        fixed = {"max_iter": 3, "tol": 0.0, "n_iter_no_change": 9, "variant": variant["variant"]}
        made.append(SAMClassifier(**{"hidden_layer_sizes": (24,), **fixed, **own, **parameters}))
    return made


def distance(a, b):
    """Largest difference of two fitted estimators' tensors, relative to the largest entry."""
    pairs = zip(a.module_.state_dict().values(), b.module_.state_dict().values(), strict=True)
    return max(float((p - q).abs().max() / max(1.0, float(p.abs().max()))) for p, q in pairs)
