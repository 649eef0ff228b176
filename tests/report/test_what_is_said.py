"""What a page says is true of the rows, units and techniques that it had."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_diabetes
from torch import nn

from sklflat import MinimaReport, SAMRegressor, from_module
from sklflat.__main__ import main
from sklflat.exceptions import CommandError
from sklflat.report.data_files import read_table
from sklflat.report.efforts import EFFORTS
from sklflat.report.measuring import _settings
from sklflat.report.stopping import stopped
from sklflat.report.techniques import TECHNIQUES
from tests.report._reports import data, fitted, network, report
from tests.report.test_command_line import table, written

QUICK = {"effort": "quick", "n_models": 0, "random_state": 0}


# --- the unit of the target -----------------------------------------------------------------------


def test_verdicts_do_not_depend_on_the_unit_of_the_target():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    settings = QUICK | {"techniques": ("prediction", "curvature"), "task": "regression"}
    raw = MinimaReport(**settings).fit(X, y).page_
    scaled = MinimaReport(**settings).fit(X, (y - y.mean()) / y.std()).page_
    assert [(f.code, f.status, f.estimator) for f in raw.findings] == [
        (f.code, f.status, f.estimator) for f in scaled.findings
    ]
    score = raw.section("prediction", "plain").quantity("R²").value
    assert score == pytest.approx(scaled.section("prediction", "plain").quantity("R²").value, 1e-3)
    assert score > 0.3  # what linear regression has on such a split
    said = re.search(r"mean ([\d.]+), standard deviation ([\d.]+)", raw.settings["target"])
    assert float(said[1]) == pytest.approx(y.mean(), rel=0.1)
    assert float(said[2]) == pytest.approx(y.std(), rel=0.1)
    spread = next(q for q in raw.data if q.name == "standard deviation of the target")
    assert spread.value == pytest.approx(1, abs=0.1)
    assert "far from" not in spread.meaning


@pytest.mark.parametrize(("unit", "is_far"), [(1, False), (1000, True), (0.001, True)])
def test_a_target_far_from_unit_scale_is_said_where_estimators_are_given(unit, is_far):
    X, _ = data(n=100)
    own = SAMRegressor((4,), max_iter=2)
    found = report(own, ("prediction",), n_models=0).fit(X, unit * X[:, 0]).page_
    spread = next(q for q in found.data if q.name == "standard deviation of the target")
    assert spread.value == pytest.approx(unit * X[:, 0].std())
    assert ("far from unit scale" in spread.meaning) == is_far
    assert "target" not in found.settings  # it is as given


def test_a_constant_target_of_training_rows_is_no_division_by_zero():
    X, _ = data(n=60)
    settings = QUICK | {"techniques": ("prediction",), "task": "regression"}
    found = MinimaReport(**settings).fit(X, np.full(60, 0.1))
    assert np.isfinite(found.page_.section("prediction", "plain").quantity("R²").value)


# --- the command ----------------------------------------------------------------------------------


def test_a_bundled_table_knows_its_task():
    assert read_table("diabetes", None, "auto").task == "regression"
    assert read_table("wine", None, "auto").task == "classification"


def test_numbers_that_are_no_classes_lead_to_regression():
    rare = np.array([1.0, *[2.0, 3.0] * 30])
    with pytest.raises(CommandError, match="say --task regression"):
        read_table(written(table(61, kind=rare)), "kind", "auto")
    with pytest.raises(ValueError, match="task='regression'"):
        MinimaReport(**QUICK).fit(data(n=120)[0], np.arange(120) // 1.5 // 1)


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_columns_that_were_left_out_are_on_the_page(monkeypatch, capsys):
    fit = MinimaReport.fit

    def little(self, X, y):
        self.set_params(techniques=("prediction",), n_models=0)
        return fit(self, X, y)

    monkeypatch.setattr(MinimaReport, "fit", little)
    frame = table(n=60, id=[f"person {i}" for i in range(60)])
    assert main(["report", written(frame), "--target", "kind", "--quick", "-o", "a.html"]) == 0
    said = json.loads(Path("a.json").read_text())["settings"]["columns of the file"]
    assert "'id'" in said
    assert said in capsys.readouterr().out
    assert "names of rows rather than categories" in Path("a.html").read_text()


def test_a_missing_reader_of_parquet_is_one_sentence(monkeypatch):
    def refused(*args):
        raise ImportError("Unable to find a usable engine.\n" * 9)

    monkeypatch.setattr(pd, "read_parquet", refused)
    Path("a.parquet").write_bytes(b"")
    with pytest.raises(CommandError) as error:
        read_table("a.parquet", "kind", "auto")
    assert str(error.value) == "Parquet files need pyarrow: pip install 'sklflat[parquet]'."


def test_the_guide_has_all_options_of_the_command(capsys):
    with pytest.raises(SystemExit):
        main(["report", "--help"])
    options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    guide = (Path(__file__).parents[2] / "docs" / "user_guide" / "report.md").read_text()
    rows = [line for line in guide.splitlines() if line.startswith("| `")]
    assert options <= {o for row in rows for o in re.findall(r"--[a-z-]+", row)}


# --- networks that were brought trained -----------------------------------------------------------


def images(n=60):
    return np.random.RandomState(0).normal(size=(n, 1, 2, 3)).astype(np.float32)


def frozen():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    return from_module(module, classes=[0, 1])


@pytest.fixture(scope="module")
def given():
    X = images()
    y = (X[:, 0, 0, 0] > 0).astype(int)
    return report({"mine": frozen()}, ("prediction", "curvature", "temperature")).fit(X, y)


def test_rows_given_are_not_called_those_trained_on(given):
    page = given.page_
    section = page.section("curvature", "mine")
    words = [*section.sentences, section.picture.alt, *(q.meaning for q in section.quantities)]
    words += [*page.verdict, *(q.name for q in section.quantities)]
    assert "training loss" not in " ".join(words)
    assert "come to rest" not in " ".join(words)
    assert "loss on the rows given" in section.sentences[0]
    assert re.search(r"ts loss on the rows given is", page.verdict[0])
    assert "minimum" not in page.verdict[0]
    assert "SKF008" not in {f.code for f in page.findings}
    assert "(SKF008) of mine: the rows that it was trained on are not known" in str(page.left_out)
    assert "(SKF008) of mine" in given.to_html()


def test_two_classes_have_no_open_hierarchy(given):
    assert "SKF013" not in {f.code for f in given.findings_}
    assert "(SKF013) of mine: Two classes make" in str(given.page_.left_out)


@pytest.mark.parametrize("n_classes", [3, 6, 7])
def test_a_hierarchy_is_looked_for_where_rows_could_show_one(n_classes):
    X, y = data(n_classes=n_classes, n_features=8, n_informative=6)
    found = report(network(), techniques=("temperature",), n_models=0).fit(X, y)
    asked = "SKF013" in {f.code for f in found.findings_}
    left_out = f"{n_classes} classes are too few" in str(found.page_.left_out)
    assert asked == (n_classes >= 7)
    assert left_out == (n_classes < 7)


def test_images_are_said_by_their_shape(given):
    said = {q.name: q.value for q in given.page_.data}
    assert said["as the shape of a row"] == "1 × 2 × 3"
    assert "columns" not in said
    assert "1 × 2 × 3" in given.to_html()


# --- the verdict ----------------------------------------------------------------------------------


def test_a_verdict_is_only_of_techniques_that_ran(given):
    assert "units" not in given.page_.verdict[0]
    only = report(network(), ("prediction",), n_models=0).fit(*data()).page_
    finding = next(f for f in only.findings if f.code == "SKF001")
    assert finding.statement in only.verdict[0]
    assert "not measured" not in only.verdict[0]


def test_training_that_was_cut_short_comes_first():
    for sentence in fitted().page_.verdict[:2]:
        assert re.match(r"\w+: Training stopped at 30 epochs, before it converged: more", sentence)
    assert "(a full report trains 200) before" in stopped(40, True, EFFORTS["quick"])
    assert "(estimators= with a larger" in stopped(200, True, EFFORTS["full"])
    ends = (
        report(network(max_iter=200, tol=1.0), ("prediction",), n_models=0).fit(*data(n=100)).page_
    )
    assert "stopped" not in ends.verdict[0]


def test_a_technique_that_divides_rows_anew_says_so():
    anew = [t.key for t in TECHNIQUES if t.divides_anew]
    assert anew == ["rewinding"]

    class Divided:
        held_out = trained_on = range(3)
        all_rows = range(10)

    said = _settings(object(), Divided(), True)
    assert said == {"rows": "all 10, divided anew by the probe"}
    assert "held-out rows" in _settings(object(), Divided(), False)
