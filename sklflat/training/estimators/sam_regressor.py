"""The sharpness-aware regressor."""

from dataclasses import dataclass

from sklflat.training.estimators.parameters import SharpnessAware
from sklflat.training.estimators.regressor import PerturbedRegressor


@dataclass(kw_only=True, eq=False, repr=False)
class SAMRegressor(PerturbedRegressor, SharpnessAware):
    """Sharpness-aware neural network regressor.

    Takes the place of :class:`sklearn.neural_network.MLPRegressor`: same parameters, same
    attributes, and a training step whose gradient is taken at a perturbed point. With
    ``rho=0`` it trains exactly as its base optimiser does. Parameters and attributes of which
    nothing more is said here are those of :class:`~sklflat.SAMClassifier`.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int or int, default=(100,)
    activation : {"identity", "logistic", "tanh", "relu", "gelu", "silu"}, default="relu"
    net : None, torch.nn.Module class or instance, factory, or skorch net, default=None
        The network; None is :class:`sklflat.networks.MLP`. A class or factory gets
        ``n_features`` and ``n_outputs`` (the number of targets) if it takes them; an instance
        is copied and starts from its weights. An uninitialised skorch net trains by its own
        optimizer, criterion, iterators and callbacks, and its parameters can be searched
        (``net__lr``); then ``variant``, ``rho``, ``dtype``, ``warm_start`` and
        ``random_state`` still apply, and setting another training parameter raises.
    dropout : float, default=0.0
    variant : str or Perturbation, default="sam"
    rho : float, default=None
    solver : {"sgd", "adam"}, default="adam"
        Base optimiser. The papers use SGD with momentum, which wants scaled inputs and
        targets and a larger ``learning_rate_init``.
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
        Half the squared error, or half the Poisson deviance of the exponential of the
        network's output; summed over targets. A skorch net brings its own.
    alpha : float, default=1e-4
    warm_start : bool, default=False

    Attributes
    ----------
    net_ : skorch.NeuralNet
    module_ : torch.nn.Module
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
    n_iter_ : int
    loss_curve_ : list of float
    loss_, best_loss_ : float
    validation_scores_, best_validation_score_ : list of float, float
    n_gradient_evaluations_ : int
    n_skipped_steps_ : int
    cosine_to_sam_ : float
    coefs_, intercepts_ : lists of ndarray
        Weights and biases of the default network, as in ``MLPRegressor``.

    Raises
    ------
    DivergenceError
        If training leaves the finite numbers.

    References
    ----------
    Foret et al.: Sharpness-Aware Minimization. ICLR 2021. The other variants' papers are cited
    in :mod:`sklflat.training.perturbations`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat import SAMRegressor
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> y = np.sin(3 * X[:, 0])
    >>> reg = SAMRegressor((20,), batch_size=20, learning_rate_init=0.01, random_state=0).fit(X, y)
    >>> reg.score(X, y) > 0.95
    True
    """

    _parameter_constraints = {
        **PerturbedRegressor._parameter_constraints,
        **SharpnessAware._parameter_constraints,
    }
