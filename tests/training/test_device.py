"""The memory that a machine has for a net."""

import pytest
import torch

from dlfound.cli import main
from dlfound.errors import Code
from dlfound.training import device
from dlfound.training.device import TooLarge, check_memory, free_memory

GIB = 2**30


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        pytest.param("0::/", {}, 4 * GIB, id="no limit"),
        pytest.param(
            "0::/a/b", {"a/b/memory.max": "max", "a/memory.max": f"{GIB}"}, GIB, id="limit of the group above"
        ),
        pytest.param("0::/a/b", {"a/b/memory.max": f"{9 * GIB}"}, 4 * GIB, id="limit above the free memory"),
        pytest.param("0::/outside", {"memory.max": f"{2 * GIB}"}, 2 * GIB, id="container"),
        pytest.param(
            "3:cpu:/a\n4:memory:/a\n0::/", {"memory/a/memory.limit_in_bytes": "7"}, 7, id="cgroups version 1"
        ),
    ],
)
def test_free_memory(groups, files, free, tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/cgroup").write_text(f"{groups}\n")
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable:  {4 * GIB // 1024} kB\n")
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(f"{text}\n")
    assert free_memory(tmp_path, tmp_path / "groups") == free


def test_this_machine_has_memory():
    assert free_memory() > 10 * 2**20


def test_a_net_that_does_not_fit_into_free_memory(monkeypatch):
    monkeypatch.setattr(device, "free_memory", lambda: 32_000)
    check_memory(1000, torch.device("cpu"))
    with pytest.raises(TooLarge, match="a net of 2,000 parameters needs about") as caught:
        check_memory(2000, torch.device("cpu"))
    assert caught.value.code == Code.RESOURCES


def test_a_net_that_is_far_too_large_is_refused_before_it_is_built(capsys):
    assert main(["train", "model.hidden=[65000,65000]", "run.dir=mine"]) == 6
    assert (
        "a net of 4,229,160,000 parameters needs about 135.3 GB of memory, but only "
        in capsys.readouterr().err
    )
