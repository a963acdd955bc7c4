"""systemd-resolved, the real one, on the host of a ``HostLab``, with a system bus of its own.

    +- mount namespaces of dbus-daemon and resolved, network of the host ---+
    |  /run               empty: systemd/resolve is made in it              |
    |  /etc/passwd        this machine's, and systemd-resolve               |
    |  /etc/resolv.conf   nameserver 127.0.0.53                             |
    +-----------------------------------------------------------------------+

Its package would replace this machine's resolv.conf, so it is not installed but unpacked, by
packaging/test-programs.
"""

import os
import shlex
import tempfile
from pathlib import Path

from tests.system.hostlab import HostLab, eventually
from tests.system.namespace import Program

UNPACKED = Path(os.environ.get("TUNPROXY_TEST_CACHE", "/var/cache/tunproxy-tests"), "systemd-resolved")
PLACES = (Path("/"), UNPACKED)
STUB = "127.0.0.53"
USER = "systemd-resolve"

BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow receive_sender="*"/>
    {more}
  </policy>
</busconfig>
"""
REFUSING = '<deny send_interface="org.freedesktop.resolve1.Manager" send_member="SetLinkDNS"/>'

SCRIPT = """
mount -t tmpfs -o mode=755 none /run
mkdir -p /run/systemd
cd {scratch}
for name in passwd group resolv.conf; do mount --bind $name /etc/$name; done
exec {command}
"""


def find(name: str) -> Path | None:
    """Return where a program of systemd-resolved's package is, None where it is not."""
    for place in PLACES:
        for folder in ("usr/lib/systemd", "lib/systemd", "usr/bin"):
            if (place / folder / name).is_file():
                return place / folder / name
    return None


class Resolved:
    """The bus, and resolved on it, which may be stopped and started."""

    def __init__(self, lab: HostLab, *, more: str = "") -> None:
        """more is put into the bus's policy. The folder is one that resolved's user may enter."""
        self._lab = lab
        self._folder = tempfile.TemporaryDirectory(prefix="resolved-")
        self._scratch = scratch = Path(self._folder.name)
        scratch.chmod(0o755)
        self.address = f"unix:path={scratch}/bus"
        self._environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address}
        folders = [str(path.parent) for path in UNPACKED.rglob("libsystemd-shared-*.so")]
        if folders:
            self._environment["LD_LIBRARY_PATH"] = ":".join(folders)
        (scratch / "bus.conf").write_text(BUS.format(socket=f"{scratch}/bus", more=more))
        for name, line in (("passwd", f"{USER}:x:991:991::/:/bin/false"), ("group", f"{USER}:x:991:")):
            text = Path("/etc", name).read_text()
            (scratch / name).write_text(text if USER in text else f"{text}{line}\n")
        (scratch / "resolv.conf").write_text(f"nameserver {STUB}\n")
        arguments = (f"--config-file={scratch}/bus.conf", "--nofork", "--nopidfile")
        self._bus = self._spawn("dbus-daemon", *arguments, log="bus.log")
        assert eventually((scratch / "bus").exists, 20), (scratch / "bus.log").read_text()
        self._program: Program | None = None

    def __enter__(self) -> "Resolved":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._bus.stop()
        self._folder.cleanup()

    def start(self) -> None:
        """Start resolved, and return when its stub answers."""
        binary = find("systemd-resolved")
        assert binary is not None
        self._program = self._spawn(str(binary), log="resolved.log")
        assert eventually(lambda: self.control("status").startswith("Global"), 30), self.said()

    def _spawn(self, *command: str, log: str) -> Program:
        script = SCRIPT.format(scratch=shlex.quote(str(self._scratch)), command=shlex.join(command))
        argv = ("unshare", "--mount", "--propagation=private", "sh", "-ec", script)
        return self._lab.host.spawn(*argv, log=self._scratch / log, env=self._environment)

    def stop(self) -> None:
        if self._program is not None:
            self._program.stop()
            self._program = None

    def said(self) -> str:
        return (self._scratch / "resolved.log").read_text() + (self._scratch / "bus.log").read_text()

    def control(self, *arguments: str) -> str:
        """Return what resolvectl prints, "" where it fails."""
        program = find("resolvectl")
        assert program is not None
        argv = ("timeout", "20", str(program), "--no-pager", *arguments)
        done = self._lab.host.run(*argv, env=self._environment)
        return done.stdout if done.returncode == 0 else ""
