"""Removes what a killed ``up`` has left in this network namespace.

The kernel removes the device and its routes by itself. What stays are policy rules that lead nowhere and
do no harm, exceptions from an empty table (``lane``), a socket file at which nobody listens, and the kill
switch, where there was to be one.
"""

import contextlib
from collections.abc import Mapping
from typing import Final

from tunproxy.control.endpoint import sweep
from tunproxy.errors import SystemChangeError
from tunproxy.host import kill_switch
from tunproxy.host.lane import clear_lane
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import TABLE
from tunproxy.host.rules import PRIORITIES, TableClaim

HOLDS: Final = "the kill switch holds: nothing leaves until tunproxy runs again (tunproxy rescue undoes it)"


def rescue() -> list[str]:
    """Remove what was left and return what that was, in words; nothing is touched that is in use.

    Raises SystemChangeError where a tunproxy serves this network namespace, or the kernel refuses.
    """
    claim = TableClaim()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(claim.give_up)
        is_free = claim.take(TABLE)
        with Netlink() as net:
            if claim.squatter >= 0:  # then routes tell whether somebody serves
                is_free = not net.is_in_use(TABLE)
            if not is_free:
                why = "a tunproxy serves this network namespace (stop that one: Ctrl-C, or systemctl stop)"
                raise SystemChangeError(f"nothing to rescue: {why}")
            was_held = kill_switch.lift(net)
            count = net.delete_rules(PRIORITIES)
            excepted = clear_lane()
    lane = "1 prefix of the lane" if excepted == 1 else f"{excepted} prefixes of the lane"
    rules = "1 policy rule" if count == 1 else f"{count} policy rules"
    lifted = [kill_switch.KillSwitch.what] * was_held
    return lifted + [rules] * (count > 0) + [lane] * (excepted > 0) + [str(path) for path in sweep()]


def rescue_after_service(environment: Mapping[str, str]) -> tuple[list[str], bool]:
    """Do as rescue does, for systemd's ExecStopPost, whose environment says how the service has ended.

    Where nobody has asked it to end, a kill switch stays: the next start takes it over, and nothing leaves in
    between. Return what was removed, and whether there is such a one. Raises SystemChangeError.
    """
    if environment.get("SERVICE_RESULT", "") != "success" and holds_now():  # systemd.exec(5)
        return [str(path) for path in sweep()], True
    return rescue(), False


def holds_alone() -> bool:
    """Tell whether a kill switch lets nothing leave, and no tunproxy serves this network namespace.

    Never raises: it is for whoever tells of something else that went wrong.
    """
    try:
        if TableClaim.is_taken(TABLE):
            return False
        with Netlink() as net:
            return kill_switch.is_held(net) and not net.is_in_use(TABLE)
    except (SystemChangeError, OSError):
        return False


def holds_now() -> bool:
    """Tell whether a kill switch lets nothing leave. Raises SystemChangeError."""
    with Netlink() as net:
        return kill_switch.is_held(net)
