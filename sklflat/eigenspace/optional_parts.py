"""Parts of a spectrum that are there only where a parameter asks for them."""

from typing import Any

import numpy as np

from sklflat.eigenspace.loss_surface import LossSurface
from sklflat.eigenspace.noise import rank_correlation

#: fitted attributes that a default fit does not have, and what asks for them
PARTS = {
    "trace_": "trace_method='hutchinson'",
    "trace_std_": "trace_method='hutchinson'",
    "density_": "density=True",
    "proxy_overlap_": "proxy_overlap=True",
    "spectral_measure_": "spectral_measures=True",
    "unit_labels_": "n_clusters='auto'",
    "cluster_p_value_": "n_clusters='auto'",
    "noise_rises_": "noise_level=0.5",
    "supported_correlation_": "noise_level=0.5",
    "supported_sign_": "noise_level=0.5",
    "response_": "unit_score='response'",
    "layer_eigenvalues_": "by_layer=True",
}


def measured_parts(spectrum: Any, surface: LossSurface) -> dict[str, Any]:
    """Those attributes of PARTS that a spectrum's parameters ask for.

    Parameters
    ----------
    spectrum : HessianSpectrum
        Whose units are scored; only read.
    surface : LossSurface
    """
    parts: dict[str, Any] = {}
    if spectrum.density:
        parts["density_"] = surface.density
    if spectrum.trace_method is not None:
        trace = surface.trace(spectrum.trace_method, spectrum.density)
        parts |= {"trace_": trace.value, "trace_std_": trace.std_error}
    if spectrum.spectral_measures:
        parts["spectral_measure_"] = surface.measures
    if spectrum.proxy_overlap:
        is_proxy = spectrum.operator == "gradient_covariance"
        parts["proxy_overlap_"] = float("nan") if is_proxy else surface.proxy_overlap()
    if spectrum.by_layer:
        parts["layer_eigenvalues_"] = surface.layer_eigenvalues(spectrum.n_components, spectrum.tol)
    if spectrum.unit_score == "response":
        parts["response_"] = surface.response if len(surface.units) else None
    if spectrum.n_clusters is not None:
        parts["unit_labels_"], parts["cluster_p_value_"] = surface.clusters(spectrum.n_clusters)
    if spectrum.noise_level is not None:
        parts |= _support(spectrum, surface)
    return parts


def _support(spectrum: Any, surface: LossSurface) -> dict[str, Any]:
    """Whether the score goes with the rise of the loss under noise on the unit."""
    rises = surface.noise_rises(spectrum.noise_level)
    chosen = ~np.isnan(rises)
    found = rank_correlation(spectrum.unit_scores_[chosen], rises[chosen])
    return {
        "noise_rises_": rises,
        "supported_correlation_": found if len(surface.units) else None,
        "supported_sign_": found.sign,
    }
