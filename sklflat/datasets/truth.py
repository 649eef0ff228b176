"""What a generator planted, and how well an attempt found it."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_scalar

from sklflat.datasets import class_tree_scores
from sklflat.datasets.decision_tree import PlantedTree
from sklflat.datasets.network import PlantedNetwork
from sklflat.datasets.scoring import best_correlations, mask_auc, regions_auc

__all__ = ["Truth"]

_PER_SAMPLE = ("regions", "environment", "cues", "latent")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Truth:
    """What is real in generated data; None where a generator says nothing about it.

    Attributes
    ----------
    inputs : ndarray of shape (n_features,), of bool
        Inputs that determine the target.
    roles : ndarray of shape (n_features,), of str
        What an input is: ``"noise"`` is independent of the target; the other names are given by
        the generator.
    groups : ndarray of shape (n_features,), of int
        Inputs with the same number belong together; -1 belongs to nothing.
    levels : ndarray of shape (n_features,), of int
        Level of the class tree at which an input tells classes apart: 0 is the top, -1 is noise.
    regions : ndarray of shape (n_samples,)
        Region that each sample lies in.
    environment : ndarray of shape (n_samples,), of int
        Environment that each sample was drawn from.
    cues : ndarray of shape (n_samples, 2)
        The real and the spurious cue before noise, each -1 or 1.
    latent : ndarray of shape (n_samples, n_latent)
        Values of the hidden features from which the data were made.
    atoms : ndarray of shape (n_latent,), of bool
        Superposed features that determine the target.
    importances : ndarray of shape (n_latent,)
        Weight of each superposed feature in the target, without sign.
    dictionary : ndarray of shape (n_latent, n_features)
        Direction of each superposed feature in the inputs, of unit norm.
    coef : ndarray of shape (n_latent,)
        Coefficients of the target in the hidden features, with sign.
    linkage : ndarray of shape (n_classes - 1, 4)
        The class tree in scipy's format; a height is the distance of the class means.
    means : ndarray of shape (n_classes, n_features)
        Class means.
    teacher : PlantedNetwork
        The network that made the target.
    network : PlantedNetwork
        A wider network that computes the same function, its units in random order; from
        make_shared_private the first of the students.
    students : tuple of PlantedNetwork
        Networks that have the teacher's units in common.
    tree : PlantedTree
        The decision tree that made the labels.

    Examples
    --------
    A score that puts the real inputs first is perfect; a constant one is chance:

    >>> from sklflat.datasets import make_sparse_parity
    >>> X, y, truth = make_sparse_parity(n_features=8, n_relevant=3, random_state=0)
    >>> truth.auc(truth.inputs, of="inputs"), truth.auc([1.0] * 8, of="inputs")
    (1.0, 0.5)
    """

    inputs: NDArray[np.bool_] | None = None
    roles: NDArray[np.str_] | None = None
    groups: NDArray[np.int64] | None = None
    levels: NDArray[np.int64] | None = None
    regions: NDArray | None = None
    environment: NDArray[np.int64] | None = None
    cues: NDArray[np.float64] | None = None
    latent: NDArray[np.float64] | None = None
    atoms: NDArray[np.bool_] | None = None
    importances: NDArray[np.float64] | None = None
    dictionary: NDArray[np.float64] | None = None
    coef: NDArray[np.float64] | None = None
    linkage: NDArray[np.float64] | None = None
    means: NDArray[np.float64] | None = None
    teacher: PlantedNetwork | None = None
    network: PlantedNetwork | None = None
    students: tuple[PlantedNetwork, ...] | None = None
    tree: PlantedTree | None = None

    @property
    def units(self) -> NDArray[np.bool_] | None:
        """Mask of the units of `network` that compute a feature of the teacher."""
        return None if self.network is None else self.network.units

    @property
    def has_hierarchy(self) -> bool:
        """Whether the class tree groups classes at all; a star does not."""
        return bool(class_tree_scores.resolves(self.cophenetic_distances).any())

    @property
    def cophenetic_distances(self) -> NDArray[np.float64]:
        """Heights at which two classes meet in the tree, shape (n_classes, n_classes)."""
        if self.linkage is None:
            raise ValueError("This generator plants no class tree; use make_class_tree.")
        return class_tree_scores.cophenetic_distances(self.linkage)

    def auc(
        self,
        scores: ArrayLike,
        of: str | NDArray[np.bool_] = "inputs",
        *,
        against: str | None = None,
    ) -> float:
        """Area under the ROC curve of scores against what is real.

        A perfect score has 1, a random one 0.5, one that puts the unreal first 0.

        Parameters
        ----------
        scores : array-like of shape (n,) or (n_samples, n_regions)
            Higher is more real. For ``of="regions"`` one column a region, in sorted order; the
            result is then the mean of the areas of each region against the rest.
        of : {"inputs", "units", "atoms", "regions"} or boolean mask, default="inputs"
            What is scored. A mask says itself what is real: ``truth.real_units(activations)`` for
            the units of a trained network, ``truth.regions == "a"`` for the samples of one region.
        against : str, default=None
            Count only the unreal with this role (of inputs) or status (of units): for example
            ``"spurious"`` leaves out pure noise. A role that is real by itself, such as
            ``"redundant"``, counts as unreal here, against all others that are real.

        Returns
        -------
        float
            Area in [0, 1]; ties count half.

        Raises
        ------
        ValueError
            If the generator says nothing about `of`, if a score is NaN or infinite, if their
            number is wrong, or if all or none are real, where the area is undefined.

        Examples
        --------
        A model that relies on the spurious cue alone:

        >>> from sklflat.datasets import make_spurious
        >>> X, y, truth = make_spurious(random_state=0)
        >>> truth.auc(truth.roles == "spurious", against="spurious")
        0.0
        """
        if not isinstance(of, str):
            return mask_auc(_check_mask(of), scores, None, against)
        planted = self._planted(of)
        if of != "regions":
            status = None if self.network is None else self.network.status
            roles = {"inputs": self.roles, "units": status, "atoms": None}[of]
            return mask_auc(planted, scores, roles, against)
        if against is not None:
            raise ValueError(f"against={against!r} does not apply to of='regions'; leave it out.")
        return regions_auc(planted, scores)

    def _planted(self, of: str) -> NDArray:
        names = ("inputs", "units", "atoms", "regions")
        if of not in names:
            raise ValueError(f"of must be one of {names} or a boolean mask, got {of!r}.")
        if (value := getattr(self, of)) is None:
            known = [name for name in names if getattr(self, name) is not None]
            raise ValueError(f"of={of!r} is not planted by this generator; it plants {known}.")
        return value

    def recovery(self, activations: ArrayLike) -> NDArray[np.float64]:
        r"""Best absolute correlation of each unit with a hidden feature of the data.

        .. math:: r_u = \max_j |\mathrm{corr}(a_u, z_j)|

        over the hidden features :math:`z_j` that determine the target. A unit that is constant on
        the samples has 0.

        Parameters
        ----------
        activations : array-like of shape (n_samples, n_units)
            Activations of any network's units on the samples of this truth, in their order.

        Returns
        -------
        ndarray of shape (n_units,)
            Correlations in [0, 1].

        Raises
        ------
        ValueError
            If the generator has no hidden features, or there is not one row a sample.

        Examples
        --------
        >>> from sklflat.datasets import make_teacher_student
        >>> X, y, truth = make_teacher_student(n_teacher=3, random_state=0)
        >>> truth.recovery(-2 * truth.latent + 1).round(6)
        array([1., 1., 1.])
        """
        if self.latent is None:
            raise ValueError(
                "This generator has no hidden features to compare units with; use "
                "make_teacher_student, make_shared_private, make_redundant_features or "
                "make_superposition."
            )
        z = self.latent if self.atoms is None else self.latent[:, self.atoms]
        return best_correlations(activations, z)

    def real_units(self, activations: ArrayLike, *, threshold: float = 0.9) -> NDArray[np.bool_]:
        """Label the units of a trained network: real is what recovers a hidden feature.

        Parameters
        ----------
        activations : array-like of shape (n_samples, n_units)
            Activations of the units on the samples of this truth, in their order.
        threshold : float, default=0.9
            A unit is real where `recovery` exceeds this absolute correlation, in [0, 1).
            Units that mix features lie in between: of 40 units trained on the default
            make_teacher_student some 5 have 0.6 to 0.95 in regression, some 11 in classification.
            A result should hold at more than one threshold.

        Returns
        -------
        ndarray of shape (n_units,), of bool
            Mask to pass on as ``auc(scores, of=mask)``.

        Examples
        --------
        All copies of a feature are real, units that nobody reads or that never fire are not:

        >>> from sklflat.datasets import make_teacher_student
        >>> X, y, truth = make_teacher_student(random_state=0)
        >>> mask = truth.real_units(truth.network.hidden(X))
        >>> bool((mask == truth.units).all())
        True
        """
        check_scalar(
            threshold, "threshold", (int, float), min_val=0, max_val=1, include_boundaries="left"
        )
        return self.recovery(activations) > threshold

    def cophenetic_correlation(self, proposal: ArrayLike) -> float:
        """Pearson correlation of the planted and the proposed distances between classes.

        Parameters
        ----------
        proposal : array-like of shape (n_classes - 1, 4) or (n_classes, n_classes)
            A linkage in scipy's format, whose cophenetic distances are taken, or a symmetric
            similarity, higher is closer, whose diagonal is ignored.

        Returns
        -------
        float
            Correlation in [-1, 1] over all pairs; 0 where the proposal has all pairs equal.

        Raises
        ------
        ValueError
            If the planted tree is a star, or `proposal` is neither a linkage nor a similarity.

        References
        ----------
        .. [1] R. R. Sokal, F. J. Rohlf, "The comparison of dendrograms by objective methods",
           Taxon 11, 1962. https://doi.org/10.2307/1217208

        Examples
        --------
        >>> from sklflat.datasets import make_class_tree
        >>> X, y, truth = make_class_tree(random_state=0)
        >>> round(truth.cophenetic_correlation(-truth.cophenetic_distances), 12)
        1.0
        """
        return class_tree_scores.cophenetic_correlation(self.cophenetic_distances, proposal)

    def triplet_accuracy(self, proposal: ArrayLike) -> float:
        """Share of triplets of classes whose closest pair is proposed as planted.

        Triplets that the planted tree leaves open are left out. Pairs tied for closest share the
        credit, so that a proposal with all pairs equal has the 1/3 of chance.

        Parameters
        ----------
        proposal : array-like of shape (n_classes - 1, 4) or (n_classes, n_classes)
            A linkage in scipy's format or a symmetric similarity, higher is closer.

        Returns
        -------
        float
            Accuracy in [0, 1]; chance is 1/3.

        Raises
        ------
        ValueError
            If the planted tree is a star, or `proposal` is neither a linkage nor a similarity.

        Examples
        --------
        >>> import numpy as np
        >>> from sklflat.datasets import make_class_tree
        >>> X, y, truth = make_class_tree(random_state=0)
        >>> truth.triplet_accuracy(truth.linkage)
        1.0
        >>> round(truth.triplet_accuracy(np.ones((8, 8))), 12)
        0.333333333333
        """
        return class_tree_scores.triplet_accuracy(self.cophenetic_distances, proposal)

    def subset(self, samples: ArrayLike) -> "Truth":
        """Restrict to some samples, as a split of X and y does.

        Parameters
        ----------
        samples : array-like of int or bool
            Indices of samples, or a mask.

        Returns
        -------
        Truth
            The same truth with one row a chosen sample.

        Examples
        --------
        >>> from sklflat.datasets import make_spurious
        >>> X, y, truth = make_spurious(100, random_state=0)
        >>> truth.subset(truth.environment == 1).environment.sum()
        np.int64(50)
        """
        rows = np.asarray(samples)
        present = {name: getattr(self, name) for name in _PER_SAMPLE}
        return replace(self, **{k: v[rows] for k, v in present.items() if v is not None})

    def __repr__(self) -> str:
        present = [(f.name, getattr(self, f.name)) for f in fields(self)]
        shown = [
            f"{name}={value.shape if isinstance(value, np.ndarray) else value!r}"
            for name, value in present
            if value is not None
        ]
        return f"Truth({', '.join(shown)})"


def _check_mask(mask: ArrayLike) -> NDArray[np.bool_]:
    values = np.asarray(mask)
    if values.dtype != np.bool_ or values.ndim != 1:
        raise ValueError(
            f"of must be a name or a 1-D boolean mask, got shape {values.shape} of {values.dtype}."
        )
    return values
