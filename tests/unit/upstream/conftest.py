"""Some of these tests fail where a socket is left open: of their own."""

import gc
import warnings

import pytest


@pytest.fixture(autouse=True, scope="module")
def nobody_elses_sockets() -> None:
    """Have what earlier tests left collected now, not in the midst of one that takes it for its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
