"""Checkpoints: which ones are kept, which one is loaded, and what happens to damaged and foreign files."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch

from dlfound.errors import Error
from dlfound.runs.checkpoints import Checkpoints
from dlfound.runs.folder import RunFolder


def tensors(step):
    return {"params": torch.full((5,), float(step)), "t": torch.tensor(step), "skip": torch.tensor(False)}


@pytest.fixture
def saved(tmp_path):
    """Checkpoints of the steps 9, 10 and 11, whose order is not that of texts."""
    checkpoints = Checkpoints(tmp_path)
    for step in (9, 10, 11):
        checkpoints.save(step, tensors(step), {"epoch": step, "note": "é\n"})
    return checkpoints


def names(checkpoints):
    return sorted(path.name for path in checkpoints.path.iterdir())


def file_of(checkpoints, step):
    return next(checkpoints.path.glob(f"step-{step:012}-*"))


def damage(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)


def test_a_checkpoint_is_loaded_as_it_was_saved(saved):
    checkpoint, warnings = saved.newest()
    assert (checkpoint.step, checkpoint.state, warnings) == (11, {"epoch": 11, "note": "é\n"}, [])
    assert checkpoint.tensors.keys() == tensors(11).keys()
    for name, tensor in tensors(11).items():
        loaded = checkpoint.tensors[name]
        assert loaded.dtype == tensor.dtype and torch.equal(loaded, tensor)


def test_a_view_of_a_tensor_is_saved_with_its_own_values(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    Checkpoints(tmp_path).save(1, {"column": whole[:, 1], "turned": whole.T, "whole": whole}, {})
    loaded = Checkpoints(tmp_path).newest()[0].tensors
    assert loaded["column"].tolist() == [1, 5, 9] and torch.equal(loaded["turned"], whole.T)


def test_a_run_without_checkpoints_has_none(tmp_path):
    assert Checkpoints(tmp_path).newest() == (None, [])
    (tmp_path / "checkpoints").mkdir()
    assert Checkpoints(tmp_path).newest() == (None, [])


def test_two_are_kept_and_their_names_contain_their_digests(saved):
    assert len(names(saved)) == 2
    for step in (10, 11):
        path = file_of(saved, step)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.name == f"step-{step:012}-{digest[:16]}.safetensors"


def test_the_step_decides_which_is_newest_and_not_the_time(saved):
    os.utime(file_of(saved, 10), (2**32, 2**32))
    os.utime(file_of(saved, 11), (1, 1))
    assert saved.newest()[0].step == 11
    saved.save(12, tensors(12), {})
    assert [name[:17] for name in names(saved)] == ["step-000000000011", "step-000000000012"]


def test_foreign_files_stay(saved):
    foreign = [
        "notes.txt",
        "step-11.safetensors",
        "step-000000000001-abc.safetensors",
        ".tmp-mine",
        "best.pt",
    ]
    for name in foreign:
        (saved.path / name).write_text("mine")
    aside = saved.path / ".tmp-0123456789abcdef"
    aside.write_bytes(b"half a checkpo")
    RunFolder(saved.path.parent).remove_half_written()
    saved.save(12, tensors(12), {})
    assert not aside.exists() and saved.newest()[0].step == 12
    assert all((saved.path / name).read_text() == "mine" for name in foreign)


def test_a_damaged_one_is_renamed_and_the_one_before_is_loaded(saved):
    path = file_of(saved, 11)
    damage(path)
    content = path.read_bytes()
    checkpoint, warnings = saved.newest()
    assert checkpoint.step == 10 and checkpoint.state["epoch"] == 10
    assert warnings == [f"the checkpoint of step 11 is damaged; it is now {path.name}.bad"]
    assert path.with_name(f"{path.name}.bad").read_bytes() == content and not path.exists()
    assert saved.newest()[0].step == 10 and saved.newest()[1] == []
    saved.save(12, tensors(12), {})
    assert path.with_name(f"{path.name}.bad").exists()


def test_the_newest_four_damaged_ones_stay_and_each_removal_is_reported(saved):
    foreign = {"step-000000000001.bad", "notes.bad"}
    for name in foreign:
        (saved.path / name).write_text("mine")
    bad = []
    for step in range(12, 18):
        saved.save(step, tensors(step), {})
        damage(file_of(saved, step))
        bad.append(f"{file_of(saved, step).name}.bad")
        checkpoint, warnings = saved.newest()
        removed = [f"removed {name}, an old damaged checkpoint" for name in bad[-5:-4]]
        assert checkpoint.step == 11 and warnings[1:] == removed
    assert set(names(saved)) == {file_of(saved, 11).name, *bad[-4:], *foreign}


def test_if_all_are_damaged_every_call_refuses(saved):
    bad = [file_of(saved, step).name + ".bad" for step in (10, 11)]
    for step in (10, 11):
        damage(file_of(saved, step))
    for _ in range(2):
        with pytest.raises(Error, match=r"every checkpoint in .* is damaged") as caught:
            saved.newest()
        assert caught.value.code == 4 and all(name in str(caught.value) for name in bad)
    assert names(saved) == bad


def replace_content(path, content):
    """Replace a checkpoint's content, and give it the name that belongs to the new one."""
    digest = hashlib.sha256(content).hexdigest()[:16]
    path.unlink()
    path.with_name(f"{path.name[:17]}-{digest}.safetensors").write_bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text",
        (2**63).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"null",
        (5000).to_bytes(8, "little") + b"[" * 5000,
    ],
    ids=["empty", "text", "huge header", "no metadata", "null", "deep"],
)
def test_a_right_name_does_not_make_a_checkpoint(saved, content):
    replace_content(file_of(saved, 11), content)
    checkpoint, warnings = saved.newest()
    assert checkpoint.step == 10 and len(warnings) == 1


