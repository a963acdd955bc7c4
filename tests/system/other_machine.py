"""Run a command as if on another machine: another user, another /etc/resolv.conf, no /dev/net/tun, …

    python other_machine.py '{"uid": 4711, "resolver": "missing"}' COMMAND [ARG]...

All of it happens in a mount namespace of the command's own; nothing of this machine changes. What this
program and the tests themselves need stays readable for the other user. Run by root, by ``hostlab``.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from tunproxy.host import libc

RESOLV_CONF = Path("/etc/resolv.conf")
TUN = Path("/dev/net/tun")
PR_SET_DUMPABLE = 4  # linux/prctl.h
TUN_NUMBER = os.makedev(10, 200)  # Linux Documentation/admin-guide/devices.txt
TREE = Path(__file__).resolve().parents[2]


def main() -> None:
    options = json.loads(sys.argv[1])
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount("none", "/", "", libc.MS_REC | libc.MS_SLAVE)
    scratch = Path(tempfile.mkdtemp(prefix="other-machine-"))
    libc.mount("tmpfs", str(scratch), "tmpfs", 0, "mode=0755")
    provide_tun(options.get("tun", "open"), scratch)
    if "resolver" in options:
        provide_resolver(options["resolver"], options.get("settings", ""), scratch)
    uid = options.get("uid", 0)
    if uid:
        make_readable({sys.base_prefix, sys.prefix, str(TREE)}, scratch)
    libc.unmount(str(scratch))
    scratch.rmdir()
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    if "user_namespaces" in options:
        limit_user_namespaces(options["user_namespaces"], uid)
    os.execvp(sys.argv[2], sys.argv[2:])


def limit_user_namespaces(limit: int, uid: int) -> None:
    """Let this process have at most limit user namespaces below a new one, in which it has no rights."""
    libc.prctl(PR_SET_DUMPABLE, 1)  # the change of user made our files in /proc root's
    libc.unshare(libc.CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/sys/user/max_user_namespaces").write_text(str(limit))


def provide_tun(kind: str, scratch: Path) -> None:
    """Let everybody open /dev/net/tun (open), only root (closed), or nobody find it (missing)."""
    if kind == "missing":
        empty = scratch / "no-devices"
        empty.mkdir()
        libc.mount(str(empty), str(TUN.parent), "", libc.MS_BIND)
        return
    device = scratch / "tun"
    os.mknod(device, 0o020600, TUN_NUMBER)
    device.chmod(0o666 if kind == "open" else 0o600)
    libc.mount(str(device), str(TUN), "", libc.MS_BIND)


def provide_resolver(kind: str, settings: str, scratch: Path) -> None:
    """Make /etc/resolv.conf a file, a link to one (systemd's, another), a dangling link, or missing."""
    upper, work = scratch / "upper", scratch / "work"
    upper.mkdir()
    work.mkdir()
    libc.mount("overlay", "/etc", "overlay", 0, f"lowerdir=/etc,upperdir={upper},workdir={work}")
    RESOLV_CONF.unlink(missing_ok=True)
    if kind == "file":
        RESOLV_CONF.write_text(settings)
    elif kind == "link":
        libc.mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755")
        Path("/mnt/resolver").write_text(settings)
        RESOLV_CONF.symlink_to("/mnt/resolver")
    elif kind == "systemd":
        libc.mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
        Path("/run/systemd/resolve").mkdir(parents=True)
        Path("/run/systemd/resolve/stub-resolv.conf").write_text(settings)
        Path("/run/systemd/resolve/io.systemd.Resolve").touch()
        RESOLV_CONF.symlink_to("/run/systemd/resolve/stub-resolv.conf")
    elif kind == "dangling":
        RESOLV_CONF.symlink_to("/nowhere/resolv.conf")


def make_readable(paths: set[str], scratch: Path) -> None:
    """Let other users reach paths that lie below directories closed to them, such as /root."""
    closed: dict[Path, list[Path]] = {}
    for path in {Path(name).resolve() for name in paths}:
        for parent in reversed(path.parents):
            if not parent.stat().st_mode & 1:
                closed.setdefault(parent, []).append(path)
                break
    for number, (parent, inside) in enumerate(closed.items()):
        for position, path in enumerate(inside):
            kept = scratch / f"kept-{number}-{position}"
            kept.mkdir()
            libc.mount(str(path), str(kept), "", libc.MS_BIND)
        libc.mount("tmpfs", str(parent), "tmpfs", 0, "mode=0755")
        for position, path in enumerate(inside):
            path.mkdir(parents=True, exist_ok=True)
            libc.mount(str(scratch / f"kept-{number}-{position}"), str(path), "", libc.MS_BIND)


if __name__ == "__main__":
    main()
