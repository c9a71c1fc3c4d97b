"""What all tests share: one thread, a folder of their own, real data, a warm process, trained runs."""

import os
from pathlib import Path

import pytest
import torch
from support.forked import Forked
from support.trained import TrainedRuns

from dlfound.config import catalog as options


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    """Let each test compute with one thread in a folder of its own, so the repository gets no `outputs/`."""
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def data_root(request):
    """The folder of real data that DLFOUND_DATA names."""
    if not os.environ.get("DLFOUND_DATA"):
        pytest.skip("DLFOUND_DATA does not name a folder of real data")
    return request.config.invocation_params.dir / Path(os.environ["DLFOUND_DATA"])


@pytest.fixture
def registry(monkeypatch):
    """Forget the options that a test registers."""
    monkeypatch.setattr(options, "_registered", {})


@pytest.fixture(scope="session")
def forked():
    """`dlfound` in a child of a warm process: forked("train", "data=moons") returns code and streams."""
    warm = Forked()
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Runs that are trained once in the session."""
    return TrainedRuns(tmp_path_factory.mktemp("trained"))
