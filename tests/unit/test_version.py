"""What ``tunproxy version`` tells."""

import platform
import re

import pytest

from tunproxy import version


def test_describe_names_mode_python_and_kernel() -> None:
    pattern = r"tunproxy (\S+) \((compiled|uncompiled), Python (\S+), Linux (\d+\.\d+)\)"
    found = re.fullmatch(pattern, version.describe())
    assert found is not None
    assert found[1] == version.version()
    assert (found[2] == "compiled") == version.is_compiled()
    assert found[3] == platform.python_version()
    assert platform.release().startswith(found[4])


def test_is_compiled_tells_the_mode_of_this_run(pytestconfig: pytest.Config) -> None:
    mode = pytestconfig.getoption("mode")
    if mode != "installed":
        assert version.is_compiled() == (mode == "compiled")
