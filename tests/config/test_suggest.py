"""Settings with names of any kind: what is printed comes back from a shell and Hydra's grammar as the name."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from dlfound.config.suggest import override_text

NAMES = [
    "a", "my col", "x, (y)", "é", 'a "q" b', "it's", "null", "TRUE", "nan", "01", "1.0", "0", "7", "a\\", "[x]",
    'a\\"b',
    "1e5", "$HOME `x`", "-1", "a=b", "a.b", "a-b", "${a}", "x:1", "{y}", "50 %", "a;b", "*", "~", "\\\\", 'b\\\\"',
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_is_pasted_is_the_name(name):
    parser = OverridesParser.create()
    for names in (name, [name], ["first", name, "last one"]):
        (word,) = shlex.split(override_text("data.drop", names))
        found = parser.parse_override(word).value()
        wanted = [str(one) for one in found] if isinstance(found, list) else str(found)
        assert wanted == names
        kinds = found if isinstance(found, list) else [found]
        assert all(isinstance(one, str) or str(one).isdecimal() for one in kinds)


def test_plain_names_stay_plain():
    assert (
        override_text("data.drop", ["a", "b_2"]) == "data.drop=[a,b_2]"
        and override_text("data.target", "y") == "data.target=y"
    )
    assert "\x1b" not in override_text("data.drop", ["a\x1b[31m"])
