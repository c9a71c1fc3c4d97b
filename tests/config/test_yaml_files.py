"""YAML from strangers: what is read, as what, and what is refused with file and line."""

import math

import pytest
import yaml

from dlfound.config.yaml_files import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, dump_yaml, plain, read_yaml
from dlfound.errors import Code, Error


def read(tmp_path, content, **more):
    file = tmp_path / "conf.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(file, **more)


def refused(tmp_path, content, **more):
    """The message, without the folder."""
    with pytest.raises(Error) as caught:
        read(tmp_path, content, **more)
    assert caught.value.code == more.get("code", Code.CONFIG)
    (problem,) = caught.value.problems
    assert problem.fix and "\n" not in problem.what
    return problem.what.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("-3", -3), ("+4", 4), ("012", 12), ("1.5", 1.5), ("1e-3", 0.001), ("1.0e-08", 1e-8),
        ("1E5", 1e5),
        (".5", 0.5), ("5.", 5.0), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("no", "no"), ("off", "off"), ("yes", "yes"), ("on", "on"), ("y", "y"), ("12:30:00", "12:30:00"),
        ("2026-01-01", "2026-01-01"), ("1_000", "1_000"), ("0x10", "0x10"), ("0o10", "0o10"),
        (".inf", ".inf"),
        (".nan", ".nan"), ("nan", "nan"), ("inf", "inf"), ("infinity", "infinity"), ("'1'", "1"),
        ('"true"', "true"),
        ("'null'", "null"), ("a b", "a b"), ("größe", "größe"), ("???", "???"), ("${a.b}", "${a.b}"),
        ("[1, a, 2.5, null]", [1, "a", 2.5, None]), ("[]", []), ("{}", {}), ("{b: {c: 1}}", {"b": {"c": 1}}),
        ("=", "="), ("<<", "<<"), ("\N{ARABIC-INDIC DIGIT ONE}", "\N{ARABIC-INDIC DIGIT ONE}"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_a_person_means_it(text, value, tmp_path):
    got = read(tmp_path, f"a: {text}\n")["a"]
    assert got == value and type(got) is type(value)


def test_a_whole_file_with_comments_and_any_line_end(tmp_path):
    wanted = {"a": 1, "b": {"c": [1, 2]}}
    for text in (
        "# why\na: 1  # reason\nb:\n  c: [1, 2]\n",
        "a: 1\r\nb:\r\n  c: [1, 2]",
        "\ufeffa: 1\nb: {c: [1, 2]}\n",
    ):
        assert read(tmp_path, text) == wanted


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a: 1\n\tb: 2\n", "conf.yaml:2:1: tabs are not allowed"),
        ("a:\n\t- 1\n", "conf.yaml:2:1: tabs are not allowed"),
        ("a: 1\nb: 2\na: 3\n", "conf.yaml:3:1: duplicate key 'a'"),
        ("a:\n  b: 1\n  b: 2\n", "conf.yaml:3:3: duplicate key 'b'"),
        ("a: 1\n1: 2\n", "conf.yaml:2:1: key 1 is not text"),
        ("true: 2\n", "conf.yaml:1:1: key True is not text"),
        ("? [a]\n: 1\n", "conf.yaml:1:3: key ['a'] is not text"),
        (b"a: 1\n#\xff\n", "conf.yaml is not UTF-8 (byte 0xff at 6)"),
        ("a: größe\n".encode("latin-1"), "conf.yaml is not UTF-8 (byte 0xf6 at 5)"),
        ("a: 1\n".encode("utf-16"), "conf.yaml is not UTF-8 (byte 0xff at 0)"),
        ("é: 1\nb: 1\x00\n", "conf.yaml:2: control characters are not allowed"),
        ("a: \x1b[31m\n", "conf.yaml:1: control characters are not allowed"),
        ("- a\n", "conf.yaml must be a mapping of names to values"),
        ("hello\n", "conf.yaml must be a mapping of names to values"),
        ("", "conf.yaml must be a mapping of names to values"),
        ("# only a comment\n", "conf.yaml must be a mapping of names to values"),
        ("a: 1\n---\nb: 2\n", "conf.yaml:2:1: "),
        ("a: [1\n", "conf.yaml:2:1: "),
        ("a: 'x\n", "conf.yaml:2:1: "),
        ("a: b: c\n", "conf.yaml:1:5: "),
        ("a: &x 1\nb: *x\n", "conf.yaml:1:4: too complex (anchors and aliases are not allowed)"),
        ("b: *x\n", "conf.yaml:1:4: too complex (anchors and aliases are not allowed)"),
        ("a: !!python/name:os.system\n",
         "conf.yaml:1:4: tags are not allowed (tag:yaml.org,2002:python/name"),
        ("a: !!python/object/apply:os.system [x]\n", "conf.yaml:1:4: tags are not allowed"),
        ("a: !!int 3\n", "conf.yaml:1:4: tags are not allowed"),
        ("a: !x 3\n", "conf.yaml:1:4: tags are not allowed"),
        ("a: " + "[" * 500 + "]" * 500, "conf.yaml:1:23: too complex (nested more than 20 deep)"),
        ("{a: " * 500 + "}" * 500, "too complex (nested more than 20 deep)"),
        ("a: " + "9" * 5000, "conf.yaml:1:4: too complex (a number of 5000 digits)"),
        ("#" * 10_000_000, "conf.yaml is too complex (more than 256 KiB)"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_with_the_place_of_the_fault(content, reason, tmp_path):
    assert reason in refused(tmp_path, content)


def test_an_alias_bomb_is_refused_before_anything_is_built(tmp_path):
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "conf.yaml:1:5: too complex (anchors and aliases" in refused(tmp_path, "\n".join(rows))


def test_the_limits_themselves_are_allowed(tmp_path):
    assert read(tmp_path, "a: 1\n" + "#" * (MAX_BYTES - 5)) == {"a": 1}
    assert "too complex" in refused(tmp_path, "a: 1\n" + "#" * (MAX_BYTES - 4))
    depth = MAX_DEPTH - 1  # the mapping around it is the first
    assert read(tmp_path, "a: " + "[" * depth + "]" * depth)["a"]
    assert "too complex" in refused(tmp_path, "a: " + "[" * (depth + 1) + "]" * (depth + 1))
    assert read(tmp_path, "a: " + "9" * MAX_DIGITS)["a"] == 10**MAX_DIGITS - 1
    assert "too complex" in refused(tmp_path, "a: " + "9" * (MAX_DIGITS + 1))


def test_the_exit_code_is_the_readers(tmp_path):
    assert "duplicate" in refused(tmp_path, "a: 1\na: 2\n", code=Code.RUN)


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(Error, match="cannot read") as caught:
            read_yaml(path)
        assert caught.value.code == Code.CONFIG and str(path) in str(caught.value)


TEXTS = (
    "no", "yes", "on", "off", "y", "null", "~", "true", "TRUE", "tRUE", "1", "012", "1e5", "1E-3", ".5",
    "5.", "0x10",
    "0o7", "1_000", "12:30:00", "2026-01-01", "nan", ".nan", "inf", "-.inf", "NaN", "a: b", "a #b", "- a",
    "[a", "{a",
    "'", '"', "\\", "&a", "*a", "!a", "%a", "@a", "`a", "|", ">", "?", "??? ", "=", "<<", " a ", "größe",
    "日本", "🙂",
    "a\nb", "a\tb", "\x1b[31m", "\u2028", "x" * 500, "a " * 200, "+1", "-1", "-", "---", "...", "1.2.3",
    "1e", "e5",
    "~/data", "C:\\data", "\ufeffx",
)  # fmt: skip


def test_what_is_written_reads_back_the_same_here_and_in_other_readers(tmp_path):
    again = [1.5, 1.5]
    values = [
        1,
        0,
        -7,
        2**62,
        0.1,
        1e-8,
        1e22,
        -1e300,
        5e-324,
        3.0,
        True,
        False,
        None,
        [],
        [1, 2.5, "a"],
        again,
        again,
    ]
    tree = {
        "texts": {f"t{i}": text for i, text in enumerate(TEXTS)},
        "values": {f"v{i}": v for i, v in enumerate(values)},
    }
    text = dump_yaml(tree)
    got = read(tmp_path, text)
    assert got == tree and list(got["texts"]) == list(tree["texts"])
    assert yaml.safe_load(text) == tree
    assert [type(v) for v in got["values"].values()] == [type(v) for v in values]
    assert "&" not in text.replace('"&a"', "").replace("'&a'", "")


def test_plain_values():
    assert all(plain(v) for v in (1, 0.5, "a", True, None, [], [1, ["a", None]]))
    assert not any(plain(v) for v in (math.nan, math.inf, {}, [math.nan], [{}], (1,), {1}, b"a", object()))
