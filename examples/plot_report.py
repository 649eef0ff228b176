"""
One page on two networks
========================

Two networks tell malignant from benign tumours: one trained plainly, one sharpness-aware. Which of
their units are real, are they in flat minima, and would another training find the same?
:class:`~sklflat.MinimaReport` trains each from a few seeds, lets the techniques look at them, and
writes a page that needs nothing but itself.
"""

# %%
# From a table to a page
# ----------------------
# Three further trainings and four techniques keep this example short; without these settings all
# are run.

import tempfile
from pathlib import Path

from sklearn.datasets import load_breast_cancer

from sklflat import MinimaReport

X, y = load_breast_cancer(return_X_y=True, as_frame=True)
report = MinimaReport(
    effort="quick",
    techniques=("prediction", "ablation", "curvature", "universality"),
    n_models=3,
    random_state=0,
).fit(X, y)
page = Path(tempfile.mkdtemp()) / "report.html"
report.to_html(page)
print(f"{page.name}: {page.stat().st_size / 1000:.0f} kB")
for sentence in report.page_.verdict:
    print("-", sentence)

# %%
# In a notebook the report shows itself: a frame with the page.

print(report._repr_html_()[:60])

# %%
# What needs attention, and what is open
# --------------------------------------
# Each finding has a code, a null, and a rate at which it is reported by mistake: see the user
# guide.

for finding in report.findings_:
    if finding.status != "passed":
        print(finding.code, finding.status, "-", finding.statement)

# %%
# All numbers, and the probes behind them
# ---------------------------------------
# The numbers of the page are those of the fitted probes, which the report keeps.

print(report.to_frame()[["technique", "estimator", "quantity", "value"]].head(8))
probe = report.probes_["ablation", "SAM"]
print(probe.decisions_)

number = report.page_.section("ablation", "SAM").quantity("needed units")
assert number.value <= probe.decisions_.count("needed")
assert page.stat().st_size <= 400_000
