"""Checkpoints through their door: what is kept, what is chosen, what is set aside, and what is left alone."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch

from dlfound.errors import Error
from dlfound.runs.checkpoints import Checkpoints
from dlfound.runs.folder import remove_half_written


def tensors(step):
    return {"params": torch.full((5,), float(step)), "t": torch.tensor(step), "skip": torch.tensor(False)}


@pytest.fixture
def kept(tmp_path):
    """A run's checkpoints of the steps 9, 10 and 11, in an order of names that is none of numbers."""
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


def test_what_was_saved_comes_back(kept):
    found, told = kept.newest()
    assert (found.step, found.state, told) == (11, {"epoch": 11, "note": "é\n"}, [])
    assert found.tensors.keys() == tensors(11).keys()
    for name, tensor in tensors(11).items():
        assert found.tensors[name].dtype == tensor.dtype and torch.equal(found.tensors[name], tensor)


def test_a_view_is_saved_as_what_it_shows(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    Checkpoints(tmp_path).save(1, {"column": whole[:, 1], "turned": whole.T, "whole": whole}, {})
    found, _ = Checkpoints(tmp_path).newest()
    assert found.tensors["column"].tolist() == [1, 5, 9] and torch.equal(found.tensors["turned"], whole.T)


def test_none_at_all(tmp_path):
    assert Checkpoints(tmp_path).newest() == (None, [])
    (tmp_path / "checkpoints").mkdir()
    assert Checkpoints(tmp_path).newest() == (None, [])


def test_two_are_kept_and_their_names_hold_their_digests(kept):
    assert len(names(kept)) == 2
    for step in (10, 11):
        path = file_of(kept, step)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.name == f"step-{step:012}-{digest[:16]}.safetensors"


def test_the_step_decides_and_no_clock(kept):
    os.utime(file_of(kept, 10), (2**32, 2**32))
    os.utime(file_of(kept, 11), (1, 1))
    assert kept.newest()[0].step == 11
    kept.save(12, tensors(12), {})
    assert [name[:17] for name in names(kept)] == ["step-000000000011", "step-000000000012"]


def test_files_of_others_stay(kept):
    foreign = [
        "notes.txt",
        "step-11.safetensors",
        "step-000000000001-abc.safetensors",
        ".tmp-mine",
        "best.pt",
    ]
    for name in foreign:
        (kept.path / name).write_text("mine")
    aside = kept.path / ".tmp-0123456789abcdef"
    aside.write_bytes(b"half a checkpo")
    remove_half_written(kept.path.parent)
    kept.save(12, tensors(12), {})
    assert not aside.exists() and kept.newest()[0].step == 12
    assert all((kept.path / name).read_text() == "mine" for name in foreign)


def test_a_damaged_one_is_set_aside_and_the_one_before_is_used(kept):
    path = file_of(kept, 11)
    damage(path)
    content = path.read_bytes()
    found, told = kept.newest()
    assert found.step == 10 and found.state["epoch"] == 10
    assert told == [f"the checkpoint of step 11 is damaged; it is now {path.name}.bad"]
    assert path.with_name(f"{path.name}.bad").read_bytes() == content and not path.exists()
    assert kept.newest()[0].step == 10 and kept.newest()[1] == []
    kept.save(12, tensors(12), {})
    assert path.with_name(f"{path.name}.bad").exists()


def test_of_the_damaged_ones_the_newest_few_stay_and_that_is_told(kept):
    foreign = {"step-000000000001.bad", "notes.bad"}
    for name in foreign:
        (kept.path / name).write_text("mine")
    bad = []
    for step in range(12, 18):
        kept.save(step, tensors(step), {})
        damage(file_of(kept, step))
        bad.append(f"{file_of(kept, step).name}.bad")
        found, told = kept.newest()
        assert found.step == 11 and told[1:] == [
            f"removed {name}, an old damaged checkpoint" for name in bad[-5:-4]
        ]
    assert set(names(kept)) == {file_of(kept, 11).name, *bad[-4:], *foreign}


def test_where_all_are_damaged_none_is_used_however_often_one_asks(kept):
    bad = [file_of(kept, step).name + ".bad" for step in (10, 11)]
    for step in (10, 11):
        damage(file_of(kept, step))
    for _ in range(2):
        with pytest.raises(Error, match=r"every checkpoint in .* is damaged") as caught:
            kept.newest()
        assert caught.value.code == 4 and all(name in str(caught.value) for name in bad)
    assert names(kept) == bad


def renamed(path, content):
    """Under the name that belongs to this content."""
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
)
def test_a_right_name_on_what_is_no_checkpoint(kept, content):
    renamed(file_of(kept, 11), content)
    found, told = kept.newest()
    assert found.step == 10 and len(told) == 1


def test_what_is_no_plain_file_is_passed_by(kept, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    os.rename(file_of(kept, 11), elsewhere)
    digest = hashlib.sha256(elsewhere.read_bytes()).hexdigest()[:16]
    (kept.path / f"step-000000000011-{digest}.safetensors").symlink_to(elsewhere)
    (kept.path / f"step-000000000012-{digest}.safetensors").mkdir()
    os.mkfifo(kept.path / f"step-000000000013-{digest}.safetensors")
    assert kept.newest()[0].step == 10
    kept.save(14, tensors(14), {})
    kept.save(15, tensors(15), {})
    assert elsewhere.exists() and len(list(kept.path.glob("step-00000000001[1-3]-*"))) == 3


def test_a_folder_that_is_a_link_is_not_followed(kept, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    kept.path.rename(elsewhere)
    (elsewhere / ".tmp-0123456789abcdef").write_text("mine")
    kept.path.symlink_to(elsewhere)
    remove_half_written(tmp_path)
    with pytest.raises(Error, match="is a link") as caught:
        kept.newest()
    assert caught.value.code == 4 and (elsewhere / ".tmp-0123456789abcdef").exists()


def test_a_huge_file_under_a_wrong_name_costs_no_memory(kept):
    import resource

    with (kept.path / f"step-000000000012-{'0' * 16}.safetensors").open("wb") as file:
        file.truncate(2**28)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert kept.newest()[0].step == 11
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # kB


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", ["write", "fsync", "rename"])
def test_a_disk_that_refuses_leaves_what_was_there(kept, monkeypatch, name, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    before = {path.name: path.read_bytes() for path in kept.path.iterdir()}
    monkeypatch.setattr(os, name, refuse)
    with pytest.raises(
        Error, match=f"{os.strerror(number)}; the last good checkpoint is of step 11"
    ) as caught:
        kept.save(12, tensors(12), {})
    monkeypatch.undo()
    assert caught.value.code == 6
    assert {path.name: path.read_bytes() for path in kept.path.iterdir()} == before
    assert kept.newest()[0].step == 11


def test_the_first_one_that_cannot_be_written(tmp_path):
    (tmp_path / "checkpoints").write_text("in the way")
    with pytest.raises(Error, match="there is no checkpoint yet") as caught:
        Checkpoints(tmp_path).save(1, tensors(1), {})
    assert caught.value.code == 6 and Path(tmp_path, "checkpoints").read_text() == "in the way"
