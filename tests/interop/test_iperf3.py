"""iperf3 in all its directions. These are no benchmarks: the bounds only tell a flow from a trickle."""

import json
from typing import Any

import pytest

from tests.system.lab import Family, Lab

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.needs("iperf3"),
    pytest.mark.leaks_checked_per_module,  # its UDP tests leave associations behind
]

PORT = 5201
TRICKLE = 20e6  # bit/s
SECONDS = 3  # of a transfer: a virtual machine may not run for most of one
TESTS = 3  # of a second each: one that does not run for 20 ms loses 2 % of it, whoever carries them


@pytest.mark.parametrize("options", [[], ["-R"], ["-P", "8"], ["-P", "8", "-R"], ["--bidir"]], ids=" ".join)
def test_tcp(lab: Lab, family: Family, options: list[str]) -> None:
    end = iperf3(lab, family, *options, seconds=SECONDS)["end"]
    assert end["sum_received"]["bits_per_second"] > TRICKLE
    if "--bidir" in options:
        assert end["sum_received_bidir_reverse"]["bits_per_second"] > TRICKLE


@pytest.mark.undisturbed
@pytest.mark.parametrize("options", [[], ["-R"], ["-P", "4"]], ids=lambda options: " ".join(["-u", *options]))
def test_udp_at_a_bearable_rate_loses_little(lab: Lab, family: Family, options: list[str]) -> None:
    found = []
    for _ in range(TESTS):
        end = iperf3(lab, family, "-u", "-b", "50M", "-l", "1200", *options)["end"]
        rate, lost = end["sum"]["bits_per_second"], end["sum"]["lost_percent"]
        if rate > TRICKLE and lost < 2:
            return
        found.append(f"{lost} % lost at {rate:.0f} bit/s")
    raise AssertionError(f"{found}")


@pytest.mark.parametrize("direction", [[], ["-R"]], ids=["up", "down"])
def test_udp_overload_ends_in_order(lab: Lab, family: Family, direction: list[str]) -> None:
    """Nothing slows the sender down; what arrives is a flow, and the TCP connection beside it survives."""
    end = iperf3(lab, family, "-u", "-b", "0", "-l", "1200", *direction, seconds=SECONDS)["end"]
    assert end["sum"]["bits_per_second"] > TRICKLE
    assert end["sum"]["lost_percent"] < 100


def iperf3(lab: Lab, family: Family, *options: str, seconds: int = 1) -> dict[str, Any]:  # Any: JSON
    """Return the client's report of a test with a server of its own.

    One that serves test after test listens anew after each, and refuses who comes too early. A UDP server
    that is bound to no address answers from whatever address is nearest.
    """
    serve = ("iperf3", "-s", "-1", "-B", family.host, "-p", str(PORT))
    server = lab.start_serving(*serve, port=PORT, address=family.host)
    try:
        client = ("iperf3", "-c", family.host, "-p", str(PORT), "-t", str(seconds), "-J", *options)
        done = lab.client.run(*client, timeout=30)
    finally:
        server.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert "error" not in report
    return report
