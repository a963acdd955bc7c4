"""systemd's real journal takes the lines of ``tunproxy up``, with their fields.

It runs in a mount namespace of its own, over an empty /run; the picture of the others is in ``hostlab``.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.hostlab import TUNPROXY, WORLD_IPV4, HostLab, eventually, host_for_tests

pytestmark = pytest.mark.timeout(60)

JOURNALD = Path("/lib/systemd/systemd-journald")
# What the first argument names is where entries end up, the second a folder with journald.conf.
MACHINE = """
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
mount --bind "$1" /run/log/journal
mount --bind "$2" /etc/systemd
shift 2
/lib/systemd/systemd-journald &
for _ in $(seq 500); do [ -S /run/systemd/journal/socket ] && break; sleep 0.05; done
exec "$@"
"""
SETTINGS = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToSyslog=no\nForwardToWall=no\n"
CONFIG = """
rules = ["DST-PORT,80,work"]
[dns]
mode = "off"
[upstreams.work]
type = "socks5"
server = "127.0.0.1"
port = 9
"""

lab = pytest.fixture(scope="module", name="lab")(host_for_tests)


class Journal:
    """The entries of ours in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def entries(self, *matches: str) -> list[dict[str, str]]:
        command = [
            "journalctl",
            "-D",
            str(self._folder),
            "-o",
            "json",
            "--no-pager",
            "-t",
            "tunproxy",
            *matches,
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def journal(lab: HostLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journal]:
    if not JOURNALD.exists() or shutil.which("journalctl") is None or not Path("/etc/systemd").is_dir():
        pytest.skip("needs systemd-journald and journalctl (Debian: systemd)")
    folder = tmp_path_factory.mktemp("journal")
    for name in ("entries", "etc"):
        (folder / name).mkdir()
    (folder / "etc" / "journald.conf").write_text(SETTINGS)
    (folder / "tunproxy.toml").write_text(CONFIG)
    up = (*TUNPROXY, "up", "--tun", "journal0", "--config", str(folder / "tunproxy.toml"))
    lab.start(
        "unshare", "-m", "sh", "-c", MACHINE, "machine", str(folder / "entries"), str(folder / "etc"),
        *up, "--log-format", "journal",
    )  # fmt: skip
    made = Journal(folder / "entries")
    assert eventually(lambda: made.entries("PRIORITY=5"), 30), "it does not say that it serves"
    yield made
    lab.stop_all()


def test_supervisors_line_is_a_notice_without_our_name_before_it(journal: Journal) -> None:
    first = journal.entries("PRIORITY=5")[0]
    assert "worker uid" in first["MESSAGE"]
    assert not first["MESSAGE"].startswith("tunproxy: ")
    assert first["LOGGER"] == "tunproxy.told"
    assert "WORKER" not in first


def test_workers_line_tells_flow_rule_and_upstream(lab: HostLab, journal: Journal) -> None:
    with pytest.raises(OSError, match=r"refused|reset|unreachable"):
        lab.host.connect(WORLD_IPV4, 80)
    assert eventually(lambda: journal.entries("UPSTREAM=work"), 30)
    (told,) = journal.entries("UPSTREAM=work")
    assert told["PRIORITY"] == "4"
    assert told["WORKER"] in ("0", "1")
    assert f"-> {WORLD_IPV4}:80" in told["FLOW"]
    assert told["MESSAGE"].startswith(f"{told['FLOW']}: upstream work: ")
    assert "DST-PORT,80" in told["RULE"]
    assert told["_UID"] != "0"  # the journal's own word: another user, in its sandbox
