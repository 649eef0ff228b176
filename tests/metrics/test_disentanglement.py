"""DCI and the mutual information gap on codes whose relation to factors is known."""

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Lasso, LinearRegression
from sklearn.neighbors import KNeighborsRegressor

from sklflat.metrics import dci, mutual_information_gap

RNG = np.random.RandomState(0)
F = RNG.uniform(-1, 1, size=(400, 3))
LABELS = RNG.randint(4, size=(600, 3))


class Given(RegressorMixin, BaseEstimator):
    """A predictor whose importances are one column of a matrix, in turn."""

    R = np.array([[3.0, 1.0], [1.0, 1.0], [0.0, 2.0]])
    turn = 0

    def fit(self, X, y):
        if len(y) == 50:  # a fit to all rows, not to a fold
            self.feature_importances_ = self.R[:, Given.turn % 2]
            Given.turn += 1
        return self

    def predict(self, X):
        return np.zeros(len(X))


def test_dci_is_its_formula():
    rng = np.random.RandomState(0)
    result = dci(rng.normal(size=(50, 3)), rng.normal(size=(50, 2)), predictor=Given())
    R = Given.R / 4  # both columns add up to 4
    rho = R.sum(axis=1) / 2
    expected = sum(rho[j] * (1 - entropy(R[j], base=2)) for j in range(3))
    assert result.disentanglement == pytest.approx(expected)
    expected = np.mean([1 - entropy(R[:, k], base=3) for k in range(2)])
    assert result.completeness == pytest.approx(expected)
    assert result.informativeness == 0
    np.testing.assert_allclose(result.importances, R)


def test_dci_tells_aligned_codes_from_rotated_ones():
    few = F[:200]
    aligned = dci(few[:, [1, 2, 0]] * [1, -5, 0.1], few)
    rotation = np.linalg.qr(np.random.RandomState(3).normal(size=(3, 3)))[0]
    rotated = dci(few @ rotation, few)
    assert min(aligned[:3]) > 0.95
    assert rotated.disentanglement < 0.6
    assert rotated.completeness < 0.6
    linear = dci(F @ rotation, F, predictor=LinearRegression())
    assert linear.informativeness == pytest.approx(1)


@pytest.mark.slow
def test_dci_of_noise_and_labels():
    noise = dci(RNG.normal(size=(200, 3)), F[:200])
    assert noise.informativeness < 0.05
    codes = LABELS[:200]
    labels = dci(codes + 0.1 * RNG.normal(size=codes.shape), codes, discrete=True)
    assert labels.informativeness > 0.98
    assert labels.disentanglement > 0.9
    with pytest.raises(TypeError, match="feature_importances_"):
        dci(F, F, predictor=KNeighborsRegressor())


def test_dci_does_not_depend_on_scale_or_on_sorted_rows():
    codes = F[:, [1, 2, 0]] + 0.3 * np.random.RandomState(1).normal(size=F.shape)
    lasso = Lasso(0.05)
    plain = dci(codes, F, predictor=lasso)
    scaled = dci(codes * [1e-3, 1, 1e3] + 5, F * [1, 100, 0.01], predictor=lasso)
    for found, expected in zip(scaled, plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 7)] * 2), -1).reshape(-1, 2)
    assert dci(grid, grid, random_state=0).informativeness > 0.9  # folds are shuffled


def test_gap_by_hand():
    v = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    half = np.array([0, 0, 0, 1, 1, 1, 1, 0])  # equal to v on three quarters
    gap = mutual_information_gap(np.c_[v, half], v[:, None])
    information = np.log(2) - entropy([0.75, 0.25])
    assert gap == pytest.approx((np.log(2) - information) / np.log(2))
    named = mutual_information_gap(np.c_[v, half], np.array(["a", "b"])[v][:, None], discrete=True)
    assert named == pytest.approx(gap)
    # what rounding leaves of a constant is no code
    constant = np.full(8, 0.1) + 1e-17 * v
    assert mutual_information_gap(np.c_[v, constant], v[:, None]) == pytest.approx(1)


def test_gap_of_known_codes():
    assert mutual_information_gap(3.0 * LABELS[:, [2, 0, 1]], LABELS) > 0.97
    assert mutual_information_gap(np.hstack([LABELS, LABELS]), LABELS) == pytest.approx(0)
    noise = RNG.normal(size=(600, 3))
    assert mutual_information_gap(noise, LABELS, n_bins=5) < 0.02
    assert mutual_information_gap(F, F, discrete=False) > 0.7


def test_gap_does_not_depend_on_order_or_scale():
    rows = RNG.permutation(600)
    codes = LABELS + RNG.normal(size=LABELS.shape)
    plain = mutual_information_gap(codes, LABELS)
    other = mutual_information_gap((codes * [2, 4, 8])[rows][:, [2, 0, 1]], LABELS[rows])
    assert other == pytest.approx(plain, rel=1e-9)


def test_bad_input():
    with pytest.raises(ValueError, match="codes must have at least two columns, got 1"):
        mutual_information_gap(LABELS[:, :1], LABELS)
    for score in mutual_information_gap, dci:
        for discrete in True, False:
            with pytest.raises(ValueError, match="column 1 is constant"):
                score(LABELS, np.c_[LABELS[:, :1], np.full(600, 7)], discrete=discrete)
        with pytest.raises(ValueError, match="For real factors pass discrete=False"):
            score(F, F, discrete=True)
    with pytest.raises(ValueError, match="n_bins=None"):
        mutual_information_gap(LABELS, LABELS, n_bins=None)
    with pytest.raises(ValueError, match="cv == 1"):
        dci(F, F, cv=1)
    with pytest.raises(ValueError, match="n_bins"):
        mutual_information_gap(LABELS, LABELS, n_bins=1)
