"""Finding runs, and reading their files, whoever wrote them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlfound.errors import Error
from dlfound.runs.find import find_run, find_runs, list_runs, run_name
from dlfound.runs.folder import RunFolder


def made(path, minutes=0):
    """A folder that is a run's, begun so many minutes after the first one."""
    path = Path(path)
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("format: 1\n")
    os.utime(path / "config.yaml", (1_700_000_000 + 60 * minutes,) * 2)
    return path


def test_runs_stand_in_the_order_they_were_begun():
    late, early = made("outputs/a/1", minutes=3), made("outputs/b/9", minutes=1)
    alone, deep = made("outputs/mine", minutes=2), made("outputs/sweep/trials/0", minutes=4)
    assert list_runs() == [early, alone, late, deep]
    assert [run_name(p) for p in list_runs()] == ["b", "mine", "a", "trials"]


def test_links_hidden_folders_and_what_is_no_run_are_passed_by(tmp_path):
    run, other = made("outputs/a/1"), made("elsewhere/b/2")
    made("outputs/2026-11-21/.hydra")
    made("outputs/a/1/inside")
    made("outputs/a/b/c/too_deep")
    Path("outputs/linked").symlink_to(other.parent.absolute())
    Path("outputs/a/linked").symlink_to(other.absolute())
    Path("outputs/loop").symlink_to("loop")
    Path("outputs/file").write_text("")
    Path("outputs/d/config.yaml").mkdir(parents=True)
    Path("outputs/e").mkdir()
    os.mkfifo("outputs/e/config.yaml")
    assert list_runs() == [run]
    assert list_runs(Path("nowhere")) == [] == list_runs(Path("outputs/file"))
    Path("all").symlink_to("outputs")  # what a person names may be a link
    assert list_runs(Path("all")) == [Path("all/a/1")]


def test_a_run_has_several_names(monkeypatch):
    first, second, other = made("outputs/a/1", 1), made("outputs/a/2", 2), made("outputs/b/3", 3)
    for word, one, all_ in [
        ("a", second, [first, second]),
        ("1", first, [first]),
        ("a/1", first, [first]),
        ("outputs/a/1", first, [first]),
        ("latest", other, [other]),
    ]:
        assert find_run(word) == one and find_runs([word]) == all_
    assert find_runs(["outputs"]) == [first, second, other] == find_runs(["b", "a", "outputs/a/1/", "latest"])
    assert find_runs([str(Path("outputs/b").absolute())])[0].samefile(other)
    monkeypatch.setenv("HOME", str(Path("outputs").absolute()))
    assert find_run("~/a/1").samefile(first) and len(find_runs(["~/a"])) == 2


@pytest.mark.parametrize(
    "word", ["", "nope", "outputs/a", "~nobody_of_this_name", "a" * 300, "a\0b", "outputs/a/1/x"]
)
def test_a_word_that_means_no_run(word):
    made("outputs/a/1")
    with pytest.raises(Error) as caught:
        find_run(word)
    assert caught.value.code == 4 and "one of: a" in caught.value.problems[0].fix
    if word != "outputs/a":
        with pytest.raises(Error):
            find_runs([word])


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a": 1', "is not valid JSON"),
        (b"[1]", "holds no JSON object"),
        (b"null", "holds no JSON object"),
        (b"[" * 100_000, "is not valid JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "is not valid JSON"),
        (b"\xff\xfe", "cannot read"),
        (b"", "is not valid JSON"),
        (None, "has no report.json"),
    ],
)
def test_json_that_is_none(content, why, tmp_path):
    if content is not None:
        (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(Error, match=why) as caught:
        RunFolder(tmp_path).read_json("report.json")
    assert caught.value.code == 4


def test_what_is_no_plain_file_is_not_read(tmp_path):
    (tmp_path / "zeros").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**30)
    for name, why in [
        ("zeros", "has no"),
        ("pipe", "has no"),
        ("folder", "has no"),
        ("huge", "larger than 64 MiB"),
    ]:
        with pytest.raises(Error, match=why):
            RunFolder(tmp_path).read_json(name)


def test_neither_the_folder_nor_the_verbs_bring_in_torch(tmp_path):
    run = made("outputs/a/1")
    (run / "DONE").touch()
    (run / "report.json").write_text(json.dumps({"status": "done", "val": {"loss": 1.0}}))
    code = (
        "import sys, dlfound.runs.folder, dlfound.cli as c; c.main(['runs']); c.main(['compare', 'a']); "
        "print([m for m in ('torch._C', 'safetensors.torch', 'hydra', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and "val_loss" in done.stdout and done.stderr == ""
