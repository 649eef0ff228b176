"""The classifier that is trained with noise in flat directions only."""

from dataclasses import dataclass

from sklflat.training.estimators.classifier import PerturbedClassifier
from sklflat.training.estimators.noise_training import FlatNoiseTraining


@dataclass(kw_only=True, eq=False, repr=False)
class FlatNoiseClassifier(PerturbedClassifier, FlatNoiseTraining):
    """Neural network classifier trained with noise in flat directions only.

    Every gradient is taken at a noisy point. The noise leaves out the top curvature directions of
    the loss, so it can be several times longer than noise in all directions at the same rise of
    the loss; what it costs is one gradient a step, and products with the Hessian now and then.
    ``subspace`` also has the controls against which to compare: noise in all directions, in the
    sharp ones only, and outside of random ones. To second order flat noise says nothing about the
    top eigenvalues: it explores the valley, and is no sharpness regulariser
    (:class:`~sklflat.training.perturbations.FlatNoise` has the formulas).

    Parameters
    ----------
    subspace : {"flat", "soft", "null", "isotropic", "sharp", "random"}, default="flat"
        Where the noise is: outside of the top ``n_directions`` eigenvectors of the Hessian, with a
        variance that falls with curvature, in the null space of the layers' inputs (which changes
        no output on the training data), everywhere, in the top eigenvectors only, or outside of
        as many random directions.
    sigma : float or "max", default=0.05
        Size of the noise in units of the budget; 0 is the base optimiser. ``"max"`` is the largest
        at which the training score falls by ``accuracy_budget`` at most.
    budget : {"loss", "norm"} or None, default="loss"
        ``"loss"``: sigma is the expected rise of the training loss, relative to the loss.
        ``"norm"``: the length of the noise, relative to the parameters', per filter. None: the
        standard deviation of single parameters.
    n_directions : int, default=8
        The most eigenvectors, fewer than parameters: those ahead of the largest relative gap of the
        eigenvalues, and a third of that many at the least.
    refresh : int, default=1000
        The most steps until the subspace is computed anew, which is done at 6, 12, 24, 46, ...
        steps: the Hessian turns ever more slowly.
    antithetic : bool or "increments", default=True
        Whether the sign of the noise alternates over consecutive steps. ``"increments"`` are
        differences of consecutive draws (Anti-PGD).
    accuracy_budget : float, default=0.01
        For ``sigma="max"``: by how much accuracy may fall.
    max_samples : int, default=200
        Training samples, evenly spread, on which curvature and rises are measured.
    **parameters
        All others of :class:`~sklflat.SAMClassifier` but ``variant`` and ``rho``;
        ``hidden_layer_sizes`` and ``activation`` may be given by position. ``alpha`` is not part
        of the noisy loss. The noise's parameters also apply to a skorch net.

    Attributes
    ----------
    noise_scale_ : float
        Length of the noise (root of mean squares) relative to the parameters', at the last check.
    subspace_overlap_ : ndarray of shape (n_refreshes - 1,)
        Overlap, from 0 to 1, of each refreshed subspace with the one before.
    noise_history_ : dict of ndarray of shape (n_checks,)
        ``step``, ``overlap``, ``kept``, ``length``, ``rise`` (measured, relative to the loss) and
        ``state`` of every check of the subspace: see
        :class:`~sklflat.training.perturbations.subspace_check.SubspaceCheck`.
    null_dimensions_ : dict of str to int
        For ``subspace="null"``: the dimension of each layer's null space.
    n_products_, n_loss_evaluations_ : int
        Products with the Hessian and forward passes, over ``max_samples`` each, of the last fit.

    Raises
    ------
    DivergenceError
        If training leaves the finite numbers.

    Warns
    -----
    NoiseWarning
        If the noise had to back off from a loss that is not finite, the subspace drifts faster than
        it is refreshed, a null space is empty, or noise in a control (not flat or soft) could not
        use up the budget.

    Notes
    -----
    The other attributes are those of :class:`~sklflat.SAMClassifier`; ``loss_curve_`` holds
    losses at the noisy weights. Training ends by the loss without noise on ``max_samples``, which
    is looked at every eighth step or more rarely; ``best_loss_`` is the lowest of these. Running
    statistics of batch normalisation are computed anew at the end, without noise.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from sklflat import FlatNoiseClassifier
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> clf = FlatNoiseClassifier(
    ...     (20,), n_directions=3, batch_size=20, learning_rate_init=0.02, random_state=0
    ... ).fit(X, y)
    >>> clf.score(X, y) > 0.95
    True
    """

    _parameter_constraints = {
        **PerturbedClassifier._parameter_constraints,
        **FlatNoiseTraining._parameter_constraints,
    }
