"""Surge's and leaf's .conf: the rules of the section [Rule], targets from [Proxy] and [Proxy Group]."""

import re
from typing import Final

from tunproxy.rulesets.convert.groups import group_of
from tunproxy.rulesets.convert.nodes import surge_node
from tunproxy.rulesets.convert.report import Conversion, Source
from tunproxy.rulesets.items import parse_prefix
from tunproxy.rulesets.lines import lines_of

_SAME: Final = frozenset((
    "DOMAIN", "DOMAIN-SUFFIX", "DOMAIN-KEYWORD", "DOMAIN-WILDCARD", "IP-CIDR", "IP-CIDR6", "GEOIP", "IP-ASN",
    "DST-PORT", "SRC-PORT", "IN-PORT", "NETWORK", "PROCESS-NAME", "SRC-IP-CIDR", "GEOSITE",
))  # fmt: skip
_CALLED: Final = {
    "DEST-PORT": "DST-PORT", "PORT-RANGE": "DST-PORT", "SRC-IP": "SRC-IP-CIDR", "PROTOCOL": "NETWORK",
}  # fmt: skip
_NOT_OURS: Final = {
    "USER-AGENT": "what an HTTP client calls itself is not known of a flow",
    "URL-REGEX": "addresses of pages are not known of a flow",
    "SUBNET": "rules do not depend on the network that the machine is in",
    "CELLULAR-RADIO": "rules do not depend on the network that the machine is in",
    "SCRIPT": "scripts have to become plugins",
    "DEVICE-NAME": "names of other devices are not known",
    "HOSTNAME-TYPE": "there is no rule on the form of a name",
    "INBOUND-TAG": "inbounds have other names here",
}
_TARGETS: Final = {
    "DIRECT": "DIRECT", "REJECT": "REJECT", "REJECT-DROP": "REJECT-DROP", "REJECT-NO-DROP": "REJECT",
    "REJECT-TINYGIF": "REJECT", "REJECT-IMG": "REJECT", "DROP": "REJECT-DROP", "BLOCK": "REJECT",
}  # fmt: skip
_TAKEN: Final = ("rule", "proxy", "proxy group")
_LOGICAL: Final = ("AND", "OR", "NOT")
_CONDITION: Final = re.compile(r"\(\s*([A-Za-z][A-Za-z0-9-]*)\s*,")
_LEAF: Final = re.compile(_CONDITION.pattern + r"([^(),]*)([^()]*)\)")  # a condition without others in it
_WORD: Final = re.compile(r'((?:"[^"]*"|[^,"]|")*),')  # up to a comma; those within quotes do not count


def convert_surge(data: bytes, name: str) -> Conversion:
    """Return the rules of a configuration; raises RuleError for what is no text."""
    result = Conversion(name)
    targets = dict(_TARGETS)
    rules: list[tuple[int, str]] = []
    section = ""
    for number, line in lines_of(data, name):
        if not line or line.startswith(("#", ";", "//")):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip().lower()
            if section not in _TAKEN and line not in result.others:
                result.others.append(line)
        elif section == "rule":
            rules.append((number, line))
        elif section in ("proxy", "proxy group") and "=" in line:
            label, _, value = line.partition("=")
            words = [word.strip() for word in _WORD.findall(f"{value},")]
            _add_outlet(result, targets, label.strip(), words, number, group=section == "proxy group")
    result.aliases.update(targets)
    for number, line in rules:
        _Rule(result, targets, number, re.sub(r"\s+//.*$", "", line)).convert()
    return result


def _add_outlet(
    result: Conversion, targets: dict[str, str], label: str, words: list[str], line: int, *, group: bool
) -> None:
    kind = words[0].lower()
    if kind in ("direct", "reject", "reject-drop", "drop", "block") and not group:
        targets[label] = _TARGETS[kind.upper()]
        return
    if group:
        members = tuple(word.strip('"') for word in words[1:] if "=" not in word)
        pairs = [word.partition("=") for word in words[1:] if "=" in word]
        keys: dict[str, object] = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        result.outlets.append(group_of(label, kind, members, keys, line))
    else:
        result.outlets.append(surge_node(label, kind, words[1:], line))


