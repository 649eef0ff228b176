"""Tables that are read from files: types, names, encodings, and what is left out in words."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from sklflat.report.data_files import read_table
from sklflat.report.table_files import Format
from tests.report.test_command_line import N, parquet, table


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_columns_that_cannot_be_used_are_left_out_and_said():
    frame = table(
        name=[f"person {i}" for i in N],
        same=1,
        empty=np.nan,
        day=pd.date_range("2020-01-01", periods=60),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sklflat.report.data_files.read_frame", lambda *_: frame.copy())
        found = read_table("data.parquet", "kind", "auto")
    assert list(found.X.columns) == ["width", "height", "day"]
    assert found.X["day"].tolist() == [float(i) for i in range(60)]
    said = " ".join(found.said)
    assert all(f"'{name}'" in said for name in ("name", "same", "empty", "day"))
    assert found.task == "classification"


def test_a_parquet_file_is_read_with_its_types():
    name = parquet(
        day=pd.date_range("2020-01-01", periods=60, tz="Europe/Berlin"),
        span=pd.to_timedelta(N % 7, unit="h"),
        price=[Decimal(i % 9) / 4 for i in range(60)],
        count=pd.array([None if i % 5 == 0 else i % 6 for i in N], dtype="Int64"),
        colour=pd.Categorical(["red", "blue", None] * 20),
        flag=N % 2 == 0,
        lists=[[1, 2], [3]] * 30,
        records=[{"a": 1}, {"a": 2}] * 30,
    )
    found = read_table(name, "kind", "auto")
    assert "".join(c.dtype.kind for _, c in found.X.items()) == "fffffiOb"
    assert found.X["price"].tolist()[:5] == [0, 0.25, 0.5, 0.75, 1]
    assert found.X["day"].tolist() == pytest.approx(N, abs=0.05)  # an hour, as summer time begins
    assert found.X["span"].tolist()[:3] == [0, 1 / 24, 2 / 24]
    assert found.said == (
        "Dates became days since the first one: 'day'.",
        "Spans of time became days: 'span'.",
        "Left out, being lists or records: 'lists', 'records'.",
    )


def test_a_named_index_of_a_parquet_file_is_a_column():
    frame = table().set_index(pd.Index([f"row {i}" for i in N], name="id"))
    found = read_table(parquet(frame), "kind", "auto")
    assert found.said == ("Left out, being names of rows rather than categories: 'id'.",)
    name = parquet(table().set_index(["width", "height"]))
    assert list(read_table(name, "kind", "auto").X) == ["width", "height"]


@pytest.mark.parametrize(
    ("target", "labels", "task"),
    [
        (pd.array(N % 2, dtype="Int64"), [0, 1], "classification"),
        (pd.array(N % 2 == 0, dtype="boolean"), [False, True], "classification"),
        (pd.Categorical(["b", "a", "c"] * 20, ["c", "b", "a", "never"]), list("abc"), None),
        ([Decimal(i) / 7 for i in range(60)], None, "regression"),
        ([2**62 + i % 2 for i in range(60)], [2**62, 2**62 + 1], "classification"),
        ([2.5, 3.5] * 30, None, "regression"),
    ],
)
def test_targets_of_any_type_are_their_values(target, labels, task):
    found = read_table(parquet(kind=target), "kind", "auto")
    assert found.task == task or task is None
    if labels is not None:
        assert sorted(set(found.y.tolist())) == labels


def test_files_of_other_places_are_read():
    frame = table(größe=N % 4, day=["2020-02-29", "2020-03-01"] * 30)
    expected = frame["width"].tolist()
    frame.to_csv("a.csv", index=False, encoding="utf-8-sig")
    frame.to_csv("b.csv", index=False, sep=";", decimal=",", encoding="latin-1")
    for name, format_ in (("a.csv", Format()), ("b.csv", Format(";", ",", "latin-1"))):
        found = read_table(name, "kind", "auto", format_)
        assert list(found.X) == ["width", "height", "größe", "day"]
        assert found.X["width"].tolist() == expected
        assert found.X["day"].tolist() == [0, 1] * 30
        assert found.said == ("Dates became days since the first one: 'day'.",)


def test_numbers_of_rows_predict_nothing_elsewhere():
    """In a sorted table they would predict everything."""
    frame = table(n=60).sort_values("kind")
    frame.insert(0, "id", N + 1)
    frame.to_csv("data.csv")  # with the index, which has no name
    frame.reset_index(drop=True).to_csv("sorted.csv")
    found = read_table("sorted.csv", "kind", "auto")
    assert list(found.X) == ["width", "height"]
    assert found.said == ("Left out, being the numbers of the rows: '', 'id'.",)
    assert "" in read_table("data.csv", "kind", "auto").X  # in another order they may say something
