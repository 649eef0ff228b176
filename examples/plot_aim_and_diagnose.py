"""
Aim and diagnose
================

Sharpness-aware training aims at flat minima. Whether it gets there is a statement about curvature,
so this page trains two networks that differ in ``rho`` alone, watches their curvature, and takes
the spectra of the Hessian apart at the end: how flat is it, is the number to be trusted, and what
has it to do with units?
"""

# %%
# Two trainings, watched
# ----------------------
# ``CurvatureMonitor`` records the top eigenvalue and the trace after every epoch. It looks at
# copies, so the training is the same with it and without it.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklflat import CurvatureMonitor, HessianSpectrum, SAMClassifier, SpectrumDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, train_size=600, random_state=0)

networks, monitors = {}, {}
for rho in (0.0, 0.2):
    monitors[rho] = CurvatureMonitor(n_components=1)
    networks[rho] = SAMClassifier(
        (32,),
        rho=rho,
        solver="sgd",
        learning_rate_init=0.1,
        max_iter=40,
        tol=0,
        callbacks=[monitors[rho]],
        random_state=0,
    ).fit(X_train, y_train)

fig, ax = plt.subplots()
for (rho, monitor), style in zip(monitors.items(), ("--", "-"), strict=True):
    values = [values[0] for values in monitor.eigenvalues_]
    ax.plot(monitor.epochs_, values, style, color="black", label=f"rho = {rho}")
ax.set_xlabel("epoch")
ax.set_ylabel("largest eigenvalue of the Hessian")
ax.legend()

# %%
# The spectrum at the end
# -----------------------
# The networks are taken as they are. Every eigenvalue has its residual, the trace its standard
# error.

from sklearn.frozen import FrozenEstimator

spectra = {}
for rho, network in networks.items():
    spectra[rho] = HessianSpectrum(
        FrozenEstimator(network),
        n_components=12,
        n_units=None,
        density=True,
        trace_method="hutchinson",
        noise_level=0.5,
        random_state=0,
    ).fit(X_train, y_train)
    s = spectra[rho]
    print(
        f"rho = {rho}: largest eigenvalue {s.eigenvalues_[0]:.2f}, "
        f"residual {s.residuals_[0]:.1e}, trace {s.trace_:.1f} ± {s.trace_std_:.1f}, "
        f"gradient {s.gradient_norm_:.3f}, "
        f"test accuracy {network.score(X_test, y_test):.3f}"
    )

SpectrumDisplay.from_estimator(spectra[0.2])

# %%
# What flatness has to do with units
# ----------------------------------
# Of each unit the score says how much of its own parameters lies in the flat complement of the top
# eigenvectors. Noise on each unit shows what that is worth.

for rho, s in spectra.items():
    c = s.supported_correlation_
    print(
        f"rho = {rho}: flat units and harm by noise, r = {c.value:.2f} [{c.low:.2f}, {c.high:.2f}]"
    )

# %%
# Noise on units in flat directions does less harm. They are not what the network stands on: flat is
# where it can do without.

assert all(s.converged_ for s in spectra.values())
assert spectra[0.2].eigenvalues_[0] < spectra[0.0].eigenvalues_[0]
assert all(s.supported_sign_ < 0 for s in spectra.values())