def test_links_folders_and_pipes_are_ignored(saved, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    os.rename(file_of(saved, 11), elsewhere)
    digest = hashlib.sha256(elsewhere.read_bytes()).hexdigest()[:16]
    (saved.path / f"step-000000000011-{digest}.safetensors").symlink_to(elsewhere)
    (saved.path / f"step-000000000012-{digest}.safetensors").mkdir()
    os.mkfifo(saved.path / f"step-000000000013-{digest}.safetensors")
    assert saved.newest()[0].step == 10
    saved.save(14, tensors(14), {})
    saved.save(15, tensors(15), {})
    assert elsewhere.exists() and len(list(saved.path.glob("step-00000000001[1-3]-*"))) == 3


def test_a_link_in_place_of_the_folder_is_not_followed(saved, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    saved.path.rename(elsewhere)
    (elsewhere / ".tmp-0123456789abcdef").write_text("mine")
    saved.path.symlink_to(elsewhere)
    RunFolder(tmp_path).remove_half_written()
    with pytest.raises(Error, match="is a link") as caught:
        saved.newest()
    assert caught.value.code == 4 and (elsewhere / ".tmp-0123456789abcdef").exists()


def test_a_huge_file_with_a_wrong_digest_needs_no_memory(saved):
    import resource

    with (saved.path / f"step-000000000012-{'0' * 16}.safetensors").open("wb") as file:
        file.truncate(2**28)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert saved.newest()[0].step == 11
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # kB


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", ["write", "fsync", "rename"])
def test_earlier_checkpoints_stay_if_the_disk_refuses(saved, monkeypatch, name, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    before = {path.name: path.read_bytes() for path in saved.path.iterdir()}
    monkeypatch.setattr(os, name, refuse)
    message = f"{os.strerror(number)}; the last good checkpoint is of step 11"
    with pytest.raises(Error, match=message) as caught:
        saved.save(12, tensors(12), {})
    monkeypatch.undo()
    assert caught.value.code == 6
    assert {path.name: path.read_bytes() for path in saved.path.iterdir()} == before
    assert saved.newest()[0].step == 11


def test_an_error_at_the_first_checkpoint_says_that_there_is_none(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(Error, match="there is no checkpoint yet") as caught:
        Checkpoints(tmp_path).save(1, tensors(1), {})
    assert caught.value.code == 6 and Path(tmp_path, "checkpoints").read_text() == "in the way"
