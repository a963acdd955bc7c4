"""Kernel settings under /proc/sys; those of the network belong to our own network namespace."""

from pathlib import Path

ROOT = Path("/proc/sys")


def read(name: str) -> str | None:
    """Return the value of a setting such as net/ipv4/ip_forward, None where this kernel lacks it."""
    try:
        return (ROOT / name).read_text().strip()
    except OSError:
        return None


def write(name: str, value: str) -> bool:
    """Try to change a setting; return whether the kernel took the value."""
    try:
        (ROOT / name).write_text(value)
    except OSError:
        return False
    return True


def allows_ping(gid: int) -> bool:
    """Tell whether processes of group gid may open ICMP echo sockets here (net.ipv4.ping_group_range)."""
    low, high = (int(word) for word in (read("net/ipv4/ping_group_range") or "1 0").split())
    return low <= gid <= high
