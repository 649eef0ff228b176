"""The sharpness-aware classifier."""

from dataclasses import dataclass

from sklflat.training.estimators.classifier import PerturbedClassifier
from sklflat.training.estimators.parameters import SharpnessAware


@dataclass(kw_only=True, eq=False, repr=False)
class SAMClassifier(PerturbedClassifier, SharpnessAware):
    """Sharpness-aware neural network classifier.

    Takes the place of :class:`sklearn.neural_network.MLPClassifier`: same parameters, same
    attributes, and a training step whose gradient is taken at a perturbed point. With
    ``rho=0`` it trains exactly as its base optimiser does.

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
        (``net__lr``); then ``variant``, ``rho``, ``class_weight``, ``dtype``, ``warm_start``
        and ``random_state`` still apply, and setting another training parameter raises.
    dropout : float, default=0.0
        Dropout after every hidden layer of the default network.
    variant : str or Perturbation, default="sam"
        ``"sam"``, ``"asam"``, ``"gsam"``, ``"looksam"``, ``"fisher"``, ``"friendly"``,
        ``"momentum"``, or an object of :mod:`sklflat.training.perturbations`, whose own
        parameters can be searched (``variant__eta``).
    rho : float, default=None
        Length of the perturbation in units of the parameters' norm. None is the variant's own
        default; 0 is the base optimiser.
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
        Of initial weights, batches, dropout and validation split.
    verbose : int, default=0
        1 shows a progress bar, 2 also prints the loss of every epoch.
    class_weight : dict, "balanced" or None, default=None
        Weights of classes, multiplied with ``sample_weight``.
    training_temperature : float, default=1.0
        Divides the logits in the training loss. Predictions do not use it.
    alpha : float, default=1e-4
        L2 penalty on all weights but biases, divided by the sum of sample weights of the
        batch; not part of the perturbation.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the last weights.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    net_ : skorch.NeuralNet
        The trained skorch net.
    module_ : torch.nn.Module
        Its module.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        For X with string column names.
    n_iter_ : int
        Epochs of the last fit.
    loss_curve_ : list of float
        Mean training loss of every epoch, at the unperturbed weights.
    loss_, best_loss_ : float
    validation_scores_, best_validation_score_ : list of float, float
        With ``early_stopping``, otherwise None.
    n_gradient_evaluations_ : int
        Gradients of a batch computed so far.
    n_skipped_steps_ : int
        Steps left out because a gradient was not finite.
    cosine_to_sam_ : float
        For ``variant="fisher"``: cosine of its last perturbation with SAM's.
    coefs_, intercepts_ : lists of ndarray
        Weights and biases of the default network, as in ``MLPClassifier``.

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
    >>> from sklearn.datasets import make_moons
    >>> from sklflat import SAMClassifier
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> clf = SAMClassifier((20,), rho=0.05, learning_rate_init=0.02, random_state=0).fit(X, y)
    >>> clf.score(X, y) > 0.95
    True
    >>> clf.n_gradient_evaluations_ == 2 * clf.n_iter_  # one batch an epoch
    True
    """

    _parameter_constraints = {
        **PerturbedClassifier._parameter_constraints,
        **SharpnessAware._parameter_constraints,
    }
