"""What every test shares: one thread, a folder of its own to stand in, the folder of real data."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    """Each test computes with one thread and stands in its own folder: `outputs/` never lands in the repository."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data_root(request):
    """The folder of real data that DLFOUND_DATA names."""
    if not os.environ.get("DLFOUND_DATA"):
        pytest.skip("DLFOUND_DATA names no folder of real data")
    return request.config.invocation_params.dir / Path(os.environ["DLFOUND_DATA"])
