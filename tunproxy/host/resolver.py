"""Name resolution in a mount namespace of our own: another /etc/resolv.conf, and no way around it.

/etc/resolv.conf may be a file, a link to one (systemd-resolved, NetworkManager, WSL), a link into the
void, or missing. Besides, resolvers can be reached by Unix sockets, whatever network namespace a program
is in; those directories are hidden.

Only mounts of our mount namespace change; nothing is written where the host would see it.
"""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from tunproxy.errors import SystemChangeError
from tunproxy.host import libc

RESOLV_CONF: Final = Path("/etc/resolv.conf")
SYSTEMD_RESOLVED: Final = Path("/run/systemd/resolve")  # its stub files, and the socket that nss-resolve asks
SOCKET_DIRECTORIES: Final = (SYSTEMD_RESOLVED, Path("/run/nscd"))  # a hidden one looks like a stopped service
KEPT_KEYWORDS: Final = ("search", "domain", "options", "sortlist")  # resolv.conf(5), all but nameserver
DEFAULT_NAMESERVER: Final = "127.0.0.1"  # whom the C library asks where resolv.conf names nobody


def read_host_settings() -> str:
    """Return the text of the host's resolv.conf, empty where it has none."""
    try:
        return RESOLV_CONF.read_text(errors="replace")
    except OSError:
        return ""


def nameservers(settings: str) -> list[str]:
    """Return the nameservers that a resolv.conf names, in order.

    Link-local ones are left out: such an address means nothing without its interface.
    """
    found = []
    for words in _lines(settings):
        if words[0] == "nameserver" and len(words) > 1:
            with contextlib.suppress(ValueError):
                address = ip_address(words[1])
                if not address.is_link_local:
                    found.append(str(address))
    return found or [DEFAULT_NAMESERVER]


def with_nameservers(settings: str, addresses: Iterable[str]) -> str:
    """Return a resolv.conf like the given one, but with these nameservers."""
    kept = [" ".join(words) for words in _lines(settings) if words[0] in KEPT_KEYWORDS]
    return "".join(f"{line}\n" for line in [*(f"nameserver {address}" for address in addresses), *kept])


def replace_resolv_conf(text: str) -> None:
    """Make /etc/resolv.conf read as text in this mount namespace. Raises SystemChangeError."""
    try:
        target = RESOLV_CONF.resolve()
        _hide_resolver_sockets(text)
        if target.parent == SYSTEMD_RESOLVED and SYSTEMD_RESOLVED.is_dir():
            return  # hidden, and written anew
        if target.is_file():
            _bind_text_over(text, target)
        else:
            _replace_in_overlay(text)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise SystemChangeError(f"cannot give the command a {RESOLV_CONF} of its own: {why}") from error


def _lines(settings: str) -> list[list[str]]:
    """Return the words of each line that is neither empty nor a comment."""
    return [line.split() for line in settings.splitlines() if line.strip() and line.lstrip()[0] not in "#;"]


def _hide_resolver_sockets(text: str) -> None:
    """Cover the directories of resolvers' sockets; those of systemd-resolved with our own stub files.

    The whole directory, because systemd-resolved replaces its files by renaming, and that would take a
    mount on a single file away.
    """
    for directory in SOCKET_DIRECTORIES:
        if directory.is_dir():
            libc.mount(
                "tmpfs", str(directory), "tmpfs", libc.MS_NOSUID | libc.MS_NODEV | libc.MS_NOEXEC, "mode=0755"
            )
    if SYSTEMD_RESOLVED.is_dir():
        for name in ("stub-resolv.conf", "resolv.conf"):
            _write(SYSTEMD_RESOLVED / name, text)


def _bind_text_over(text: str, target: Path) -> None:
    """Let target read as text.

    The file behind it keeps its name in a file system that only the mount keeps alive: over a file
    without a name nothing can be mounted, and a command may want to do to another what we do here.
    """
    with _scratch_file_system() as scratch:
        source = scratch / RESOLV_CONF.name
        _write(source, text)
        libc.mount(str(source), str(target), "", libc.MS_BIND)


def _replace_in_overlay(text: str) -> None:
    """Cover /etc with itself plus a resolv.conf, where there is no file that a mount could cover.

    What is written below /etc in this mount namespace then stays in it, and is lost with it.
    """
    with _scratch_file_system() as scratch:
        upper, work = scratch / "upper", scratch / "work"
        upper.mkdir(mode=0o755)
        work.mkdir()
        _write(upper / RESOLV_CONF.name, text)
        etc = RESOLV_CONF.parent
        libc.mount("overlay", str(etc), "overlay", 0, f"lowerdir={etc},upperdir={upper},workdir={work}")


@contextlib.contextmanager
def _scratch_file_system() -> Iterator[Path]:
    """Yield an empty file system in memory; afterwards only what was mounted from it stays."""
    with tempfile.TemporaryDirectory(prefix="tunproxy-") as directory:
        libc.mount("tmpfs", directory, "tmpfs", libc.MS_NOSUID | libc.MS_NODEV, "mode=0755")
        try:
            yield Path(directory)
        finally:
            libc.unmount(directory)


def _write(path: Path, text: str) -> None:
    """Write a file that everybody may read, whatever our umask."""
    path.write_text(text)
    path.chmod(0o644)
