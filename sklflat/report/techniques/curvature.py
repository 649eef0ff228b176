"""How flat the minimum is, and whether it is one."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sklflat.eigenspace import HessianSpectrum, SpectrumDisplay
from sklflat.metrics import mean_bounds
from sklflat.probing.display import axes_for
from sklflat.probing.resolve import resolve
from sklflat.probing.split import Rows
from sklflat.report.findings import FLAT, RADIUS, SHARP, at_rest, flat_minimum
from sklflat.report.parts import Quantity
from sklflat.report.subjects import Subject
from sklflat.report.targets import total_variance
from sklflat.report.techniques.base import Reading, Technique, always, unit_columns
from sklflat.report.wording import listed, number


@dataclass(frozen=True, eq=False)
class Flatness:
    """The spectrum of a network, and what a step along its sharpest direction costs.

    Attributes
    ----------
    spectrum : HessianSpectrum
    rises : ndarray of shape (n_rows,)
        Rise of each row's loss by a step of 0.05 along the sharpest direction, mean of both signs.
    constant_loss : float
        Mean loss of the best constant prediction.
    top : ndarray of shape (n_networks,)
        Largest eigenvalue of this network and of its further trainings.
    """

    spectrum: HessianSpectrum
    rises: NDArray = field(repr=False)
    constant_loss: float
    top: NDArray = field(repr=False)

    @property
    def rise(self) -> tuple[float, float, float]:
        """Mean, and the ends of its 95 % interval over rows."""
        if len(self.rises) < 2:
            return float(self.rises.mean()), -np.inf, np.inf
        low, high = mean_bounds(self.rises)
        return float(self.rises.mean()), float(low), float(high)


def fit(subject: Subject) -> Flatness:
    """Eigenpairs on the rows trained on, or on those given for a network brought trained."""
    rows = subject.held_out if subject.trained_on is None else subject.trained_on
    rows, effort = subject.at_most(rows, subject.effort.max_rows), subject.effort
    weights = _weights_only(rows.params)
    spectrum = HessianSpectrum(
        subject.network,
        n_components=effort.n_components,
        density=effort.density,
        trace_method="hutchinson" if effort.density else None,
        random_state=subject.seed,
    ).fit(rows.X, rows.y, **weights)
    top = [spectrum.eigenvalues_[0]]
    for other in subject.networks[1:]:
        one = HessianSpectrum(
            other, n_components=1, n_units=None, n_null=1, tol=1e-2, random_state=subject.seed
        )
        top.append(one.fit(rows.X, rows.y, **weights).eigenvalues_[0])
    return Flatness(
        spectrum, row_rises(spectrum, rows), constant_loss(rows, subject), np.array(top)
    )


def _weights_only(params: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in params.items() if k.split("__")[-1] in ("sample_weight", "groups")}


def row_rises(spectrum: HessianSpectrum, rows: Rows) -> NDArray[np.float64]:
    """Rise of every row's loss by a step along the first eigenvector, the mean of both signs.

    Parameters
    ----------
    spectrum : HessianSpectrum
        Fitted.
    rows : Rows
    """
    trained = resolve(spectrum.estimator_)
    x, y = trained.to_input(rows.X), trained.to_target(rows.y)
    network, w = trained.network, trained.network.vector.read()
    v = torch.as_tensor(spectrum.eigenvectors_[0]).to(w)
    losses = []
    for step in (0.0, RADIUS, -RADIUS):
        network.vector.write(w + step * v)  # of a private copy
        losses.append(network.losses(x, y).double().numpy())
    return (losses[1] + losses[2]) / 2 - losses[0]


def constant_loss(rows: Rows, subject: Subject) -> float:
    """Loss of the best constant: the entropy of the classes, or half the targets' variance.

    Parameters
    ----------
    rows : Rows
    subject : Subject
    """
    if not subject.is_classifier:
        return total_variance(rows.y) / 2
    y = np.asarray(rows.y)
    shares = [
        np.unique(column, return_counts=True)[1] / len(y) for column in y.reshape(len(y), -1).T
    ]
    return float(sum(-(p * np.log(p)).sum() for p in shares))


def read(found: Flatness, subject: Subject) -> Reading:
    """Flat, sharp or undecided; and whether training has come to rest."""
    spectrum, name = found.spectrum, subject.name
    known = subject.trained_on is not None
    flat = flat_minimum(name, found.rise, found.constant_loss, spectrum.converged_, known)
    rest = at_rest(name, spectrum.gradient_norm_, found.constant_loss) if known else None
    rested = "" if rest is None else f"{rest.statement} "
    unknown = f"Whether training has come to rest (SKF008) of {name}: the rows that it was trained "
    unknown += "on are not known, and on others the gradient is not 0 at a minimum."
    quantities = _quantities(found, subject.loss_name)
    shown = [number(float(v)) for v in spectrum.eigenvalues_[:3]]
    alt = (
        f"Eigenvalues of the Hessian of the {subject.loss_name}, from {shown[0]} "
        f"downwards, and the share of each unit outside of their span, against random directions."
    )
    shares = 1 - np.square(spectrum.loadings_).sum(axis=1)
    return Reading(
        (
            flat.statement,
            f"{rested}The largest eigenvalues are {listed(shown)}.",
        ),
        tuple(quantities),
        "Flatness is compared with 1 % of the loss of a constant, over rows. Units: "
        f"{spectrum.null_hypothesis_}",
        (flat,) if rest is None else (flat, rest),
        unit_columns(spectrum, flat_share=shares) if len(spectrum.unit_names_) else {},
        alt=alt,
        details={"top": found.top, "known": [float(known)]},
        inapplicable=() if known else (unknown,),
    )


def _quantities(found: Flatness, loss: str) -> list[Quantity]:
    spectrum, (rise, low, high) = found.spectrum, found.rise
    per = found.constant_loss / 100 if found.constant_loss > 0 else float("nan")
    quantities = [
        Quantity(
            "rise in the sharpest direction",
            rise / per,
            f"Rise of the {loss} by a step of {RADIUS:g} along the sharpest direction, in "
            f"per cent of a constant's loss: at most {FLAT:.0%} is flat, {SHARP:.0%} and more is "
            "sharp.",
            "%",
            low=low / per,
            high=high / per,
        ),
        Quantity(
            "top eigenvalue",
            float(spectrum.eigenvalues_[0]),
            f"Curvature of the {loss} in its sharpest direction.",
            source="eigenvalues_[0]",
        ),
        Quantity(
            "gradient norm",
            spectrum.gradient_norm_,
            f"Of the {loss}; 0 at a minimum of it (penalties are not in it).",
            source="gradient_norm_",
        ),
        Quantity(loss, spectrum.loss_, "Mean over these rows.", source="loss_"),
        Quantity(
            "eigenpairs certified",
            spectrum.converged_,
            "Whether all residuals are below the tolerance.",
            source="converged_",
        ),
    ]
    if spectrum.density:
        quantities.append(
            Quantity(
                "trace",
                float(spectrum.trace_),
                "Sum of all curvatures.",
                low=float(spectrum.trace_ - 1.96 * spectrum.trace_std_),
                high=float(spectrum.trace_ + 1.96 * spectrum.trace_std_),
                source="trace_",
            )
        )
    return quantities


def draw(found: Flatness) -> Any:
    """Eigenvalues, density and units."""
    axes = axes_for(None, 3, figsize=(14, 4), layout="constrained")
    display = SpectrumDisplay.from_estimator(found.spectrum, axes=axes)
    if not found.spectrum.density:
        axes[1].remove()
    if not len(found.spectrum.unit_names_):
        axes[2].remove()
    return display.figure_


CURVATURE = Technique(
    "curvature",
    "Flatness",
    "Is the network in a flat minimum?",
    "eigenspace",
    always,
    fit,
    read,
    draw,
)
