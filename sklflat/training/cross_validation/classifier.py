"""The classifier that chooses its radius and L2 penalty by cross-validation."""

from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from sklflat.training.cross_validation.tuned import TunedEstimator
from sklflat.training.estimators.parameters import ClassifierParameters, Constraints
from sklflat.training.estimators.sam_classifier import SAMClassifier


@dataclass(kw_only=True, eq=False, repr=False)
class SAMClassifierCV(ClassifierMixin, TunedEstimator, ClassifierParameters):
    """Sharpness-aware classifier that chooses radius and L2 penalty by cross-validation.

    All candidates are trained on all folds in two stacks (:class:`StackedSearchCV`; those of radius
    0 have their own, and large networks none), and the best
    on all rows; of equal ones the first by ``alphas``, then by ``rhos``: by default the smallest.
    The user guide's page "When does SAM help?" says what that is worth on real tables.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int or int, default=(100,)
        Width of every hidden layer.
    activation : {"identity", "logistic", "tanh", "relu", "gelu", "silu"}, default="relu"
        Nonlinearity of the hidden layers.
    net : None, torch.nn.Module class or instance, factory, or skorch net, default=None
        The network; None is :class:`sklflat.networks.MLP`. A class or factory gets
        ``n_features`` and ``n_outputs`` (the number of classes) if it takes them; an instance
        is copied and starts from its weights. An uninitialised skorch net trains by its own
        optimizer, criterion, iterators and callbacks, and its parameters can be searched
        (``net__lr``); then ``variant``, ``rhos``, ``class_weight``, ``dtype`` and
        ``random_state`` still apply, and setting another training parameter raises.
    dropout : float, default=0.0
        Dropout after every hidden layer of the default network.
    variant : str or Perturbation, default="sam"
        ``"sam"``, ``"asam"``, ``"gsam"``, ``"looksam"``, ``"fisher"``, ``"friendly"``,
        ``"momentum"``, or an object of :mod:`sklflat.training.perturbations`, whose own
        parameters can be searched (``variant__eta``).
    rhos : array-like of shape (n_rhos,), default=(0, 0.1, 0.2, 0.5, 1)
        Radii to try, in units of the parameters' norm. 0 is the base optimiser.
    alphas : array-like of shape (n_alphas,), default=(1e-4, 1, 10)
        L2 penalties to try with each; see ``alpha`` of :class:`SAMClassifier`. A skorch net brings
        its own weight decay, and these are left alone.
    cv : int, splitter or iterable, default=3
        Folds, as in ``GridSearchCV``; None are five.
    scoring : str or callable, default=None
        What the choice is by, as in ``GridSearchCV``. None is accuracy.
    n_jobs : int, default=None
        Of joblib: each worker stacks its part of the candidates.
    search_dtype : {"float32", "float64"} or None, default="float32"
        Precision in which candidates are trained where ``net`` and ``dtype`` are None; None is
        that of X. Single precision halves the time. The chosen network is trained in ``dtype``.
    solver : {"sgd", "adam"}, default="adam"
        Base optimiser. The papers use SGD with momentum, which wants scaled inputs and a
        ``learning_rate_init`` of about 0.05.
    batch_size : int or "auto", default="auto"
        ``"auto"`` is ``min(200, n_samples)``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule, for ``solver="sgd"``.
    learning_rate_init : float, default=0.001
        Initial learning rate.
    power_t : float, default=0.5
        Exponent of ``"invscaling"``.
    max_iter : int, default=200
        Largest number of epochs.
    momentum : float, default=0.9
        Momentum, for ``solver="sgd"``.
    nesterovs_momentum : bool, default=True
        Whether the momentum is Nesterov's.
    beta_1 : float, default=0.9
        Decay of Adam's first moment.
    beta_2 : float, default=0.999
        Decay of Adam's second moment.
    epsilon : float, default=1e-8
        Adam's stabiliser.
    shuffle : bool, default=True
        Whether samples are shuffled in every epoch.
    early_stopping : bool, default=False
        Hold out ``validation_fraction`` of the data, stop when the score on it does not rise,
        and keep the best weights.
    validation_fraction : float, default=0.1
        Share held out.
    n_iter_no_change : int, default=10
        Epochs without improvement by ``tol`` that end training.
    tol : float, default=1e-4
        Improvement that counts.
    callbacks : sequence of skorch callbacks, default=()
        Called during training.
    dtype : {"float32", "float64"}, default=None
        Precision of training. None is that of X on a CPU and float32 on a GPU.
    device : str, default="cpu"
        ``"cpu"``, ``"cuda"``, or ``"auto"`` for a GPU where there is one.
    random_state : int, RandomState instance or None, default=None
        Of initial weights, batches, dropout and validation split, equal for all candidates.
    verbose : int, default=0
        1 shows a progress bar, 2 also says what is not stacked.
    class_weight : dict, "balanced" or None, default=None
        Weights of classes, multiplied with ``sample_weight``.
    training_temperature : float, default=1.0
        Divides the logits in the training loss. Predictions do not use it.

    Attributes
    ----------
    rho_, alpha_ : float
        The chosen radius and L2 penalty: the best by ``scores_``, or the next best where its
        training on all rows fails.
    best_score_ : float
        Mean of their scores over folds. It is that of the best of many, hence optimistic.
    scores_ : ndarray of shape (n_folds, n_rhos, n_alphas)
        Score of every candidate on every fold; NaN where training or scoring failed.
        :class:`RadiusDisplay` draws it.
    rhos_, alphas_ : ndarray of shape (n_rhos,), (n_alphas,)
        What was tried.
    best_estimator_ : SAMClassifier
        Trained on all rows with ``rho_`` and ``alpha_``; predicts. What it knows further is its.
    n_stacked_ : int
        How many of the trainings were in a stack.
    classes_ : ndarray of shape (n_classes,)
    net_, module_, n_iter_, coefs_, intercepts_, n_features_in_, feature_names_in_
        Those of ``best_estimator_``.

    Raises
    ------
    ValueError
        If ``rhos`` or ``alphas`` is no list of numbers of at least 0, no class has a row for every
        fold, all trainings fail, or no candidate has a score in every fold.

    Warns
    -----
    FitFailedWarning
        If training some candidates fails, for example by diverging; their score is NaN.
    PerturbationWarning
        If the best candidate, trained on all rows, scores less on these than the networks of the
        folds on rows that were held out, beyond chance, or diverges. The next best is taken; if
        the four best all fail, the best is kept.
    UserWarning
        If a class has fewer rows than there are folds.

    References
    ----------
    Foret et al.: Sharpness-Aware Minimization. ICLR 2021.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from sklflat import SAMClassifierCV
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> clf = SAMClassifierCV((20,), rhos=(0, 1), max_iter=50, learning_rate_init=0.02)
    >>> clf = clf.set_params(random_state=0).fit(X, y)
    >>> clf.scores_.shape, clf.n_stacked_  # folds, radii, penalties
    ((3, 2, 3), 18)
    >>> clf.score(X, y) > 0.9
    True
    """

    _tuned: ClassVar[type[SAMClassifier]] = SAMClassifier
    _parameter_constraints: ClassVar[Constraints] = {
        **TunedEstimator._parameter_constraints,
        **ClassifierParameters._parameter_constraints,
    }

    score = TunedEstimator.score  # by ``scoring``, and not ClassifierMixin's

    @property
    def classes_(self) -> NDArray:
        """Class labels (n_classes,)."""
        return self._best("classes_").classes_

    def decision_function(self, X: ArrayLike) -> NDArray:
        """Logits of the chosen network in float64.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        logits : ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.best_estimator_.decision_function(X)

    def predict_proba(self, X: ArrayLike) -> NDArray:
        """Probabilities of the chosen network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        p : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_proba(X)

    def predict_log_proba(self, X: ArrayLike) -> NDArray:
        """Logarithms of ``predict_proba``, computed without underflow.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_p : ndarray of shape (n_samples, n_classes)
        """
        check_is_fitted(self)
        return self.best_estimator_.predict_log_proba(X)
