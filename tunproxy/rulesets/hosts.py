"""Hosts files (hosts(5)): an address, then names. As a rule set they are the names."""

from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.items import clean_name
from tunproxy.rulesets.lines import lines_of
from tunproxy.rulesets.notes import Notes

# What every hosts file names because the machine itself needs it.
_OF_THE_MACHINE: Final = frozenset((
    "localhost", "localhost.localdomain", "local", "broadcasthost", "ip6-localhost", "ip6-loopback",
    "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts", "0.0.0.0",
))  # fmt: skip
_NOWHERE: Final = frozenset(("0.0.0.0", "127.0.0.1", "::", "::1", "0"))


def read_hosts(data: bytes, name: str) -> RuleSetContent:
    """Return the names of a hosts file, whatever their addresses are; bad lines are in skipped."""
    content = RuleSetContent()
    notes = Notes(content, name)
    for number, line in lines_of(data, name):
        text = line.partition("#")[0].strip()
        if text:
            why = add_hosts_line(content, text, blocking=False)
            if why:
                notes.skip(number, 1, why)
    return content


def add_hosts_line(content: RuleSetContent, text: str, *, blocking: bool) -> str:
    """Add the names of a line; with blocking only those that lead nowhere. Return "" or what is wrong."""
    words = text.partition("#")[0].split()
    if len(words) < 2 or not is_address(words[0]):
        return f"{text!r} is no address with names behind it"
    if blocking and words[0] not in _NOWHERE:
        return f"{words[0]} is a real address: nothing is blocked"
    for word in words[1:]:
        name, why = clean_name(word.removesuffix("."))
        if why or "*" in name or name[0] in "+.":
            return why or f"{word!r} is no name"
        if name not in _OF_THE_MACHINE:
            content.exact.append(name)
    return ""


def is_address(text: str) -> bool:
    """Return whether text is an IPv4 or IPv6 address; a zone (`%eth0`) may follow."""
    address = text.partition("%")[0]
    if address == "0":
        return True
    try:
        inet_pton(AF_INET6 if ":" in address else AF_INET, address)
    except (OSError, ValueError):
        return False
    return True
