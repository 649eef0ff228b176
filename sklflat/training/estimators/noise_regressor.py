"""The regressor that is trained with noise in flat directions only."""

from dataclasses import dataclass

from sklflat.training.estimators.noise_training import FlatNoiseTraining
from sklflat.training.estimators.regressor import PerturbedRegressor


@dataclass(kw_only=True, eq=False, repr=False)
class FlatNoiseRegressor(PerturbedRegressor, FlatNoiseTraining):
    """Neural network regressor trained with noise in flat directions only.

    What the noise is, what it costs, and what its parameters, attributes and warnings mean is said
    at :class:`~sklflat.FlatNoiseClassifier`; here a score is R^2 in place of the accuracy.

    Parameters
    ----------
    subspace : {"flat", "soft", "null", "isotropic", "sharp", "random"}, default="flat"
    sigma : float or "max", default=0.05
    budget : {"loss", "norm"} or None, default="loss"
    n_directions : int, default=8
    refresh : int, default=1000
    antithetic : bool or "increments", default=True
    accuracy_budget : float, default=0.01
        For ``sigma="max"``: by how much R^2 may fall.
    max_samples : int, default=200
    **parameters
        All others of :class:`~sklflat.SAMRegressor` but ``variant`` and ``rho``;
        ``hidden_layer_sizes`` and ``activation`` may be given by position.

    Attributes
    ----------
    noise_scale_ : float
    subspace_overlap_ : ndarray of shape (n_refreshes - 1,)
    noise_history_ : dict of ndarray of shape (n_checks,)
    null_dimensions_ : dict of str to int
    n_products_, n_loss_evaluations_ : int
        The other attributes are those of :class:`~sklflat.SAMRegressor`.

    Raises
    ------
    DivergenceError
        If training leaves the finite numbers.

    Warns
    -----
    NoiseWarning
        If the noise is not what was asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from sklflat import FlatNoiseRegressor
    >>> X = np.linspace(-1, 1, 100)[:, None]
    >>> y = np.sin(3 * X[:, 0])
    >>> reg = FlatNoiseRegressor(
    ...     (20,),
    ...     sigma=0.02,
    ...     n_directions=3,
    ...     batch_size=20,
    ...     learning_rate_init=0.01,
    ...     random_state=0,
    ... ).fit(X, y)
    >>> reg.score(X, y) > 0.95
    True
    """

    _parameter_constraints = {
        **PerturbedRegressor._parameter_constraints,
        **FlatNoiseTraining._parameter_constraints,
    }
