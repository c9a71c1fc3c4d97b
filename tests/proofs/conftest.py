"""Runs a proof in a warm process, with a fault in dlfound or without."""

from collections.abc import Iterator

import pytest

from proofs.warm import WarmProof


@pytest.fixture(scope="module")
def proof(request) -> Iterator[WarmProof]:
    """The proof that the test file is named for; call it with options, and a function of `proofs.faults`."""
    name = request.module.__name__.rpartition(".test_")[2]
    with WarmProof(name) as warm:
        yield warm
