"""Cells of a column against what training knew: by text, by value, however truth is written; dates as days."""

import datetime

import numpy as np
import polars as pl
import pytest

from dlfound.data.columns import CATEGORY, DATE, NUMBER, Column, Encoder, places_of, understand
from dlfound.data.tables import Table
from dlfound.errors import Code, Error


def table(**columns):
    frame = pl.DataFrame(columns, strict=False)
    return Table(frame.columns, frame, [], ".", {}, {}, [(0, "x.csv", 2)])


def places(cells, known, dtype=None):
    return places_of(pl.Series("c", cells, dtype=dtype), known).tolist()


def test_texts_are_found_as_they_are_written():
    known = ["1", "01", "1.0", "a", "A"]
    assert places(["A", "a", "1.0", "01", "1", "1.00", None, "b"], known) == [4, 3, 2, 1, 0, -1, -1, -1]
    assert places([None, None], known, pl.String) == [-1, -1] and places(["a"], []) == [-1]


def test_numbers_are_found_by_their_value():
    """Where one text has it; what another cell of the column is does not matter."""
    assert places([1, 2, 3, None], ["1", "02", "x"]) == [0, 1, -1, -1]
    assert places([1.0, 2.5, 7.25], ["1.0", "2.50", "3"]) == [0, 1, -1]
    assert places([1.0, 2.0], ["1", "2.0"]) == [0, 1] and places([1.0, 0.5], ["1", "2"]) == [0, -1]
    assert places([1.0], ["01", "1.0"]) == [-1]  # it could be either
    assert places([5], ["nan", "inf", "1e"]) == [-1]


def test_truth_values_are_found_however_they_are_written():
    for known in (["False", "True"], ["FALSE", "TRUE"], ["false", "true"]):
        assert places([True, False, None], known) == [1, 0, -1]
        assert places(["true", "False", "TRUE", "yes", None], known) == [1, 0, 1, -1, -1]
    assert places([True], ["yes", "true"]) == [1] and places(["TRUE"], ["yes", "true"]) == [-1]


def test_dates_are_days_whatever_their_type():
    days = [datetime.date(1970, 1, 2), datetime.date(2024, 2, 29), None]
    wanted = [1.0, 19782.0, None]
    column = Column("d", DATE, "%d.%m.%Y")
    series = {
        "date": pl.Series(days), "text": pl.Series(["02.01.1970", "29.02.2024", None]),
        **{unit: pl.Series(days).cast(pl.Datetime(unit)) for unit in ("ms", "us", "ns")},
        "zone": pl.Series(days).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    }  # fmt: skip
    for name, values in series.items():
        found = Encoder([column])(table(d=values))[:, 0].tolist()
        assert found[:2] == wanted[:2] and np.isnan(found[2]), name
    noon = pl.Series([datetime.datetime(1970, 1, 2, 12)]), pl.Series([datetime.time(12)])
    assert [Encoder([Column("d", DATE)])(table(d=value))[0, 0] for value in noon] == [1.5, 0.5]
    with pytest.raises(Error, match="holds numbers, and it held dates in training") as told:
        Encoder([column])(table(d=[1.0]))
    assert told.value.code == Code.DATA


def test_a_column_that_is_all_missing_is_missing_in_any_type():
    columns = [Column("n", NUMBER), Column("d", DATE, "%Y-%m-%d"), Column("c", CATEGORY, "", ["a"])]
    for dtype in (pl.Float64, pl.String, pl.Boolean, pl.Date):
        empty = pl.Series([None, None], dtype=dtype)
        encoder = Encoder(columns)
        found = encoder(table(n=empty, d=empty, c=empty))
        assert np.isnan(found[:, :2]).all() and (found[:, 2] == 1).all()
        assert encoder.missing == {"n": 2, "d": 2, "c": 2} and encoder.unknown == {}


def test_what_columns_are_taken_for():
    rng = np.random.default_rng(0)
    found = understand(
        table(
            number=rng.normal(size=40), truth=[True, False] * 20, text=["a", "b"] * 20, same=["a"] * 40,
            gap=["a"] * 39 + [None], unlike=[f"n{k}" for k in range(40)], most=[f"n{min(k, 35)}" for k in range(40)],
            day=[datetime.date(2024, 1, 1 + k % 9) for k in range(40)], code=[k % 3 for k in range(40)],
        ),
        ["number", "truth", "text", "same", "gap", "unlike", "most", "day", "code"], ["truth"], ["code"],
    )  # fmt: skip
    kinds = {column.name: column.kind for column in found.columns}
    assert kinds == {
        "number": NUMBER, "truth": NUMBER, "text": CATEGORY, "gap": CATEGORY, "most": CATEGORY, "day": DATE,
        "code": CATEGORY,
    }  # fmt: skip
    assert found.dropped == {"same": "is constant (a)", "unlike": "has 40 different texts"}
    assert found.columns[-1].categories == ["0", "1", "2"]
