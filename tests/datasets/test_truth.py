"""Scores of attempts against truths written down by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist

from sklflat.datasets import Truth, make_spurious, make_superposition, make_teacher_student

ROLES = np.array(["real", "real", "spurious", "noise"])
TRUTH = Truth(inputs=ROLES == "real", roles=ROLES)


@pytest.mark.parametrize(
    ("scores", "against", "expected"),
    [
        # of the four pairs of a real and an unreal input, so many are in order; ties count half
        ([4, 3, 2, 1], None, 1.0),
        ([1, 2, 3, 4], None, 0.0),
        ([4, 2, 3, 1], None, 3 / 4),
        ([1, 1, 1, 0], None, 3 / 4),
        # two pairs are left
        ([4, 2, 3, 9], "spurious", 1 / 2),
        ([4, 2, 9, 3], "noise", 1 / 2),
        ([4, 3, 9, 1], "noise", 1.0),
    ],
)
def test_auc_of_inputs_counted_by_hand(scores, against, expected):
    assert TRUTH.auc(scores, against=against) == expected


def test_a_role_that_is_real_is_unreal_when_it_is_the_one_against():
    _, _, truth = make_teacher_student(50, random_state=0)
    status = truth.network.status
    scores = np.select([status == "redundant", status == "live"], [2.0, 1.0], 0.0)
    assert truth.auc(scores, of="units") == 1
    assert truth.auc(scores, of="units", against="redundant") == 0
    assert truth.auc(scores, of="units", against="dead") == 1


def test_auc_of_regions_is_the_mean_over_regions():
    truth = Truth(regions=np.array(["b", "a", "b", "c"]))
    perfect = np.array([[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert truth.auc(perfect, of="regions") == 1
    # the column of "a" upside down, the one of "b" constant
    scores = np.column_stack([-perfect[:, 0], np.zeros(4), perfect[:, 2]])
    assert truth.auc(scores, of="regions") == pytest.approx((0 + 0.5 + 1) / 3)
    assert truth.auc([1, 2, 0, 0], of=truth.regions == "a") == 1


@given(st.permutations(range(12)), st.floats(0.1, 9), st.floats(-5, 5))
@settings(max_examples=20, deadline=None)
def test_auc_ignores_order_and_monotone_maps(order, slope, offset):
    rng = np.random.default_rng(0)
    mask, scores = np.arange(12) % 3 == 0, rng.normal(size=12)
    expected = TRUTH.auc(scores, of=mask)
    assert TRUTH.auc(slope * scores[order] + offset, of=mask[order]) == expected


def test_recovery_is_the_best_absolute_correlation():
    latent = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    truth = Truth(latent=latent)
    units = np.column_stack(
        [3 - 2 * latent[:, 0], latent[:, 0] + latent[:, 1], 3 * latent[:, 0] + 4 * latent[:, 1]]
    )
    np.testing.assert_allclose(truth.recovery(units), [1, np.sqrt(1 / 2), 4 / 5], atol=1e-12)
    assert truth.real_units(units, threshold=0.75).tolist() == [True, False, True]
    assert truth.real_units(units).tolist() == [True, False, False]


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6, -1 / 3])
def test_a_constant_unit_recovers_nothing(constant):
    # the mean of 0.1s is not 0.1: what rounding leaves must not be read as a signal
    latent = np.random.default_rng(0).normal(size=(999, 2))
    assert Truth(latent=latent).recovery(np.full((999, 1), constant)).tolist() == [0.0]


def test_a_unit_of_a_feature_that_does_not_matter_is_not_real():
    _, _, truth = make_superposition(n_relevant=4, random_state=0)
    assert np.array_equal(truth.real_units(truth.latent), truth.atoms)


def test_recovery_of_random_units_stays_below_the_threshold():
    X, _, truth = make_teacher_student(2000, random_state=0)
    rng = np.random.default_rng(0)
    units = np.maximum(X @ rng.normal(size=(10, 500)) + rng.normal(size=500), 0)
    # a random direction in ten dimensions has a cosine above 0.9 with one of five in 1 of 10 000
    assert truth.real_units(units).mean() < 0.01


def test_a_subset_is_the_truth_of_a_split():
    _, _, truth = make_spurious(60, random_state=0)
    part = truth.subset([5, 3])
    assert np.array_equal(part.cues, truth.cues[[5, 3]])
    assert np.array_equal(part.regions, truth.regions[[5, 3]])
    assert part.inputs is truth.inputs
    assert len(truth.subset(truth.environment == 1).cues) == 30


def test_the_repr_names_what_is_planted():
    assert repr(TRUTH) == "Truth(inputs=(4,), roles=(4,))"


TWO_PAIRS = np.array([[0, 1, 1, 2], [2, 3, 1, 2], [4, 5, 2, 4]], dtype=float)
OTHER_PAIRS = np.array([[0, 2, 1, 2], [1, 3, 1, 2], [4, 5, 2, 4]], dtype=float)
LADDER = np.array([[0, 1, 1, 2], [2, 4, 2, 3], [3, 5, 3, 4]], dtype=float)
STAR = np.array([[0, 1, 2, 2], [2, 4, 2, 3], [3, 5, 2, 4]], dtype=float)


@pytest.mark.parametrize(
    ("planted", "proposal", "expected"),
    [
        (TWO_PAIRS, TWO_PAIRS, 1),
        (TWO_PAIRS, OTHER_PAIRS, 0),
        # of {0,1,2}, {0,1,3}, {0,2,3}, {1,2,3} the ladder has 01, 01, 02, 12 closest
        (TWO_PAIRS, LADDER, 2 / 4),
        (LADDER, TWO_PAIRS, 2 / 4),
        (TWO_PAIRS, STAR, 1 / 3),
        # only 0 and 1 are close: two triplets right, two open
        (TWO_PAIRS, [[9, 1, 0, 0], [1, 9, 0, 0], [0, 0, 9, 0], [0, 0, 0, 9]], (2 + 2 / 3) / 4),
        # 0 is close to 1 and to 2: {0,1,2} is half right, 01 is right, 02 wrong, {1,2,3} open
        (
            TWO_PAIRS,
            [[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]],
            (1 / 2 + 1 + 0 + 1 / 3) / 4,
        ),
    ],
)
def test_triplets_counted_by_hand(planted, proposal, expected):
    assert Truth(linkage=planted).triplet_accuracy(proposal) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_cophenetic_correlation_is_scipys(seed):
    points = np.random.default_rng(seed).normal(size=(9, 2))
    planted = hierarchy.linkage(points, "average")
    proposed = hierarchy.linkage(points, "single")
    expected, _ = hierarchy.cophenet(proposed, hierarchy.cophenet(planted))
    assert Truth(linkage=planted).cophenetic_correlation(proposed) == pytest.approx(expected)


def test_a_similarity_correlates_with_its_sign_turned():
    points = np.random.default_rng(0).normal(size=(7, 2))
    truth = Truth(linkage=hierarchy.linkage(points, "average"))
    expected, distances = hierarchy.cophenet(truth.linkage, pdist(points))
    similarity = 5 - np.linalg.norm(points[:, None] - points, axis=-1)
    assert truth.cophenetic_correlation(similarity) == pytest.approx(expected)
    assert len(distances) == 21


def test_a_proposal_without_structure_has_no_correlation():
    assert Truth(linkage=TWO_PAIRS).cophenetic_correlation(np.ones((4, 4))) == 0


def test_random_trees_have_a_third_of_the_triplets():
    rng, values = np.random.default_rng(0), []
    truth = Truth(linkage=hierarchy.linkage(rng.normal(size=(8, 3)), "average"))
    for _ in range(300):
        similarity = rng.normal(size=(8, 8))
        values.append(truth.triplet_accuracy(similarity + similarity.T))
    assert np.mean(values) == pytest.approx(1 / 3, abs=4 * np.std(values) / np.sqrt(300))


def test_a_star_has_no_hierarchy_and_says_so():
    truth = Truth(linkage=STAR)
    assert not truth.has_hierarchy
    assert Truth(linkage=TWO_PAIRS).has_hierarchy
    for score in (truth.triplet_accuracy, truth.cophenetic_correlation):
        with pytest.raises(ValueError, match=r"is a star.*truth\.has_hierarchy"):
            score(LADDER)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda: TRUTH.auc([1, 2, 3]), "one number for each of 4, got 3"),
        (lambda: TRUTH.auc([1, 2, 3, np.nan]), "scores contains NaN"),
        (lambda: TRUTH.auc([1, 2, 3, 4], of="units"), r"'units' is not planted.*\['inputs'\]"),
        (lambda: TRUTH.auc([1, 2, 3, 4], of="neurons"), "must be one of .* got 'neurons'"),
        (lambda: TRUTH.auc([1, 2, 3, 4], of=np.ones(4)), "1-D boolean mask, got shape"),
        (lambda: TRUTH.auc([1, 2], of=np.ones(2, dtype=bool)), "undefined: 2 of 2 are real"),
        (lambda: TRUTH.auc([1, 2, 3, 4], against="dead"), "'dead' is not among the roles"),
        (lambda: TRUTH.auc([1, 2], of=np.eye(2)[0] > 0, against="noise"), "planted here: none"),
        (lambda: Truth(regions=np.array([0, 1])).auc([[1], [2]], of="regions"), r"\(2, 2\)"),
        (lambda: Truth(regions=np.array([0, 0])).auc([[1], [2]], of="regions"), "at least two"),
        (lambda: Truth(regions=np.array([0, 1])).auc(np.eye(2), "regions", against="a"), "leave"),
        (lambda: TRUTH.recovery(np.eye(4)), "no hidden features"),
        (lambda: Truth(latent=np.eye(4)).recovery(np.eye(3)), "inconsistent numbers of samples"),
        (lambda: Truth(latent=np.eye(4)).recovery(np.full((4, 1), np.inf)), "activations contains"),
        (lambda: Truth(latent=np.eye(4)).real_units(np.eye(4), threshold=1), "threshold == 1"),
        (lambda: TRUTH.triplet_accuracy(LADDER), "plants no class tree"),
        (
            lambda: Truth(linkage=LADDER).triplet_accuracy(np.eye(3)),
            r"\(4, 4\), got shape \(3, 3\)",
        ),
        (lambda: Truth(linkage=LADDER).triplet_accuracy(np.tri(4)), "symmetrise it first"),
        (lambda: Truth(linkage=LADDER).triplet_accuracy(LADDER[::-1]), "proposal"),
    ],
)
def test_a_wrong_question_is_answered_with_what_to_do(score, message):
    with pytest.raises(ValueError, match=message):
        score()


@pytest.mark.parametrize("scale", [1e-200, 1e160])
def test_recovery_knows_no_unit(scale):
    truth = make_teacher_student(100, n_teacher=3, random_state=0)[2]
    np.testing.assert_allclose(truth.recovery(scale * truth.latent), 1)
    mixed = truth.latent @ np.random.RandomState(0).normal(size=(truth.latent.shape[1], 4))
    np.testing.assert_allclose(truth.recovery(scale * mixed), truth.recovery(mixed), rtol=1e-9)
