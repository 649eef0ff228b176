"""What holds for every generator: perfect and random solvers, seeds, and what bad input is told."""

import pickle

import numpy as np
import pytest

from sklflat import datasets

MAKERS = {
    "teacher": datasets.make_teacher_student,
    "shared": datasets.make_shared_private,
    "spurious": datasets.make_spurious,
    "redundant": datasets.make_redundant_features,
    "class_tree": datasets.make_class_tree,
    "two_mechanisms": datasets.make_two_mechanisms,
    "planted_tree": datasets.make_planted_tree,
    "parity": datasets.make_sparse_parity,
    "superposition": datasets.make_superposition,
}

SCORED = [
    ("teacher", "units"),
    ("shared", "units"),
    ("spurious", "inputs"),
    ("redundant", "inputs"),
    ("class_tree", "inputs"),
    ("two_mechanisms", "inputs"),
    ("planted_tree", "inputs"),
    ("parity", "inputs"),
    ("superposition", "atoms"),
    ("spurious", "regions"),
    ("two_mechanisms", "regions"),
    ("planted_tree", "regions"),
]


def masks_of(truth, of):
    """One mask for units, inputs and atoms; one a region for regions."""
    if of != "regions":
        return [getattr(truth, of)]
    return [truth.regions == name for name in sorted(set(truth.regions.tolist()))]


def arrays_of(thing):
    """All arrays of a truth or of what is planted in it, by name."""
    found = {}
    for name, value in vars(thing).items():
        if isinstance(value, np.ndarray):
            found[name] = value
        elif isinstance(value, tuple):
            for k, part in enumerate(value):
                found |= {f"{name}.{k}.{inner}": array for inner, array in arrays_of(part).items()}
        elif value is not None:
            found |= {f"{name}.{inner}": array for inner, array in arrays_of(value).items()}
    return found


@pytest.mark.parametrize(("name", "of"), SCORED)
@pytest.mark.parametrize("seed", range(3))
def test_a_perfect_solver_scores_one_and_its_opposite_zero(name, of, seed):
    _, _, truth = MAKERS[name](200, random_state=seed)
    masks = np.array(masks_of(truth, of)).T
    scores = masks if of == "regions" else masks[:, 0]
    assert truth.auc(scores, of=of) == 1
    assert truth.auc(-1.0 * scores, of=of) == 0


@pytest.mark.parametrize(("name", "of"), SCORED)
def test_a_random_solver_scores_one_half(name, of):
    n_draws, rng = 40, np.random.default_rng(0)
    _, _, truth = MAKERS[name](60, random_state=0)
    masks = masks_of(truth, of)
    aucs = []
    for _ in range(n_draws):
        scores = rng.normal(size=(len(masks[0]), len(masks)))
        aucs.append(truth.auc(scores if of == "regions" else scores[:, 0], of=of))
    # Mann and Whitney: the AUC of k real among n has variance (n + 1) / (12 k (n - k))
    sizes = [(int(mask.sum()), len(mask)) for mask in masks]
    variance = np.mean([(n + 1) / (12 * k * (n - k)) for k, n in sizes]) / len(masks)
    assert abs(np.mean(aucs) - 0.5) < 4 * np.sqrt(variance / n_draws)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_equal_seeds_give_equal_data_and_leave_the_global_generator_alone(make):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    X, y, truth = make(50, random_state=7)
    again_X, again_y, again = make(50, random_state=np.random.RandomState(7))
    assert X.tobytes() == again_X.tobytes()
    assert y.tobytes() == again_y.tobytes()
    first, second = arrays_of(truth), arrays_of(again)
    assert first
    assert first.keys() == second.keys()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_other_seeds_and_a_generator_that_moved_on_give_other_data(make):
    rng = np.random.RandomState(0)
    first, second, other = make(50, random_state=rng), make(50, random_state=rng), make(50)
    assert not np.array_equal(first[0], second[0])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_one_seed_plants_the_same_at_every_number_of_samples(make):
    small, large = make(50, random_state=3)[2], make(80, random_state=3)[2]
    per_sample = {"regions", "environment", "cues", "latent"}
    large = arrays_of(large)
    planted = {k: v for k, v in arrays_of(small).items() if k not in per_sample}
    assert planted
    assert all(np.array_equal(value, large[name]) for name, value in planted.items())


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_data_are_what_an_estimator_takes(make):
    X, y, truth = make(50, random_state=0)
    assert X.dtype == np.float64
    assert X.flags.c_contiguous
    assert np.isfinite(X).all()
    assert y.shape == (50,)
    assert y.dtype in (np.float64, np.int64)
    assert arrays_of(pickle.loads(pickle.dumps(truth))).keys() == arrays_of(truth).keys()


SMALLEST = {
    "teacher": {"n_features": 1, "n_teacher": 1, "n_redundant": 0, "n_dead": 0, "n_unused": 0},
    "shared": {
        "n_features": 1,
        "n_shared": 1,
        "n_private": 0,
        "n_cancelling": 0,
        "n_unused": 0,
        "n_students": 1,
    },
    "spurious": {"n_real": 1, "n_spurious": 0, "n_noise": 0},
    "redundant": {"n_informative": 1, "n_copies": 1, "n_noise": 0},
    "class_tree": {"n_samples": 3, "n_classes": 3, "n_noise": 0},
    "two_mechanisms": {"n_a": 1, "n_b": 1, "n_noise": 0},
    "planted_tree": {"n_features": 1, "n_relevant": 1, "depth": 1},
    "parity": {"n_features": 1, "n_relevant": 1},
    "superposition": {"n_components": 1, "n_features": 1, "n_relevant": 1},
}


