"""New namespaces for a command: a network of its own, mounts of its own, and the same user as before.

Making a network namespace needs CAP_SYS_ADMIN. Who lacks it gets it by a user namespace first, in which
every uid but his own is unknown; that is all an ordinary user needs, where the host allows it.
"""

import errno
import os
from pathlib import Path

from tunproxy.errors import SystemChangeError
from tunproxy.host import libc, sysctl
from tunproxy.host.privileges import CAP_NET_ADMIN, CAP_SYS_ADMIN, has_capabilities


def enter_new_namespaces() -> None:
    """Move this process, which must have a single thread, into new network and mount namespaces.

    Mounts made from now on stay invisible outside; those made outside still appear inside. uid and gid
    stay what they were. Raises SystemChangeError.
    """
    uid, gid = os.geteuid(), os.getegid()
    if not has_capabilities(CAP_SYS_ADMIN, CAP_NET_ADMIN):
        _enter_user_namespace(uid, gid)
    try:
        libc.unshare(libc.CLONE_NEWNET | libc.CLONE_NEWNS)
        libc.mount("none", "/", "", libc.MS_REC | libc.MS_SLAVE)
    except OSError as error:
        raise SystemChangeError(f"cannot make network and mount namespaces: {_why(error)}") from error


def allow_ping() -> None:
    """Let programs of this network namespace open ICMP echo sockets, as far as user namespaces let us.

    The kernel takes no range with a gid in it that is unknown in our user namespace.
    """
    gid = os.getegid()
    if not sysctl.write("net/ipv4/ping_group_range", "0 2147483647"):
        sysctl.write("net/ipv4/ping_group_range", f"{gid} {gid}")


def _enter_user_namespace(uid: int, gid: int) -> None:
    try:
        libc.unshare(libc.CLONE_NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")  # else the kernel takes no gid_map from us
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    except OSError as error:
        raise SystemChangeError(f"cannot make a user namespace: {_why(error)}") from error


def _why(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EUSERS):
        return "this host allows no more of them (raise the sysctls user.max_*_namespaces, or run as root)"
    if error.errno in (errno.EINVAL, errno.ENOSYS):
        return "the kernel was built without them (run as root)"
    if error.errno not in (errno.EPERM, errno.EACCES):
        return (error.strerror or str(error)).lower()
    for setting, value in (
        ("kernel/apparmor_restrict_unprivileged_userns", "0"),
        ("kernel/unprivileged_userns_clone", "1"),
    ):
        if sysctl.read(setting) not in (None, value):
            remedy = f"sysctl -w {setting.replace('/', '.')}={value}"
            return f"forbidden to ordinary users ({remedy}, or run as root)"
    return "not permitted (run as root, or outside of this container)"
