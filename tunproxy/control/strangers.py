"""Policy rules of others that stand among ours, such as those that somebody has added by hand to try things.

They stay, as they are not ours to remove: what they find is theirs, and so is not captured, or comes back.
"""

from tunproxy.host.netlink import Netlink
from tunproxy.host.rules import PRIORITIES


def strangers_in_words(net: Netlink) -> list[str]:
    """Return a line about them, where there are some. Raises SystemChangeError."""
    rules = [rule for family in net.families for rule in net.foreign_rules(family)]
    found = sorted({rule.priority for rule in rules if rule.priority in PRIORITIES})
    if not found:
        return []
    one = len(found) == 1
    which = "a policy rule of somebody else stands" if one else "policy rules of somebody else stand"
    return [
        f"{which} among ours, and may lead packets past us: priority {', '.join(map(str, found))} "
        f"(ip rule shows {'it' if one else 'them'}; ip rule del pref {found[0]}, where nobody needs it)"
    ]