class _Rule:
    """One line of [Rule] on its way."""

    def __init__(self, result: Conversion, targets: dict[str, str], number: int, text: str) -> None:
        self.result = result
        self.targets = targets
        self.number = number
        self.text = text
        self.differences: list[str] = []

    def convert(self) -> None:
        fields = [part.strip() for part in self.text.split(",")]
        kind = fields[0].upper()
        if kind in _NOT_OURS:
            self.drop(_NOT_OURS[kind])
        elif kind in ("FINAL", "MATCH"):
            self.differences += [f"{word!r} is left out" for word in fields[2:]]
            self.add([f"MATCH,{self.target(fields[1] if len(fields) > 1 else '')}"])
        elif kind in _LOGICAL:
            self.logical(kind)
        elif len(fields) < 3:
            self.drop("it has no target")
        elif kind in ("RULE-SET", "DOMAIN-SET"):
            self.set(kind, fields)
        elif kind == "EXTERNAL":
            self.external(fields)
        else:
            found, why = _same(kind, fields[1])
            if why:
                self.drop(why)
            else:
                self.add([",".join((*found, self.target(fields[2]), *self.params(fields[3:])))])

    def add(self, rules: list[str]) -> None:
        self.result.add(self.text, self.number, rules, "; ".join(self.differences))

    def drop(self, why: str) -> None:
        self.result.drop(self.text, self.number, why)

    def target(self, label: str) -> str:
        label = label.strip('"')
        target = self.targets.get(label) or self.targets.get(label.upper(), label)
        if label.upper() in ("REJECT-TINYGIF", "REJECT-IMG"):
            self.differences.append("the flow is refused instead of answered with a picture")
        return target

    def params(self, words: list[str]) -> list[str]:
        self.differences += [f"{word!r} is left out" for word in words if word and word != "no-resolve"]
        return ["no-resolve"] if "no-resolve" in words else []

    def logical(self, kind: str) -> None:
        end = self.text.rfind(")")
        payload = self.text[self.text.find(",") + 1 : end + 1].strip()
        rest = [part.strip() for part in self.text[end + 1 :].split(",")]
        for word in _CONDITION.findall(payload):
            inner = word.upper()
            if inner in _NOT_OURS:
                self.drop(_NOT_OURS[inner])
                return
            if inner in ("RULE-SET", "DOMAIN-SET"):
                self.drop(f"{inner} within {kind} names no set of ours")
                return
        for leaf in _LEAF.finditer(payload):
            if why := _leaf(leaf)[1]:
                self.drop(why)
                return
        payload = _LEAF.sub(lambda leaf: _leaf(leaf)[0], payload)
        self.params(rest[2:])
        self.add([f"{kind},{payload},{self.target(rest[1] if len(rest) > 1 else '')}"])

    def set(self, kind: str, fields: list[str]) -> None:
        """A set by its address, its path, or one of those that Surge has built in."""
        location = fields[1].strip('"')
        target = self.target(fields[2])
        if location in ("LAN", "SYSTEM"):
            if location == "SYSTEM":
                self.drop("Apple's services are a list within Surge")
            else:
                self.differences.append("private addresses only, without the name `local`")
                self.add([f"GEOIP,LAN,{target}"])
            return
        behavior = "domain" if kind == "DOMAIN-SET" else "classical"
        source = Source(
            _label(location, self.result.sources),
            "http" if "://" in location else "file",
            "text",
            behavior,
            location,
            line=self.number,
        )
        known = next((other for other in self.result.sources if other.location == location), None)
        if known is None:
            self.result.sources.append(source)
        if kind == "DOMAIN-SET":
            self.differences.append("`.a.com` in the set means what is below a.com, not a.com itself")
        label = (known or source).name
        self.add([",".join(("RULE-SET", label, target, *self.params(fields[3:])))])

    def external(self, fields: list[str]) -> None:
        """leaf's lists: `site:cn`, `mmdb:us`, `site:file.dat:cn`."""
        kind, _, rest = fields[1].partition(":")
        code = rest.rpartition(":")[2]
        if ":" in rest:
            self.differences.append("the list comes from our own file")
        if kind == "site":
            self.add([f"GEOSITE,{code},{self.target(fields[2])}"])
        elif kind in ("mmdb", "geoip"):
            self.add([f"GEOIP,{code},{self.target(fields[2])}"])
        else:
            self.drop(f"unknown list {fields[1]!r}")


def _leaf(found: "re.Match[str]") -> tuple[str, str]:
    """Return a condition within a logical one as we write it, and why that is impossible or ""."""
    kind = found[1].upper()
    if _CALLED.get(kind, kind) not in _SAME:
        return found[0], ""  # whoever reads our rule says what is wrong
    (ours, payload), why = _same(kind, found[2].strip())
    return f"({ours},{payload}{found[3].rstrip()})", why


def _same(kind: str, payload: str) -> tuple[tuple[str, str], str]:
    """Return type and payload as we write them, and why that is impossible or ""."""
    ours = _CALLED.get(kind, kind)
    if ours not in _SAME:
        return ("", ""), f"unknown rule type {kind!r}"
    if ours == "NETWORK" and payload.lower() not in ("tcp", "udp", "icmp"):
        return ("", ""), f"the protocol {payload!r} within a flow is not known"
    if ours in ("IP-CIDR", "IP-CIDR6", "SRC-IP-CIDR") and "/" not in payload:
        found = parse_prefix(payload)
        if found is not None:
            payload += "/32" if found[0] == 4 else "/128"
    elif ours in ("DST-PORT", "SRC-PORT", "IN-PORT"):
        payload = _ports(payload)
    elif ours == "PROCESS-NAME":
        ours = "PROCESS-PATH" if payload.startswith("/") else ours
        ours += "-WILDCARD" if "*" in payload or "?" in payload else ""
    return (ours, payload), ""


def _ports(text: str) -> str:
    """Return Clash's words for Surge's `>=1000`, `<80` and so on."""
    match = re.fullmatch(r"([<>]=?)\s*(\d{1,5})", text)
    if not match:
        return text
    number = int(match[2])
    if match[1].startswith(">"):
        return f"{number + (match[1] == '>')}-65535"
    return f"0-{number - (match[1] == '<')}"


def _label(location: str, sources: list[Source]) -> str:
    """Return a name for the set at location that no other has."""
    base = re.sub(r"[^\w.-]", "-", re.split(r"[?#]", location)[0].rstrip("/").rpartition("/")[2])
    base = base.rsplit(".", 1)[0] or "set"
    taken = {source.name for source in sources}
    label, number = base, 2
    while label in taken:
        label, number = f"{base}-{number}", number + 1
    return label
