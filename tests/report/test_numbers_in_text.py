"""Numbers, units and dates that were read as text are named, and what to do is said."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sklflat import MinimaReport
from sklflat.exceptions import CommandError
from sklflat.report.data_files import read_table
from sklflat.report.encoding import encoder_of, inputs_of_categories
from sklflat.report.table_files import Format
from sklflat.report.text_columns import looks_like_dates, numbers_in_text
from tests.report.test_command_line import N, table, written


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


MARKED = ["?" if i % 10 == 0 else i / 7 for i in N]
DAYS = pd.date_range("2024-01-01", periods=60)

#: values, and what is said of them; None where they are categories
COLUMNS = {
    "a marker": (MARKED, "90 % of the values of 'q' are numbers; '?' is not."),
    "one in many": (["-", *map(str, range(999))], "99 % of the values of 'q' are numbers"),
    "many markers": (["-"] * 50 + ["1", "2", "3"], "3 of the values of 'q' are numbers; '-' is"),
    "markers": ([*map(str, N), "?", "?", "n/k"], "'?', 'n/k' are not."),
    "parts of a long file": ([1.5, "?", 2, 7], "75 % of the values"),
    "decimal commas and a marker": (["1,5", "2,5", "1.000,5", "?"], "75 % of the values"),
    "percent": ([f"{i}%" for i in N], "The numbers in 'q' have '%' beside them, such as '0%'."),
    "euro": ([f"€{i}" for i in N], "have '€' beside them"),
    "a unit": ([f"-{i}.5 kg" for i in N], "have 'kg' beside them"),
    "thousands of dollars": ([f"-$ {i},000" for i in N], "have '$' beside them"),
    "a currency by name": ([f"CHF {i}" for i in N], "have 'CHF' beside them"),
    "a unit and a marker": ([*(f"{i} %" for i in N), "?"], "have '%' beside them"),
    "thousands": (["1,234", "999", "5,678"], "The numbers in 'q' are text, such as '1,234'."),
    "ordered kinds": (["0", "1", "2", "3+"], "'3+' is not"),
    "names of kinds": (["4WD", "2WD", "4WD"], None),
    "names with numbers": ([f"person {i}" for i in N], None),
    "codes": ([f"P{i:04d}" for i in N], None),
    "quarters": (["Q1", "Q2", "Q3", "Q4"], None),
    "ranges": (["0-17", "18-24", "25-34"], None),
    "bounds": (["<=50K", ">50K"], None),
    "times": (["12:30", "13:45", "14:00"], None),
    "dates": (["31.12.2024", "01.01.2025"], None),
    "versions": (["1.2.3", "1.2.4"], None),
    "addresses": (["1 High Street", "2 Low Street"], None),
    "words": (["red", "blue", "7"], None),
    "flags": ([True, None, False], None),
    "nothing": ([None, None], None),
}


@pytest.mark.parametrize(("values", "words"), COLUMNS.values(), ids=COLUMNS)
def test_what_is_said_of_a_column(values, words):
    column = pd.Series(values, name="q", dtype=object)
    found = numbers_in_text(column)
    assert (found is None) == (words is None)
    assert words is None or words in found.said
    assert numbers_in_text(column.astype("category")) is None
    assert numbers_in_text(column[column.isna()]) is None


def refused(frame, **settings):
    with pytest.raises(CommandError) as error:
        read_table(written(frame), "kind", "auto", Format(**settings))
    return str(error.value)


def test_a_marker_is_named_and_can_be_said():
    said = refused(table(q=MARKED))
    assert "90 % of the values of 'q' are numbers; '?' is not." in said
    assert "--missing '?'" in said
    assert "--categories q" in said
    found = read_table("data.csv", "kind", "auto", Format(missing=("?",)))
    assert found.X["q"].isna().sum() == 6
    assert found.X["q"].dtype.kind == "f"
    found = read_table("data.csv", "kind", "auto", Format(categories=("q",)))
    assert found.said == ("Left out, being names of rows rather than categories: 'q'.",)
    written(table(q=["?" if i % 10 == 0 else i % 7 for i in N]))
    found = read_table("data.csv", "kind", "auto", Format(categories=("q",)))
    assert set(found.X["q"]) == set("?0123456")
    said = refused(table(q=MARKED), categories=("p",))
    assert said == "--categories 'p': there is no such column."


def test_a_marker_among_decimal_commas():
    frame = table(q=["?" if i % 10 == 0 else f"{i},5" for i in N])
    written(frame, sep=";", decimal=",")
    with pytest.raises(CommandError, match="90 % of the values of 'q'"):
        read_table("data.csv", "kind", "auto", Format(";", ","))
    found = read_table("data.csv", "kind", "auto", Format(";", ",", missing=("?",)))
    assert found.X["q"].tolist()[1:3] == [1.5, 2.5]


def test_units_and_points_are_named():
    assert "Take out of the file what stands beside" in refused(table(q=[f"{i}%" for i in N]))
    written(table(), sep=";")
    with pytest.raises(CommandError, match=r"'width' are text, such as .*--decimal"):
        read_table("data.csv", "kind", "auto", Format(";", ","))


def test_a_marked_target_is_no_name_of_a_class():
    frame = table(kind=["?", *(f"{i / 7}" for i in N[1:])])
    assert "of the values of 'kind' are numbers; '?' is not" in refused(frame)
    frame = table(kind=["0", "1", "2+"] * 20)
    assert "'2+' is not" in refused(frame)
    for format_, task in ((Format(categories=("kind",)), "auto"), (Format(), "classification")):
        found = read_table(written(frame), "kind", task, format_)
        assert set(found.y.tolist()) == {"0", "1", "2+"}


def test_markers_of_a_parquet_file(monkeypatch):
    Path("data.parquet").write_bytes(b"")
    frame = table(q=[str(v) for v in MARKED], colour=["red", "?"] * 30)
    monkeypatch.setattr("pandas.read_parquet", lambda *_: frame.copy())
    with pytest.raises(CommandError, match="90 % of the values of 'q'"):
        read_table("data.parquet", "kind", "auto")
    found = read_table("data.parquet", "kind", "auto", Format(missing=("?",)))
    assert found.X["q"].dtype.kind == "f"
    assert found.X["colour"].isna().sum() == 30


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (MARKED, r"'\?' is not\. Give pd\.to_numeric\(X\['q'\], errors='coerce'\)"),
        ([f"{i}%" for i in N], r"Give pd\.to_numeric\(X\['q'\]\.str\.replace\('%', ''\)"),
        (list(map(str, N)), r"are text, such as '0'\. Give pd\.to_numeric"),
        (DAYS, r"'q' has dates\. Give \(X\['q'\] - X\['q'\]\.min\(\)\)\.dt\.days"),
        (DAYS.strftime("%d.%m.%Y"), r"'q' has dates in text\. Give days, by pd\.to_datetime"),
    ],
)
def test_a_data_frame_is_refused_with_what_to_give(values, words):
    X = pd.DataFrame({"q": values, "x": N / 60})
    report = MinimaReport(techniques=("prediction",), n_models=0, effort="quick")
    with pytest.raises(ValueError, match=words + r".*X\['q'\]\.astype\('category'\)"):
        report.fit(X, N % 2)


# --- categories -----------------------------------------------------------------------------------


def test_inputs_of_categories_are_counted_and_rare_ones_named():
    rng = np.random.RandomState(0)
    city = [f"city {i}" for i in rng.randint(30, size=400)]
    X = pd.DataFrame({"city": city, "colour": rng.choice(["red", "blue", None], 400), "x": 1.0})
    encoder, said = encoder_of(X)
    n_inputs = encoder.fit_transform(X).shape[1]
    one, two = inputs_of_categories(encoder)
    assert one == "One input for each category, missing being one: city (20), colour (3)."
    assert two == (
        "The rare categories of a column are merged into one input: city (11 of 30 categories)."
    )
    assert n_inputs == 20 + 3 + 1
    assert said == ("Standardised as numbers: x.",)
    encoder.fit(X[["city", "x"]].assign(colour="red", city="a")[X.columns])
    assert inputs_of_categories(encoder)[0].endswith("city (1), colour (1).")
    assert inputs_of_categories(encoder_of(X[["x"]])[0].fit(X[["x"]])) == ()


# --- dates ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form", ["%d.%m.%Y", "%m/%d/%Y", "%d-%m-%Y", "%d/%m/%y", "%Y/%m/%d", "%d %b %Y", "%B %d, %Y"]
)
def test_dates_of_other_forms_are_called_dates(form):
    found = read_table(written(table(day=DAYS.strftime(form))), "kind", "auto")
    assert found.said == (
        "Left out, being what looks like dates in a form that is not read: 'day'. Write all dates "
        "as YYYY-MM-DD, and leave missing ones empty, to have them as days.",
    )
    frame = table(day=list(DAYS[:3].strftime(form + " %H:%M")) * 20)
    (said,) = read_table(written(frame), "kind", "auto").said
    assert said.startswith("Taken for categories, though they look like dates: 'day'. Write all")


def test_dates_with_a_marker_are_called_dates():
    days = ["unknown", *DAYS.strftime("%Y-%m-%d")[1:]]
    (said,) = read_table(written(table(day=days)), "kind", "auto").said
    assert "looks like dates" in said
    assert read_table("data.csv", "kind", "auto", Format(missing=("unknown",))).X["day"].max() == 58


def test_what_looks_like_no_date():
    for values in (
        ["1.2.3", "1.2.10"],
        ["12:30"],
        ["march hare"],
        ["10-20"],
        ["1/2"],
        ["a.b.2024"],
    ):
        assert not looks_like_dates(pd.Series(values))


# --- separators -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["kind", None])
@pytest.mark.parametrize(("sign", "said"), [(";", ";"), ("\t", "\\t"), ("|", "|")])
def test_another_separator_is_said_where_a_name_has_a_comma(target, sign, said):
    frame = table(**{"chol, mg/dl": N, "note": ['see doc, "urgent"', "ok", ""] * 20})
    for decimal in ".,":
        written(frame, sep=sign, decimal=decimal)
        with pytest.raises(CommandError) as error:
            read_table("data.csv", target, "auto")
        assert f"looks separated by '{said}': say --separator '{said}'" in str(error.value)


def test_a_comma_is_said_where_something_else_was():
    written(table())
    with pytest.raises(CommandError, match="looks separated by ',': say --separator ','"):
        read_table("data.csv", "kind", "auto", Format(";"))


def test_signs_in_names_are_no_separators():
    frame = table(**{"a|b|c|d|e|f": N % 7, "x;y;z;u;v;w": ["p;q", "r", "s"] * 20})
    assert len(read_table(written(frame), "kind", "auto").X.columns) == 4
