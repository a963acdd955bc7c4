"""pyroute2 in parts: ours come without the others, and whoever wants the whole has it."""

import subprocess
import sys

import pytest

ONLY_OURS = """
import sys
from tunproxy.host import netlink, tun_links
assert "pyroute2.ndb" not in sys.modules and "pyroute2.ipdb" not in sys.modules
assert netlink.IPRoute.__module__ == "pyroute2.iproute.linux"
"""
WHOLE = """
import pyroute2
assert pyroute2.NDB.__module__.startswith("pyroute2.ndb")
assert pyroute2.IPRoute is netlink.IPRoute
assert pyroute2.netlink.exceptions.NetlinkError is netlink.NetlinkError
assert type(pyroute2) is type(sys)
"""
FROM_IT = """
from pyroute2 import NDB, IPRoute
assert IPRoute is netlink.IPRoute
"""
ITS_PART = """
import pyroute2.ethtool
assert pyroute2.ethtool.Ethtool
"""


@pytest.mark.parametrize("then", ["", WHOLE, FROM_IT, ITS_PART], ids=["ours", "whole", "from it", "part"])
def test_parts_come_alone_and_the_whole_for_whoever_wants_it(then: str) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", ONLY_OURS + then], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_whole_that_is_there_already_stays() -> None:
    first = "import pyroute2\nfrom tunproxy.host import netlink\nassert pyroute2.IPRoute is netlink.IPRoute\n"
    done = subprocess.run([sys.executable, "-P", "-c", first], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_missing_is_missing() -> None:
    wrong = "import pyroute2\npyroute2.no_such_thing\n"
    done = subprocess.run([sys.executable, "-P", "-c", ONLY_OURS + wrong], capture_output=True, text=True)
    assert "AttributeError" in done.stderr
    assert "no_such_thing" in done.stderr
