"""Finding runs, and reading files that anyone may have written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlfound.errors import Error
from dlfound.runs.find import find_run, find_runs, list_runs, run_name
from dlfound.runs.folder import RunFolder


def make_run(path, minutes=0):
    """Make the folder of a run that began so many minutes after a fixed time."""
    path = Path(path)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("format: 1\n")
    os.utime(path / "config.yaml", (1_700_000_000 + 60 * minutes,) * 2)
    return path


def test_runs_are_listed_in_the_order_in_which_they_began():
    late = make_run("outputs/a/1", minutes=3)
    early = make_run("outputs/b/9", minutes=1)
    alone = make_run("outputs/mine", minutes=2)
    deep = make_run("outputs/sweep/trials/0", minutes=4)
    assert list_runs() == [early, alone, late, deep]
    assert [run_name(path) for path in list_runs()] == ["b", "mine", "a", "trials"]


def test_links_hidden_folders_and_other_files_are_skipped():
    run = make_run("outputs/a/1")
    other = make_run("elsewhere/b/2")
    make_run("outputs/2026-11-21/.hydra")
    make_run("outputs/a/1/inside")
    make_run("outputs/a/b/c/too_deep")
    Path("outputs/linked").symlink_to(other.parent.absolute())
    Path("outputs/a/linked").symlink_to(other.absolute())
    Path("outputs/loop").symlink_to("loop")
    Path("outputs/file").write_text("")
    Path("outputs/d/config.yaml").mkdir(parents=True)
    Path("outputs/e").mkdir()
    os.mkfifo("outputs/e/config.yaml")
    assert list_runs() == [run]
    assert list_runs(Path("nowhere")) == [] == list_runs(Path("outputs/file"))
    Path("all").symlink_to("outputs")  # a link that a person names is followed
    assert list_runs(Path("all")) == [Path("all/a/1")]


def test_a_run_has_several_names(monkeypatch):
    first = make_run("outputs/a/1", 1)
    second = make_run("outputs/a/2", 2)
    other = make_run("outputs/b/3", 3)
    for word, one, every in [
        ("a", second, [first, second]),
        ("1", first, [first]),
        ("a/1", first, [first]),
        ("outputs/a/1", first, [first]),
        ("latest", other, [other]),
    ]:
        assert find_run(word) == one and find_runs([word]) == every
    assert find_runs(["outputs"]) == [first, second, other] == find_runs(["b", "a", "outputs/a/1/", "latest"])
    assert find_runs([str(Path("outputs/b").absolute())])[0].samefile(other)
    monkeypatch.setenv("HOME", str(Path("outputs").absolute()))
    assert find_run("~/a/1").samefile(first) and len(find_runs(["~/a"])) == 2


def test_a_word_that_means_no_run_is_an_error_that_lists_the_names():
    make_run("outputs/a/1")
    for word in ["", "nope", "outputs/a", "~nobody_of_this_name", "a" * 300, "a\0b", "outputs/a/1/x"]:
        with pytest.raises(Error) as caught:
            find_run(word)
        assert caught.value.code == 4 and "one of: a" in caught.value.problems[0].fix, word
        if word != "outputs/a":
            with pytest.raises(Error):
                find_runs([word])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": 1', "is not valid JSON"),
        (b"[1]", "does not contain a JSON object"),
        (b"null", "does not contain a JSON object"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "is not valid JSON"),
        (b"\xff\xfe", "cannot read"),
        (b"", "is not valid JSON"),
        (None, "has no report.json"),
    ],
    ids=["cut", "list", "null", "deep", "long number", "not UTF-8", "empty", "missing"],
)
def test_a_file_without_a_json_object_is_refused(content, reason, tmp_path):
    if content is not None:
        (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(Error, match=reason) as caught:
        RunFolder(tmp_path).read_json("report.json")
    assert caught.value.code == 4


def test_only_regular_files_of_usual_size_are_read(tmp_path):
    (tmp_path / "zeros").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**30)
    for name, reason in [
        ("zeros", "has no"),
        ("pipe", "has no"),
        ("folder", "has no"),
        ("huge", "larger than 64 MiB"),
    ]:
        with pytest.raises(Error, match=reason):
            RunFolder(tmp_path).read_json(name)


def test_runs_and_compare_import_neither_torch_nor_hydra():
    run = make_run("outputs/a/1")
    (run / "DONE").touch()
    (run / "report.json").write_text(json.dumps({"status": "done", "val": {"loss": 1.0}}))
    code = (
        "import sys, dlfound.runs.folder, dlfound.cli as c; c.main(['runs']); c.main(['compare', 'a']); "
        "print([m for m in ('torch._C', 'safetensors.torch', 'hydra', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and "val_loss" in done.stdout and done.stderr == ""
