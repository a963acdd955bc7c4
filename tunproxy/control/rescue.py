"""Removes what a killed ``up`` has left in this network namespace.

The kernel removes the device and its routes by itself. What stays are policy rules that lead nowhere and
do no harm, and a socket file at which nobody listens.
"""

import contextlib

from tunproxy.control.endpoint import sweep
from tunproxy.errors import SystemChangeError
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import TABLE
from tunproxy.host.rules import PRIORITIES, TableClaim


def rescue() -> list[str]:
    """Remove what was left and return what that was, in words; nothing is touched that is in use.

    Raises SystemChangeError where a tunproxy serves this network namespace, or the kernel refuses.
    """
    claim = TableClaim()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(claim.give_up)
        if not claim.take(TABLE):
            why = "a tunproxy serves this network namespace (stop that one: Ctrl-C, or systemctl stop)"
            raise SystemChangeError(f"nothing to rescue: {why}")
        with Netlink() as net:
            count = net.delete_rules(PRIORITIES)
    rules = "1 policy rule" if count == 1 else f"{count} policy rules"
    return [rules] * (count > 0) + [str(path) for path in sweep()]
