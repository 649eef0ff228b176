"""
A network that was trained elsewhere
====================================

A convolutional network was trained by a plain PyTorch loop, with no scikit-learn in sight. Three
lines bring it in: :func:`~sklflat.from_module` wraps it as a fitted, frozen classifier,
:func:`~sklflat.check_network` asks whether the techniques may rely on it, and from there on every
probe takes it as it is.
"""

# %%
# The loop
# --------

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import train_test_split
from torch import nn

from sklflat import (
    AblationProbe,
    HessianSpectrum,
    SpectrumDisplay,
    UnitDisplay,
    check_network,
    from_module,
)

X, y = load_digits(return_X_y=True)
X = (X / 16).reshape(-1, 1, 8, 8).astype(np.float32)
X, X_new, y, y_new = train_test_split(X, y, test_size=700, stratify=y, random_state=0)

torch.manual_seed(0)
module = nn.Sequential(
    nn.Conv2d(1, 12, 3, padding=1),
    nn.BatchNorm2d(12),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(12, 24, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Dropout(0.2),
    nn.Linear(96, 10),
)
optimizer = torch.optim.AdamW(module.parameters(), lr=0.005)
inputs, targets = torch.as_tensor(X), torch.as_tensor(y)
for _ in range(25):
    for batch in torch.randperm(len(inputs)).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(inputs[batch]), targets[batch]).backward()
        optimizer.step()

# %%
# Three lines
# -----------
# The module is as the loop has left it, in training mode; ``from_module`` takes a copy, so its
# dropout and batch statistics are never in the way. ``classes`` names the outputs, in their order.

network = from_module(module, classes=np.arange(10))
print(check_network(network, X_new[:200], y_new[:200]))
print(f"accuracy on rows that it has not seen: {network.score(X_new, y_new):.3f}")

# %%
# It is a scikit-learn classifier, so what scikit-learn draws of classifiers it draws of this one.

ConfusionMatrixDisplay.from_estimator(network, X_new, y_new, colorbar=False)
plt.show()

# %%
# Which channels does it need?
# ----------------------------
# Units of a convolution are its channels. The probe is given rows that the network has not seen:
# a frozen network is scored on all rows that it is given.

probe = AblationProbe(network, random_state=0).fit(X_new, y_new)
print(probe.decisions_)
UnitDisplay.from_estimator(probe)
plt.show()

# %%
# How flat is it?
# ---------------
# The curvature of the loss on the rows that it was trained on, certified by true residuals.

spectrum = HessianSpectrum(network, n_components=5, n_units=None, random_state=0).fit(X, y)
print(spectrum.eigenvalues_.round(3), f"largest residual {spectrum.residuals_.max():.1e}")
SpectrumDisplay.from_estimator(spectrum)
plt.show()

# %%
# What was shown
# --------------

assert network.score(X_new, y_new) > 0.95
assert probe.decisions_.count("needed") > 0
assert spectrum.converged_
assert len(probe.unit_names_) == 12 + 24
