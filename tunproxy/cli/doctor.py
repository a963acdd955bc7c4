"""The commands ``tunproxy doctor`` and ``tunproxy audit``."""

import pwd
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from tunproxy.doctor.finding import Finding

NOT_FINE: Final = 1  # exit code

_MARKS: Final = {"fine": "ok", "odd": "look", "broken": "BAD", "unknown": "?"}

Tun = Annotated[
    str, typer.Option("--tun", metavar="NAME", help="Which TUN device, of any program; default: all.")
]
User = Annotated[str, typer.Option("--user", metavar="USER", help="Whose packets are meant; default: yours.")]
Json = Annotated[bool, typer.Option("--json", help="Print everything, for programs.")]


def examine_host(
    tun: Tun = "",
    probe: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS:PORT", help="Connect there, and say who answers; else nothing is sent."
        ),
    ] = "",
    user: User = "",
    json: Json = False,
) -> int:
    """Find out why a TUN device sees no packets, or answers none.

    Looks at devices, routes, rules, resolvers and limits, and says of each what is wrong, how that shows, and
    what mends it. Exit code 1 means that something is broken.
    """
    from tunproxy.doctor.examine import examine

    return _show(examine(tun, probe, user_id(user)), as_json=json)


def audit_host(tun: Tun = "", user: User = "", json: Json = False) -> int:
    """Show which kinds of packets would go past the TUN device.

    DNS, QUIC, IPv6 and others: the kernel is asked where it would send each, nothing is sent. Exit code 1
    means that something leaks.
    """
    from tunproxy.doctor.audit import audit, judge_portal
    from tunproxy.doctor.devices import choose, read_devices
    from tunproxy.doctor.examine import asking_user
    from tunproxy.errors import ConfigError
    from tunproxy.host.netlink import Netlink

    uid = user_id(user)
    links = [device.name for device in choose(read_devices(), tun)]
    if not links:
        which = f"called {tun!r} " if tun else ""
        raise ConfigError(f"there is no TUN device {which}here: nothing is captured (tunproxy up makes one)")
    with Netlink() as net:
        found = audit(net, links, asking_user() if uid is None else uid)
    return _show([*found, judge_portal()], as_json=json)


def user_id(user: str) -> int | None:
    """Return the number of a user, None where none is given. Raises typer.BadParameter."""
    if not user:
        return None
    if user.isascii() and user.isdigit() and len(user) <= 10:
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        raise typer.BadParameter(f"there is no user {user!r}") from None


def describe_findings(findings: "Sequence[Finding]") -> str:
    """Return findings in lines: how it is, what is said, and below it why, and what to do."""
    from tunproxy.cli.status_text import printable

    width = max((len(each.subject) for each in findings), default=0)
    lines = []
    for each in findings:
        lines.append(f"{_MARKS[each.state.value]:<4}  {each.subject:<{width}}  {each.says}")
        if each.state.value != "fine":
            lines += [f"{'':<{width + 8}}{line}" for line in each.evidence]
            lines += [f"{'':<{width + 8}}-> {each.mend}"] if each.mend else []
    return "\n".join(printable(line, but="\n") for line in lines)


def _show(findings: "Sequence[Finding]", *, as_json: bool) -> int:
    from json import dumps

    if as_json:
        typer.echo(dumps([each.to_json() for each in findings], indent=2))
    else:
        typer.echo(describe_findings(findings))
    return NOT_FINE if any(each.state.value == "broken" for each in findings) else 0
