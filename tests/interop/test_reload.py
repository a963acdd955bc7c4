"""``tunproxy up`` with a configuration that somebody edits: what is saved counts, what is broken does not.

The picture of the namespaces is in ``hostlab``. A greeter at 198.51.100.1 says hello to whom the rules let
through; to all others it is a refused connection.
"""

import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import can_make_namespaces
from tests.system.hostlab import TUNPROXY, WORLD_IPV4, HostLab, eventually

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(not can_make_namespaces(), reason="needs root and /dev/net/tun"),
]

TUN = "reload0"
SOON = 1.0  # seconds within which what is saved is in force
OPEN = 'rules = ["DST-PORT,1,REJECT"]\n'
CLOSED = 'rules = ["MATCH,REJECT"]\n'
BROKEN = 'rules = [\n  "DOMAN,a.com,DIRECT",\n]\n'
MANY = 200_000  # names of a rule set that takes a while to load


class Edited:
    """A running ``tunproxy up``, its configuration, and a greeter in the world."""

    def __init__(self, lab: HostLab, folder: Path, port: int) -> None:
        self.lab = lab
        self.file = folder / "tunproxy.toml"
        self.port = port
        self.file.write_text(OPEN)
        self.before = lab.configuration()
        self.process = lab.start_up("--tun", TUN, "--config", str(self.file))
        assert eventually(self.is_served, 20)  # a moment after its start-up line
        assert self.is_open()

    def save(self, text: str) -> None:
        """Save as editors do: another file takes the old one's place."""
        other = self.file.with_suffix(".new")
        other.write_text(text)
        other.replace(self.file)

    def is_open(self) -> bool:
        try:
            return self.lab.hear(WORLD_IPV4, self.port, timeout=20) == "hello\n"
        except ConnectionError:
            return False

    def is_served(self) -> bool:
        """Tell whether status can be asked."""
        from tunproxy.control import endpoint

        return any(found.pid == self.process.pid for found in endpoint.find())

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.lab.run(*TUNPROXY, *arguments)

    def policy(self) -> dict[str, Any]:
        """Return what status tells of the policy."""
        # not above: which tunproxy the tests run is settled after pytest has loaded this
        from tunproxy.control import client, endpoint

        (path,) = [found.path for found in endpoint.find() if found.pid == self.process.pid]
        told: dict[str, Any] = client.fetch_status(path)["policy"]
        return told

    def says(self, pattern: str) -> bool:
        """Wait for a line of its output like this."""
        assert self.process.stderr is not None
        fd = self.process.stderr.fileno()
        said = ""

        def has() -> bool:
            nonlocal said
            if select.select([fd], [], [], 0)[0]:
                said += os.read(fd, 1 << 16).decode()
            return re.search(pattern, said) is not None

        return eventually(has, 20)


@pytest.fixture(scope="module")
def module_lab() -> Iterator[HostLab]:
    with HostLab() as made:
        yield made


@pytest.fixture
def edited(module_lab: HostLab, tmp_path: Path) -> Iterator[Edited]:
    with module_lab.greeter(module_lab.world, WORLD_IPV4) as (port, _):
        made = Edited(module_lab, tmp_path, port)
        yield made
        if made.process.poll() is None:
            made.process.send_signal(signal.SIGINT)
            assert made.process.wait(20) == 0
        module_lab.stop_all()
        assert module_lab.configuration() == made.before


def test_save_is_in_force_within_a_second(edited: Edited) -> None:
    """Of some saves of each kind one must be: a machine that stands still now and then holds up others."""
    took: dict[bool, list[float]] = {False: [], True: []}
    while len(took[True]) < 8 and any(min(each, default=SOON) >= SOON for each in took.values()):
        for text, is_open in ((CLOSED, False), (OPEN, True)):
            began = time.monotonic()
            edited.save(text)
            assert eventually(lambda wanted=is_open: edited.is_open() is wanted, 20)
            took[is_open].append(time.monotonic() - began)
    assert max(map(min, took.values())) < SOON, took
    assert edited.policy()["generation"] == 1 + 2 * len(took[True])


def test_broken_save_changes_nothing_and_status_says_why(edited: Edited) -> None:
    edited.save(BROKEN)
    why = rf"{re.escape(str(edited.file))}:2:4: unknown rule type 'DOMAN' \(did you mean 'DOMAIN'\?\)"
    assert edited.says(why)
    assert eventually(lambda: re.search(why, edited.policy()["error"]), 20)
    shown = edited.run("status", "--tun", TUN)
    assert re.search(why, shown.stdout), shown.stdout
    assert edited.is_open()
    edited.save(CLOSED)
    assert eventually(lambda: not edited.is_open(), 20)
    # the supervisor hears of it from the worker
    assert eventually(lambda: edited.policy()["error"] == "", 20)


def test_connection_keeps_its_way(edited: Edited) -> None:
    lab = edited.lab
    with (
        lab.world.listen(WORLD_IPV4) as listener,
        lab.host.connect_to(listener) as client,
        listener.accept()[0] as server,
    ):
        edited.save(CLOSED)
        assert eventually(lambda: not edited.is_open(), 20)
        client.sendall(b"still here")
        assert server.recv(100) == b"still here"


@pytest.mark.parametrize("how", ["signal", "command"])
def test_reload_is_had_without_a_save_too(edited: Edited, how: str) -> None:
    before = edited.policy()["generation"]
    if how == "signal":
        edited.process.send_signal(signal.SIGHUP)
        assert edited.says(r"SIGHUP: policy \d+ is in force")
    else:
        done = edited.run("reload", "--tun", TUN)
        assert (done.returncode, done.stderr) == (0, "")
        assert "1 rule" in done.stdout
    assert eventually(lambda: edited.policy()["generation"] == before + 1, 20)
    assert edited.is_open()


def test_command_says_what_is_wrong(edited: Edited) -> None:
    edited.save(BROKEN)
    assert edited.says("the old policy stays")
    done = edited.run("reload", "--tun", TUN)
    assert done.returncode == 2
    assert "tunproxy.toml:2:4: unknown rule type 'DOMAN'" in done.stderr
    assert "Traceback" not in done.stderr
    assert edited.is_open()


def test_killed_while_it_reloads_leaves_nothing(edited: Edited, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("".join(f"+.site{number}.example\n" for number in range(MANY)))
    table = f'[rule-sets.many]\npath = "{names}"\nformat = "text"\nbehavior = "domain"\n'
    saved = 0

    def is_building() -> bool:
        """Tell whether it is being loaded; save it, once more where that was over before we have looked."""
        nonlocal saved
        policy = edited.policy()
        if not policy.get("is_building") and policy["generation"] == 1 + saved:
            saved += 1
            edited.save(f'# {saved}\nrules = ["RULE-SET,many,REJECT"]\n{table}')
        return bool(policy.get("is_building"))

    assert eventually(is_building, 30)
    edited.process.kill()
    assert edited.process.wait(20) == -signal.SIGKILL
    assert eventually(lambda: not edited.lab.has_link(TUN), 20)
    assert edited.is_open()  # directly: its rules lead into an empty table
    assert eventually(lambda: tunproxy_processes(edited.file) == [], 20)
    again = edited.lab.start_up("--tun", TUN, "--config", str(edited.file))
    again.send_signal(signal.SIGINT)
    assert again.wait(20) == 0
    assert edited.lab.configuration() == edited.before


def tunproxy_processes(file: Path) -> list[int]:
    """Return who still runs with this configuration."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(file).encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found
