"""A root file system to install packages in: this machine's, but what changes is in memory, and forgotten.

+- mount namespace ---------------------------------+
|  /            overlay: this machine's / below,    |
|               a tmpfs above                       |
|  /run, /tmp   empty                               |
|  /dev, /proc, /sys   this machine's               |
+---------------------------------------------------+
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.system.namespace import Namespace

SCRIPT = """
set -e
mount -t tmpfs -o size=1g none "$1"
mkdir "$1/above" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/above,workdir=$1/work" "$1/root"
cd "$1/root"
for folder in dev proc sys; do mount --rbind /$folder $folder; done
mount -t tmpfs -o mode=755 none run
mount -t tmpfs -o mode=1777 none tmp
exec chroot . sh -c 'echo ready; exec sleep 1000000'
"""


class NoOtherRoot(Exception):
    """This kernel, or the container that we are in, does not let us make one."""


class OtherRoot:
    """The root, with the network of a namespace; programs run in it, its files are below ``path``."""

    def __init__(self, network: Namespace) -> None:
        self._place = tempfile.TemporaryDirectory()
        with network.entered():
            self._holder = subprocess.Popen(
                ["unshare", "--mount", "--propagation=private", "sh", "-c", SCRIPT, "sh", self._place.name],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stderr is not None
        if self._holder.stdout.readline() != "ready\n":
            why = self._holder.stderr.read().strip()
            self.close()
            raise NoOtherRoot(why)
        self.path = Path(f"/proc/{self._holder.pid}/root")
        self.before: set[str] = set()  # for a test to note ``files()`` in

    def close(self) -> None:
        """End what holds the root; the kernel forgets it then."""
        self._holder.kill()
        self._holder.wait(10)
        for stream in (self._holder.stdout, self._holder.stderr):
            if stream is not None:
                stream.close()
        with contextlib.suppress(OSError):
            self._place.cleanup()

    def command(self, *argv: str) -> list[str]:
        """Return the command that runs argv in there, in a new process's place."""
        entered = ["nsenter", "--target", str(self._holder.pid), "--mount", "--net", "--root", "--"]
        return [*entered, "env", "--chdir=/", *argv]

    def run(
        self, *argv: str, env: Mapping[str, str] | None = None, timeout: float = 110
    ) -> "subprocess.CompletedProcess[str]":
        """Run a program in there to its end; its exit code is the caller's business."""
        return subprocess.run(
            self.command(*argv), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
            env={**clean_environment(), **(env or {})},
        )  # fmt: skip

    def check(self, *argv: str) -> str:
        """Run a program in there that must succeed; return what it puts out."""
        done = self.run(*argv)
        assert done.returncode == 0, f"{argv}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def files(self) -> set[str]:
        """Return the paths of all files that packages, and what they start, might leave."""
        places = " ".join(f"/{name}" for name in ("etc", "opt", "run", "srv", "usr", "var"))
        pruned = " -o ".join(f"-path /{name}" for name in ("var/lib/dpkg", "var/cache", "var/log"))
        return set(self.check("sh", "-c", rf"find {places} \( {pruned} \) -prune -o -print").splitlines())


def clean_environment() -> dict[str, str]:
    """Return the environment that a service manager gives: nothing of the tests' own."""
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def has_python_of(version: tuple[int, int] = sys.version_info[:2]) -> bool:
    """Tell whether this machine has the distribution's own Python of that version."""
    return Path(f"/usr/bin/python{version[0]}.{version[1]}").exists()
