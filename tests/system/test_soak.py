"""What ``make soak`` does for an hour, for as long as fits between other tests, with bounds to match.

The picture of the namespaces is in ``hostlab``.
"""

import os

import pytest

from tests.system.hostlab import HostLab
from tests.system.soak import Report, soak

pytestmark = pytest.mark.timeout(180)

SECONDS = 25.0
KINDS = {
    "short", "download", "upload", "both", "half-close", "reset-by-server", "reset-by-client", "long",
    "udp", "dns", "ping",
}  # fmt: skip
# What memory may grow by from the second quarter to the last: buffers of the flows that there are by then. An
# hour shows what these seconds cannot.
GROWTH = 16 << 20


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a host for the tests")
    with HostLab() as lab:
        scratch = tmp_path_factory.mktemp("soak")
        return soak(lab, scratch, SECONDS, talkers=16, pause=0.05, reload_every=5.0)


def test_soak_no_flow_is_lost(report: Report) -> None:
    assert report.told["failed"] == 0, report.told["failures"]
    assert {kind for kind, count in report.told["counts"].items() if count} == KINDS


def test_soak_no_descriptor_is_left(report: Report) -> None:
    assert max(sample.descriptors for sample in report.samples) > report.before, "there was no traffic"
    assert report.after <= report.before


def test_soak_memory_does_not_run_away(report: Report) -> None:
    quarters = [
        [each.memory for each in report.samples if number <= 4 * each.at / report.seconds < number + 1]
        for number in range(4)
    ]
    assert min(quarters[3]) - min(quarters[1]) < GROWTH


def test_soak_every_reload_came_into_force(report: Report) -> None:
    assert report.reloads >= 3
    assert report.said.count("is in force") == report.reloads, report.said
    assert report.said.count("\n") == 1 + report.reloads, report.said
