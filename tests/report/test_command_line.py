"""``python -m sklflat report``: bad input is named before any work, and Ctrl-C can be resumed."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sklflat.__main__ import main
from sklflat.report import MinimaReport
from sklflat.report.data_files import read_table


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table(n=60, **columns):
    rng = np.random.RandomState(0)
    x = rng.normal(size=n)
    return pd.DataFrame({"width": x, "height": rng.normal(size=n), "kind": x > 0, **columns})


def written(frame, name="data.csv", **settings):
    frame.to_csv(name, index=False, **settings)
    return name


def parquet(frame=None, name="data.parquet", **columns):
    pytest.importorskip("pyarrow")
    (table(**columns) if frame is None else frame).to_parquet("data.parquet")
    return str(Path("data.parquet").rename(name))


def of_bytes(content):
    Path("x.csv").write_bytes(content)
    return "x.csv"


N = np.arange(60)
REFUSED = {
    "no file": (
        lambda: "dta.csv",
        ["--target", "kind"],
        "Did you mean 'data.csv'",
    ),
    "no bundled table": (lambda: "digit", [], "Did you mean 'digits'"),
    "target of a bundled table": (lambda: "iris", ["--target", "x"], "leave it out"),
    "no target": (lambda: written(table()), [], "--target 'kind'"),
    "unknown target": (
        lambda: written(table()),
        ["--target", "knd"],
        "no column 'knd'. Did you mean 'kind'?",
    ),
    "constant target": (lambda: written(table(kind=1)), ["--target", "kind"], "is '1' in all rows"),
    "missing target": (
        lambda: written(table(kind=[None, *N[1:]])),
        ["--target", "kind"],
        "missing in 1 of 60",
    ),
    "infinite target": (
        lambda: written(table(kind=[np.inf, *N[1:]])),
        ["--target", "kind"],
        "infinite",
    ),
    "infinite values": (
        lambda: written(table(width=[np.inf, *N[1:]])),
        ["--target", "kind"],
        "Infinite values in 'width'",
    ),
    "another separator": (
        lambda: written(table(), sep=";"),
        ["--target", "kind"],
        "say --separator ';'",
    ),
    "tabs": (lambda: written(table(), sep="\t"), ["--target", "kind"], "--separator '\\t'"),
    "one column": (
        lambda: written(table()[["kind"]]),
        ["--target", "kind"],
        "has one column, 'kind'",
    ),
    "many values": (
        lambda: written(table(n=10_000, kind=np.arange(10_000))),
        ["--target", "kind"],
        "10,000 different values in 10,000 rows, too many for classes (at most 100). Did you mean "
        "--task regression?",
    ),
    "names as a target": (
        lambda: written(table(kind=[f"row {i}" for i in N])),
        ["--target", "kind"],
        "choose another target",
    ),
    "numbers of text": (
        lambda: written(table(kind=["a", "b"] * 30)),
        ["--target", "kind", "--task", "regression"],
        "needs numbers, but 'kind' has values such as 'a'",
    ),
    "a class of one row": (
        lambda: written(table(kind=["a", *["b"] * 59])),
        ["--target", "kind"],
        "single row",
    ),
    "few rows": (lambda: written(table(n=19)), ["--target", "kind"], "19 rows are too few"),
    "no rows": (lambda: written(table(n=0)), ["--target", "kind"], "no rows"),
    "nothing to predict from": (
        lambda: written(table(width=1, height=2)),
        ["--target", "kind"],
        "no column to predict from",
    ),
    "no table": (
        lambda: of_bytes(b"\x00\xff\xfe\x81" * 9),
        ["--target", "kind"],
        "is not written in utf-8",
    ),
    "ragged lines": (
        lambda: of_bytes(b"a,b\n1,2\n1,2,3,4\n"),
        ["--target", "a"],
        "cannot be read as a table",
    ),
    "a directory": (lambda: os.mkdir("folder") or "folder", [], "is a directory"),
    "no directory to write to": (
        lambda: written(table()),
        ["--target", "kind", "-o", "nowhere/report.html"],
        "no directory 'nowhere'",
    ),
    "an output that is a directory yet to be": (
        lambda: written(table()),
        ["--target", "kind", "-o", "folder/"],
        "is a directory",
    ),
    "the data as output": (
        lambda: written(table()),
        ["--target", "kind", "-o", "./data.csv"],
        "would overwrite the data",
    ),
    "the data beside the output": (
        lambda: written(table(), "data.json"),
        ["--target", "kind", "-o", "data.html"],
        "would overwrite the data",
    ),
    "numbers as the page": (
        lambda: written(table()),
        ["--target", "kind", "-o", "out.json"],
        "the numbers go there",
    ),
    "nothing": (lambda: of_bytes(b""), ["--target", "kind"], "No columns to parse from file"),
    "names only": (lambda: of_bytes(b"a,b\n"), ["--target", "a"], "has no rows"),
    "one row": (lambda: written(table(n=1)), ["--target", "kind"], "1 row is too few"),
    "all targets missing": (
        lambda: written(table(kind=np.nan)),
        ["--target", "kind"],
        "missing in 60 of 60",
    ),
    "a name twice": (
        lambda: of_bytes(table().to_csv(index=False).replace("height", "width").encode()),
        ["--target", "kind"],
        "have the same name, 'width'",
    ),
    "the target's name twice": (
        lambda: of_bytes(table().to_csv(index=False).replace("height", "kind").encode()),
        ["--target", "kind"],
        "have the same name, 'kind'",
    ),
    "a name less than fields": (
        lambda: of_bytes(b"a,b\n" + b"1,2,0\n2,1,1\n" * 30),
        ["--target", "b"],
        "lines have more fields than there are names (2)",
    ),
    "another encoding": (
        lambda: of_bytes("größe,kind\n1,2\n".encode("latin-1")),
        ["--target", "kind"],
        "say --encoding",
    ),
    "no encoding": (
        lambda: written(table()),
        ["--target", "kind", "--encoding", "utf-9"],
        "not written in utf-9",
    ),
    "decimal commas": (
        lambda: written(table(), sep=";", decimal=","),
        ["--target", "kind", "--separator", ";"],
        "'width', 'height' have a comma: say --decimal ','",
    ),
    "a separator of two signs": (
        lambda: written(table()),
        ["--target", "kind", "--separator", ";;"],
        "no single sign",
    ),
    "numbers beyond all": (
        lambda: written(table(width=["1" + "0" * 400 for _ in N])),
        ["--target", "kind"],
        "Infinite values in 'width'",
    ),
    "labels that look the same": (
        lambda: written(table(kind=["yes", "yes ", "no"] * 20)),
        ["--target", "kind"],
        "nothing but spaces: 'yes', 'yes '",
    ),
    "dates as a target": (
        lambda: written(table(kind=pd.date_range("2020-01-01", periods=60))),
        ["--target", "kind"],
        "60 different values in 60 rows",
    ),
    "two of each value": (
        lambda: written(table(n=400, kind=np.arange(400) // 2)),
        ["--target", "kind"],
        "200 different values in 400 rows",
    ),
    "a spreadsheet": (
        lambda: Path("x.xlsx").write_bytes(b"PK") and "x.xlsx",
        ["--target", "kind"],
        "export its table as CSV",
    ),
    "no parquet": (
        lambda: pytest.importorskip("pyarrow") and written(table(), "x.parquet"),
        ["--target", "kind"],
        "It is no parquet file, or a part of one.",
    ),
    "parquet as CSV": (
        lambda: parquet(name="p.csv"),
        ["--target", "kind"],
        "is not written in utf-8",
    ),
    "lists as a target": (
        lambda: parquet(kind=[[1], [2]] * 30),
        ["--target", "kind"],
        "has lists or records",
    ),
    "a negative seed": (lambda: "iris", ["--seed", "-1"], "--seed -1 is not between"),
    "no jobs": (lambda: "iris", ["--jobs", "0"], "would do nothing"),
    "a directory as output": (
        lambda: written(table()),
        ["--target", "kind", "-o", "."],
        "give --output the name",
    ),
}


@pytest.mark.parametrize(("data", "arguments", "words"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_named_before_any_work(data, arguments, words, monkeypatch, capsys):
    def never(*args, **kwargs):
        raise AssertionError("work was begun")

    monkeypatch.setattr(MinimaReport, "fit", never)
    written(table())
    given = data()
    before = Path(given).read_bytes() if Path(given).is_file() else b""
    assert main(["report", given, *arguments]) == 1
    assert not before or Path(given).read_bytes() == before
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not [name for name in os.listdir() if "report" in name]


def test_an_output_that_cannot_be_written_is_refused(monkeypatch, capsys):
    name = "x" * 300 + ".html"
    assert main(["report", written(table()), "--target", "kind", "-o", name]) == 1
    assert "cannot be written: File name too long" in capsys.readouterr().err

    def locked(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", locked)  # a locked directory is none for root
    assert main(["report", written(table()), "--target", "kind", "-o", "a.html"]) == 1
    assert "'a.html' cannot be written: Permission denied." in capsys.readouterr().err


def test_real_numbers_are_a_regression():
    assert read_table(written(table()), "width", "auto").task == "regression"
    assert read_table("diabetes", None, "regression").task == "regression"


def interrupted(*args, **kwargs):
    raise KeyboardInterrupt


def test_after_control_c_the_same_command_goes_on(monkeypatch, capsys):
    command = ["report", written(table(n=80)), "--target", "kind", "--quick", "-o", "page.html"]
    fit = MinimaReport.fit

    def little(self, X, y):
        """The same with a technique only, as what is kept does not depend on which."""
        self.set_params(techniques=("prediction",), n_models=0)
        return fit(self, X, y)

    monkeypatch.setattr(MinimaReport, "fit", little)
    with monkeypatch.context() as patch:
        patch.setattr("sklflat.report.report.page_of", interrupted)
        assert main(command) == 130
    said = capsys.readouterr().err
    assert "run the same command again" in said
    assert "page.html.unfinished" in said
    kept = set(os.listdir("page.html.unfinished"))
    assert {"runs", "sections"} <= kept

    with monkeypatch.context() as patch:
        patch.setattr("sklflat.report.measuring._computed", interrupted)  # all is kept
        assert main(command) == 0
    out = capsys.readouterr().out
    assert "The report is page.html" in out
    assert not os.path.exists("page.html.unfinished")
    page = json.loads(Path("page.json").read_text())
    assert page["estimators"] == ["plain", "SAM"]
    assert "<html" in Path("page.html").read_text()


def test_what_training_refuses_is_said_without_a_traceback(monkeypatch, capsys):
    def refused(*args, **kwargs):
        raise ValueError("learning_rate_init is too high")

    monkeypatch.setattr(MinimaReport, "fit", refused)
    assert main(["report", "iris"]) == 1
    assert "learning_rate_init is too high" in capsys.readouterr().err
