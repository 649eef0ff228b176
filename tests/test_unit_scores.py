"""Every cell of the table in docs/user_guide/invariances.md: what holds to 1e-6, and what fails."""

import re
from pathlib import Path

import numpy as np
import pytest

from sklflat import BasinRewinder, SAMClassifier, probing
from sklflat.probing import UnitProbe
from tests._probes import random_arrays, random_data
from tests._slow import slow_unless
from tests._unit_scores import (
    NAMES,
    PROBES,
    REWOUND,
    WITH_SIBLINGS,
    scores_over,
    unit_scores,
)

PAGE = Path(__file__).parents[1] / "docs" / "user_guide" / "invariances.md"
COLUMNS = ("permuted", "rescaled", "copies alike", "beside a copy", "beside a dead unit")
ALPHA, SEEDS, TOLERANCE = 3.0, (0, 1), 1e-6
POWERS = {"α²": ALPHA**2, "1/α²": ALPHA**-2}


def table():
    """The cells of the page's table, by score and column."""
    rows = re.findall(r"^\| ((?:`|baseline).+) \|$", PAGE.read_text(), flags=re.MULTILINE)
    cells = [[cell.strip() for cell in re.sub(r'[`"]', "", row).split(" | ")] for row in rows]
    return {name: dict(zip(COLUMNS, rest, strict=True)) for name, *rest in cells}


def scores(name, *arrays):
    return unit_scores(name, arrays, *random_data(0))


def permuted(name, arrays):
    W1, b1, W2, b2 = arrays
    order = np.random.RandomState(1).permutation(len(b1))
    return scores(name, W1[:, order], b1[order], W2[order], b2), scores(name, *arrays)[order]


def rescaled(name, arrays, factor=1.0):
    W1, b1, W2, b2 = arrays
    a = np.ones(len(b1))
    a[0] = ALPHA
    expected = scores(name, *arrays)
    expected[0] *= factor
    return scores(name, W1 * a, b1 * a, W2 / a[:, None], b2), expected


def duplicated(name, arrays):
    W1, b1, W2, b2 = arrays
    halved = np.vstack([W2, W2[:1]])
    halved[[0, -1]] /= 2
    return scores(name, np.hstack([W1, W1[:, :1]]), np.append(b1, b1[0]), halved, b2)


def copies_alike(name, arrays):
    found = duplicated(name, arrays)
    return np.append(found[:1], np.abs(found).max()), np.append(found[-1:], np.abs(found).max())


def beside_a_copy(name, arrays):
    return duplicated(name, arrays)[1:-1], scores(name, *arrays)[1:]


def beside_a_dead_unit(name, arrays):
    W1, b1, W2, b2 = arrays
    dead = np.hstack([W1, 0 * W1[:, :1]]), np.append(b1, -1.0), np.vstack([W2, W2[:1]]), b2
    return scores(name, *dead), np.append(scores(name, *arrays), 0)


CHANGES = {
    "permuted": permuted,
    "rescaled": rescaled,
    "copies alike": copies_alike,
    "beside a copy": beside_a_copy,
    "beside a dead unit": beside_a_dead_unit,
}


def apart(name, column, **options):
    """Largest difference that a change makes, as a share of the largest score."""
    found = [CHANGES[column](name, random_arrays(seed), **options) for seed in SEEDS]
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in found)


QUICK = ("UnitConsensus", "ActivationProbe, correlation", REWOUND)


@pytest.mark.parametrize("name", slow_unless(lambda name: name in QUICK, NAMES))
def test_every_cell_is_what_the_page_says(name):
    for column, said in table()[name].items():
        if said in POWERS:
            assert apart(name, column, factor=POWERS[said]) < TOLERANCE, column
        elif said == "-":
            with pytest.raises(ValueError, match="one architecture"):
                apart(name, column)
        else:
            assert said in ("yes", "no")
            assert (apart(name, column) < TOLERANCE) == (said == "yes"), column


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_trained_children_may_be_rewritten_each_in_its_own_way():
    """Other orders and scales of the units of every child of a rewinder that was trained."""
    X, y = random_data(0, n=300)
    rates = {"learning_rate_init": 0.05, "max_iter": 40, "batch_size": 20}
    network = SAMClassifier((8,), random_state=0, **rates)
    rewinder = BasinRewinder(network, sparsity=0.4, n_grid=3, n_retrains=4, random_state=0)
    children = rewinder.fit(X, y).estimators_["after"]
    arrays, rewritten, rng = [], [], np.random.RandomState(0)
    for child in children:
        (W1, W2), (b1, b2) = child.coefs_, child.intercepts_
        order, a = rng.permutation(8), np.exp(rng.normal(size=8))
        arrays.append((W1, b1, W2, b2))
        rewritten.append((W1[:, order] * a, b1[order] * a, W2[order] / a[:, None], b2))
    before, after = scores_over(arrays, X, y), scores_over(rewritten, X, y)
    first = np.argsort(np.random.RandomState(0).permutation(8))
    np.testing.assert_allclose(after[first], before, atol=1e-6)
    assert np.ptp(before) > 0.01


def test_the_table_has_every_score():
    assert set(table()) == set(NAMES)


def test_every_probe_of_the_package_has_a_row():
    import sklflat

    public = {getattr(sklflat, name) for name in sklflat.__all__}
    probes = {c for c in public if isinstance(c, type) and issubclass(c, UnitProbe)}
    assert probes == {BasinRewinder} | {type(probe) for probe in PROBES.values()}
    assert REWOUND.startswith(BasinRewinder.__name__)
    scored = set(probing.ActivationProbe._parameter_constraints["unit_score"][0].options)
    assert {f"ActivationProbe, {name}" for name in scored} <= set(NAMES)
    assert set(WITH_SIBLINGS) <= set(NAMES)