@pytest.mark.parametrize("name", MAKERS)
def test_where_all_is_real_the_auc_is_refused(name):
    X, y, truth = MAKERS[name](**{"n_samples": 1, **SMALLEST[name]}, random_state=0)
    assert np.isfinite(X).all()
    assert np.isfinite(y).all()
    of = {"teacher": "units", "shared": "units", "superposition": "atoms"}.get(name, "inputs")
    n = len(getattr(truth, of))
    with pytest.raises(ValueError, match=f"undefined: {n} of {n} are real"):
        truth.auc(np.arange(n), of=of)


def test_binary_targets_hold_both_classes_as_zero_and_one():
    for name, options in [
        ("teacher", {"task": "classification"}),
        ("shared", {"task": "classification"}),
        ("superposition", {"task": "classification"}),
        *((name, {}) for name in ("spurious", "redundant", "two_mechanisms", "parity")),
        ("planted_tree", {}),
    ]:
        _, y, _ = MAKERS[name](300, random_state=0, **options)
        assert np.unique(y).tolist() == [0, 1], name


LABEL_NOISE = ["spurious", "redundant", "two_mechanisms", "planted_tree", "parity"]


@pytest.mark.parametrize("name", LABEL_NOISE)
def test_label_noise_flips_the_share_it_says(name):
    n, share = 20_000, 0.2
    _, clean, _ = MAKERS[name](n, random_state=0)
    X, y, truth = MAKERS[name](n, label_noise=share, random_state=0)
    exact = {
        "spurious": lambda: truth.cues[:, 0] > 0,
        "redundant": lambda: truth.latent @ truth.coef > 0,
        # the cue is drawn before the flips
        "two_mechanisms": lambda: clean,
        "planted_tree": lambda: truth.tree.predict(X),
        "parity": lambda: X[:, truth.inputs].prod(axis=1) > 0,
    }[name]()
    assert np.mean(exact != y) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n))


BAD = [
    ("teacher", {"n_samples": 0}, "'n_samples' parameter of make_teacher_student must be"),
    ("teacher", {"n_teacher": 11}, "n_teacher=11 must be at most n_features=10"),
    ("teacher", {"task": "ranking"}, "'task' parameter.*'ranking' instead"),
    ("teacher", {"noise": np.nan}, "'noise' parameter.*nan instead"),
    ("teacher", {"n_redundant": 1}, "n_redundant=1 leaves nothing to share with"),
    ("shared", {"n_shared": 21}, "n_shared=21 must be at most n_features=20"),
    ("shared", {"n_cancelling": 3}, "n_cancelling=3 must be even"),
    ("shared", {"weight_noise": -0.1}, "'weight_noise' parameter.*-0.1 instead"),
    ("shared", {"n_students": 0}, "'n_students' parameter.*0 instead"),
    ("spurious", {"easiness": -1}, "'easiness' parameter.*-1 instead"),
    ("spurious", {"signal": 0}, "'signal' parameter.*0 instead"),
    ("spurious", {"spurious_correlation": 2}, "'spurious_correlation' parameter.*2 instead"),
    ("spurious", {"spurious_correlation": (0.5, -1.5)}, r"spurious_correlation=\(0.5, -1.5\) must"),
    ("spurious", {"spurious_correlation": (np.nan,)}, r"spurious_correlation=\(nan,\) must hold"),
    ("spurious", {"spurious_correlation": ()}, r"spurious_correlation=\(\) must .* at least one"),
    ("spurious", {"label_noise": 0.5}, "'label_noise' parameter.*0.5 instead"),
    ("redundant", {"n_copies": 0}, "'n_copies' parameter.*0 instead"),
    ("redundant", {"correlation": 0}, r"'correlation' parameter.*\(0.0, 1.0\]. Got 0 instead"),
    ("class_tree", {"n_classes": 2}, "'n_classes' parameter.*2 instead"),
    ("class_tree", {"tree": "bush"}, "'tree' parameter.*'bush' instead"),
    ("class_tree", {"decay": 1.0}, "'decay' parameter.*1.0 instead"),
    ("class_tree", {"n_samples": 7}, "n_samples=7 must be at least n_classes=8"),
    ("two_mechanisms", {"proportions": (0.5, 0.6, 0.1)}, "in .0, 1. that add up to 1"),
    ("two_mechanisms", {"proportions": (0.5, 0.5)}, r"proportions=\(0.5, 0.5\) must be"),
    ("two_mechanisms", {"proportions": ("a", "b", "c")}, "three numbers in"),
    ("two_mechanisms", {"proportions": (1, 0, 0)}, "masks one mechanism everywhere"),
    ("planted_tree", {"depth": 0}, "'depth' parameter.*0 instead"),
    ("planted_tree", {"depth": 2, "n_relevant": 4}, "the 3 splits of a tree of depth=2"),
    ("planted_tree", {"n_features": 3}, "n_relevant=4 must be at most n_features=3"),
    ("parity", {"n_relevant": 21}, "n_relevant=21 must be at most n_features=20"),
    ("parity", {"random_state": "a"}, "'random_state' parameter.*'a' instead"),
    ("superposition", {"sparsity": 1.0}, "'sparsity' parameter.*1.0 instead"),
    ("superposition", {"n_relevant": 21}, "n_relevant=21 must be at most n_components=20"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD)
def test_a_bad_parameter_is_named_with_its_value(name, options, message):
    with pytest.raises(ValueError, match=message):
        MAKERS[name](**options)
