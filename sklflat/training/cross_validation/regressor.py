"""The regressor that chooses its radius and L2 penalty by cross-validation."""

from dataclasses import dataclass
from typing import ClassVar

from sklearn.base import RegressorMixin

from sklflat.training.cross_validation.tuned import TunedEstimator
from sklflat.training.estimators.parameters import Constraints, RegressorParameters
from sklflat.training.estimators.sam_regressor import SAMRegressor


@dataclass(kw_only=True, eq=False, repr=False)
class SAMRegressorCV(RegressorMixin, TunedEstimator, RegressorParameters):
    """Sharpness-aware regressor that chooses radius and L2 penalty by cross-validation.

    All candidates are trained on all folds in two stacks (:class:`StackedSearchCV`; those of radius
    0 have their own, and large networks none), and the best
    on all rows. Parameters and attributes of which nothing more is said here are those of
    :class:`SAMClassifierCV`.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int or int, default=(100,)
    activation : {"identity", "logistic", "tanh", "relu", "gelu", "silu"}, default="relu"
    net : None, torch.nn.Module class or instance, factory, or skorch net, default=None
    dropout : float, default=0.0
    variant : str or Perturbation, default="sam"
    rhos : array-like of shape (n_rhos,), default=(0, 0.1, 0.2, 0.5, 1)
    alphas : array-like of shape (n_alphas,), default=(1e-4, 1, 10)
    cv : int, splitter or iterable, default=3
    scoring : str or callable, default=None
        None is R².
    n_jobs : int, default=None
    search_dtype : {"float32", "float64"} or None, default="float32"
    solver : {"sgd", "adam"}, default="adam"
    batch_size : int or "auto", default="auto"
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
    learning_rate_init : float, default=0.001
    power_t : float, default=0.5
    max_iter : int, default=200
    momentum : float, default=0.9
    nesterovs_momentum : bool, default=True
    beta_1 : float, default=0.9
    beta_2 : float, default=0.999
    epsilon : float, default=1e-8
    shuffle : bool, default=True
    early_stopping : bool, default=False
    validation_fraction : float, default=0.1
    n_iter_no_change : int, default=10
    tol : float, default=1e-4
    callbacks : sequence of skorch callbacks, default=()
    dtype : {"float32", "float64"}, default=None
    device : str, default="cpu"
    random_state : int, RandomState instance or None, default=None
    verbose : int, default=0
    loss : {"squared_error", "poisson"}, default="squared_error"
        Half the squared error, or half the Poisson deviance, as in :class:`SAMRegressor`.

    Attributes
    ----------
    rho_, alpha_, best_score_ : float
    scores_ : ndarray of shape (n_folds, n_rhos, n_alphas)
    rhos_, alphas_ : ndarray of shape (n_rhos,), (n_alphas,)
    best_estimator_ : SAMRegressor
    n_stacked_ : int
    net_, module_, n_iter_, coefs_, intercepts_, n_features_in_, feature_names_in_
        Those of ``best_estimator_``.

    Raises
    ------
    ValueError
        If ``rhos`` or ``alphas`` is no list of numbers of at least 0, all trainings fail, or no
        candidate has a score in every fold.

    Warns
    -----
    FitFailedWarning
        If training some candidates fails, for example by diverging; their score is NaN.
    PerturbationWarning
        If the best candidate, trained on all rows, scores less on these than the networks of the
        folds on rows that were held out, beyond chance, or diverges. The next best is taken; if
        the four best all fail, the best is kept.
    ConvergenceWarning
        If no candidate predicts held-out rows better than the mean of y; says whether its scale
        is the likely reason. Not with a ``scoring`` of your own.

    References
    ----------
    Foret et al.: Sharpness-Aware Minimization. ICLR 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat import SAMRegressorCV
    >>> X = np.random.RandomState(0).uniform(-1, 1, size=(100, 1))
    >>> y = np.sin(3 * X[:, 0])
    >>> reg = SAMRegressorCV((20,), rhos=(0, 0.1), learning_rate_init=0.01, batch_size=20)
    >>> reg = reg.set_params(max_iter=100, random_state=0).fit(X, y)
    >>> reg.score(X, y) > 0.9
    True
    """

    _tuned: ClassVar[type[SAMRegressor]] = SAMRegressor
    _parameter_constraints: ClassVar[Constraints] = {
        **TunedEstimator._parameter_constraints,
        **RegressorParameters._parameter_constraints,
    }

    score = TunedEstimator.score  # by ``scoring``, and not RegressorMixin's
