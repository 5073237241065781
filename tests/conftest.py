"""What every test shares: the verifier on, a cache of its own, fixed seeds, golden files."""

from __future__ import annotations

import gc
import os
import random
import tempfile
from collections.abc import Iterator

import hypothesis
import pytest

from tests.lacks import reason

hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write the golden files anew instead of comparing with them",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Before gradlet is imported, and inherited by every process that a test starts.
    cache = tempfile.TemporaryDirectory(prefix="gradlet-test-cache-")
    config.add_cleanup(cache.cleanup)
    os.environ["GRADLET_CACHE"] = cache.name
    os.environ["GRADLET_VERIFY"] = "1"
    if "PYTEST_XDIST_WORKER" in os.environ:  # the cores are for all of the processes
        os.environ.setdefault("GRADLET_THREADS", "2")
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    device = os.environ.get("GRADLET_DEVICE", "cpu")
    for item in items:
        why = reason(device, item.nodeid)
        if why is not None:
            item.add_marker(pytest.mark.xfail(reason=f"{device}: {why}"))


@pytest.fixture(autouse=True)
def seeds() -> None:
    """The same random numbers in a test whichever tests ran before it."""
    # Imported here: the settings above must be made before gradlet loads.
    from gradlet import Tensor

    random.seed(0)
    Tensor.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def long_lived() -> Iterator[None]:
    """What a module leaves behind, such as its compiled programs, is no longer looked through.

    With all that a thousand tests have left a collection of garbage takes a second.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether golden files are to be written instead of compared with."""
    yield request.config.getoption("--update-golden")
