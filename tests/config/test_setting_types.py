"""Kinds of settings: what each accepts, as what, and what it refuses."""

import math

import pytest

from dlfound.config import setting_types as kinds
from dlfound.config.catalog import EXPERIMENT
from dlfound.config.setting_types import ANYTHING, MISSING, SettingType, setting_type
from dlfound.options.configure import catalog

ALL = {name: setting_type(made) for name, made in vars(kinds).items() if hasattr(made, "__metadata__")}
NUMBERS = ("Number", "Positive", "NonNegative", "Fraction", "Share", "Shrink")
WHOLES = ("Count", "Rows", "Seed", "BatchSize", "Threads")
LISTS = ("Betas", "Widths", "Split")
NO_NUMBERS = (True, False, None, "1", "1.0", "", [1.0], {}, {"a": 1}, math.nan, math.inf, -math.inf, 10**400)


def settings():
    """Every setting that exists: (node.setting of its option, kind, default or ???)."""
    all_options = catalog()
    for node, option in all_options.plain.items():
        yield from (
            (f"{node}.{name}", kind, all_options.common(node)[name]) for name, kind in option.settings.items()
        )
    for group in all_options.groups:
        for word in all_options.words(group):
            values = all_options.common(group) | all_options.node(group, word)
            yield from (
                (f"{group}={word} {n}", k, values[n])
                for n, k in all_options.option(group, word).settings.items()
            )


def accepts(kind, value):
    try:
        kind.read(value)
    except (ValueError, OverflowError):
        return False
    return True


def test_there_are_kinds():
    assert set(NUMBERS + WHOLES + LISTS) <= set(ALL)
    assert all(isinstance(kind, SettingType) and kind.description for kind in ALL.values())


@pytest.mark.parametrize("name", [*NUMBERS, *WHOLES, *LISTS])
def test_only_finite_numbers_are_numbers(name):
    for value in NO_NUMBERS:
        assert not accepts(ALL[name], value) or (name == "Widths" and value == [1.0]), value


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("Number", [0, -1, 1.5, 1e-300, -1e30, 7], [1e31, -1e300]),
        ("Positive", [1e-12, 1, 0.5, 1e10], [0, -0.0, -1e-12]),
        ("NonNegative", [0, -0.0, 1, 0.5], [-1e-12, -1]),
        ("Fraction", [0, 0.5, 0.999], [1, 1.0, -0.1, 2]),
        ("Share", [1, 0.5, 1e-9], [0, 1.0001, -1]),
        ("Shrink", [0.5, 1e-9, 0.999], [0, 1, -1, 2]),
        ("Count", [1, 64, 64.0, 10**12], [0, -1, 1.5, 10**12 + 1]),
        ("Rows", [10, 1000.0, 10**7], [9, 10**7 + 1, 10.5]),
        ("Seed", [0, 1, 2**32 - 1, 3.0], [-1, 2**32, 0.5]),
        ("BatchSize", [1, 64, 64.0, "full", "auto"], [0, -1, 0.5, "Full", "all", "64"]),
        ("Threads", [1, 1024, "auto"], [0, 1025, "full", 1.5]),
        ("Betas", [[0.9, 0.999], [0, 0]],
         [[0.9], [0.9, 0.9, 0.9], [0.9, 1.0], [-0.1, 0.9], [True, 0.9], 0.9]),
        ("Widths", [64, 64.0, [64], [256, 256.0], [1], [65536], [1] * 100],
         [[], 0, [0], [65537], [64.5], [1] * 101]),
        ("Split", [[0.7, 0.15, 0.15], [0.5, 0.25, 0.25], [0.6, 0.2, 0.2]],
         [[0.7, 0.2, 0.2], [0.5, 0.5], [1, 0, 0]]),
        ("Split", [], [[0.7, 0.3, 0.0], [1.2, -0.1, -0.1], [0.25] * 4, [0.7, 0.15, "0.15"], "0.7,0.15,0.15"]),
        ("Text", ["a", "loss", " a b ", "no"], ["", "  ", 1, None, True, ["a"]]),
        ("OptionalText", ["a", None], ["", 1, False, []]),
    ],
)  # fmt: skip
def test_a_kind_accepts_and_refuses(name, good, bad):
    kind = ALL[name]
    assert [value for value in good if not accepts(kind, value)] == []
    assert [value for value in bad if accepts(kind, value)] == []


@pytest.mark.parametrize(("name", "value", "read"), [
    ("Count", 64.0, 64), ("Seed", 3.0, 3), ("Widths", 64, [64]), ("Widths", [64.0, 32], [64, 32]),
    ("BatchSize", 8.0, 8), ("Positive", 1, 1.0), ("Betas", [0, 0], [0.0, 0.0]), ("BatchSize", "full", "full"),
    ("Count", 10**12, 10**12),
])  # fmt: skip
def test_a_value_is_read_as_its_type(name, value, read):
    got = ALL[name].read(value)
    assert got == read and type(got) is type(read)
    assert not isinstance(got, list) or [type(v) for v in got] == [type(v) for v in read]


def test_a_type_offers_its_words_for_suggestions():
    assert ALL["BatchSize"].words == ("full", "auto")
    assert ALL["Threads"].words == ("auto",)
    assert "full" in ALL["BatchSize"].description


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (float, [1, 0.5], [True, "1", math.nan]), (int, [1, 2.0, -5], [1.5, True, "1"]),
        (bool, [True, False], [0, 1, "no"]), (str, ["a"], ["", 1, True]),
    ],
)  # fmt: skip
def test_plain_annotations_of_registered_options(annotation, good, bad):
    kind = setting_type(annotation)
    assert all(accepts(kind, value) for value in good)
    assert not any(accepts(kind, value) for value in bad)


def test_without_an_annotation_anything_plain_goes():
    assert setting_type(object) is ANYTHING
    assert ANYTHING.read([1, "a", None]) == [1, "a", None]


def test_every_setting_has_a_kind_that_takes_its_default():
    defaults = list(settings())
    assert len(defaults) > 60
    for name, kind, default in defaults:
        assert isinstance(kind, SettingType) and kind is not ANYTHING and kind.description, (
            f"{name} has no kind"
        )
        assert default == MISSING or accepts(kind, default), f"{name}: {default!r} is not {kind.description}"


def test_no_setting_takes_a_mapping_a_truth_value_for_a_number_or_a_number_that_is_not_finite():
    for name, kind, default in settings():
        assert not accepts(kind, {"a": 1}), name
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert [v for v in (True, False, math.nan, math.inf, -math.inf) if accepts(kind, v)] == [], name


def test_experiments_are_no_options():
    assert EXPERIMENT not in catalog().groups
