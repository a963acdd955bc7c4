"""Have pytest explain the assertions of the shared parts as it does those of test files."""

import pytest

pytest.register_assert_rewrite("tests.unit.tcp.builders", "tests.unit.tcp.frames")
