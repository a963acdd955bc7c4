"""Proxifier's profiles, .ppx: XML with rules whose applications, targets and ports must all fit."""

import re
from typing import Final
from xml.etree import ElementTree

from tunproxy.rules.model import Condition
from tunproxy.rulesets.convert.report import Conversion, Outlet, port_of, rule_line
from tunproxy.rulesets.items import clean_name, parse_prefix
from tunproxy.rulesets.logic import all_of, any_of, range_conditions
from tunproxy.rulesets.notes import broken

MAX_LEN: Final = 16 << 20  # our choice
MAX_DEPTH: Final = 50  # a profile's elements are five deep
_ACTIONS: Final = {"direct": "DIRECT", "block": "REJECT"}


class Unknown(Exception):
    """A rule has something that we cannot express; the text says what."""


def convert_proxifier(data: bytes, name: str) -> Conversion:
    """Return the rules of a profile; raises RuleError for what is no such XML."""
    root = _load(data, name)
    result = Conversion(name)
    proxies = _outlets(result, root)
    for number, rule in enumerate(root.iterfind("./RuleList/Rule"), 1):
        label = (rule.findtext("Name") or f"rule {number}").strip()
        if rule.get("enabled", "true").lower() != "true":
            result.drop(label, 1, "it is switched off")
            continue
        try:
            condition, why = _condition(rule)
            result.add(label, 1, [rule_line(condition, _target(rule, proxies))], why)
        except Unknown as error:
            result.drop(label, 1, str(error))
    return result


def _load(data: bytes, name: str) -> ElementTree.Element:
    if len(data) > MAX_LEN:
        raise broken(name, f"the file has more than {MAX_LEN} octets")
    # Entities can grow without bound, and profiles have none. A NUL: UTF-16, where they could hide.
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
        raise broken(name, "not a profile (it has a DOCTYPE, or is not UTF-8)")
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        parser.feed(data)
        root = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise broken(name, f"not XML: {error}") from error
    if root.tag != "ProxifierProfile":
        raise broken(name, "not a profile (its root is not ProxifierProfile)")
    return root


class _Builder(ElementTree.TreeBuilder):
    """Builds a tree, but no deep one: taking that apart again would exhaust the stack."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: str, attrs: dict[str, str]) -> ElementTree.Element:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
        return super().start(tag, attrs)

    def end(self, tag: str) -> ElementTree.Element:
        self._depth -= 1
        return super().end(tag)


def _outlets(result: Conversion, root: ElementTree.Element) -> dict[str, str]:
    """Return the names of proxies and chains by their number."""
    names: dict[str, str] = {}
    for proxy in root.iterfind("./ProxyList/Proxy"):
        host = (proxy.findtext("Address") or "").strip()
        label = _label(proxy.findtext("Label") or f"{host}-{(proxy.findtext('Port') or '').strip()}")
        names[proxy.get("id", "")] = label
        kind = (
            f"proxy {proxy.get('type', '').lower().replace('https', 'http')}".strip()
        )  # HTTPS is CONNECT there
        result.outlets.append(Outlet(label, kind, (), host, port_of((proxy.findtext("Port") or "").strip())))
    for chain in root.iterfind("./ChainList/Chain"):
        label = _label(chain.findtext("Name") or f"chain-{chain.get('id', '')}")
        members = tuple(names.get((entry.text or "").strip(), "") for entry in chain.iterfind("Proxy"))
        names[chain.get("id", "")] = label
        result.outlets.append(Outlet(label, "group relay", tuple(filter(None, members))))
    return names


def _label(text: str) -> str:
    return re.sub(r"[,\s]+", "-", text.strip()).strip("-") or "PROXY"


def _target(rule: ElementTree.Element, proxies: dict[str, str]) -> str:
    action = rule.find("Action")
    kind = "" if action is None else action.get("type", "").lower()
    if kind in _ACTIONS:
        return _ACTIONS[kind]
    if action is None or kind not in ("proxy", "chain"):
        raise Unknown(f"unknown action {kind!r}")
    number = (action.text or "").strip()
    if number not in proxies:
        raise Unknown(f"{kind} {number!r} is not in the profile")
    return proxies[number]


def _condition(rule: ElementTree.Element) -> tuple[Condition, str]:
    """Return what a rule asks, and what is different or ""."""
    needed: list[Condition] = []
    left_out: list[str] = []
    for element, understand in (("Applications", _application), ("Targets", _target_words)):
        words = _words(rule.findtext(element) or "")
        found = [condition for word in words for condition in understand(word, left_out)]
        if words and not found:
            raise Unknown("; ".join(left_out))
        if found:
            needed.append(any_of(found))
    ports = _words(rule.findtext("Ports") or "")
    if ports:
        needed.append(Condition("DST-PORT", "/".join(ports)))
    if not needed:
        return Condition("MATCH", ""), ""
    return all_of(needed), "; ".join(left_out)


def _words(text: str) -> list[str]:
    words = [word.strip().strip('"').strip() for word in re.split(r"[;,\n]", text)]
    words = [word for word in words if word]
    return [] if [word.lower() for word in words] == ["any"] else words


def _application(word: str, left_out: list[str]) -> list[Condition]:
    if "\\" in word or ":" in word:
        word = re.split(r"[\\/]", word)[-1]
        left_out.append(f"only the name {word!r} of a path is compared")
        if not word:
            return []
    if word.lower().endswith((".exe", ".app")):
        word = word[:-4]
        left_out.append(f"programs are called {word!r} here, without an ending")
    kind = "PROCESS-PATH" if word.startswith("/") else "PROCESS-NAME"
    return [Condition(kind + ("-WILDCARD" if "*" in word or "?" in word else ""), word)]


def _target_words(word: str, left_out: list[str]) -> list[Condition]:
    """Return what a target asks: an address, a range, a prefix, `10.*`, a name, `*.lan`."""
    found = parse_prefix(word)
    if found is None and "-" in word:
        found = _range(word)
    if found is None and re.fullmatch(r"(\d{1,3}\.){1,3}\*", word):
        octets = word.split(".")[:-1]
        found = parse_prefix(".".join(octets + ["0"] * (4 - len(octets))) + f"/{8 * len(octets)}")
    if found is not None:
        return range_conditions(found)
    if "%" in word:
        left_out.append(f"{word} stands for a name of the machine and is left out")
        return []
    if "*" in word or "?" in word:
        name, why = clean_name(word.replace("*", "x").replace("?", "x").strip("."))
        if why:
            left_out.append(why)
            return []
        return [Condition("DOMAIN-WILDCARD", word.lower())]
    name, why = clean_name(word)
    if why:
        left_out.append(why)
        return []
    return [Condition("DOMAIN", name)]


def _range(word: str) -> tuple[int, int, int] | None:
    first, last = (parse_prefix(part.strip()) for part in word.split("-", 1))
    if first is None or last is None or first[0] != last[0] or first[1] > last[2]:
        return None
    return first[0], first[1], last[2]
