"""sing-box rule sets as they are compiled, .srs.

    "SRS"  u8 version  then, packed with zlib: uvarint n, n rules
    rule      u8 0 items… u8 0xFF u8 invert  /  u8 1 u8 mode (0 and, 1 or) uvarint n, n rules, u8 invert
    item      u8 number of the field, then its values
    text[]    uvarint n, n * (uvarint length, octets)        u16[]  uvarint n, n * u16
    address set   u8 1, u64 n, n * (uvarint length, first, uvarint length, last)
    name set      u8, u64[] leaves, u64[] bitmap, u8[] labels (each after a uvarint n), see ``louds``

Rules are turned into what they were in JSON, which ``sing_rule`` understands.
"""

from typing import Final

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.items import packed_range
from tunproxy.rulesets.louds import read_keys
from tunproxy.rulesets.notes import Notes, broken
from tunproxy.rulesets.octets import Octets
from tunproxy.rulesets.sing_json import check_version
from tunproxy.rulesets.sing_rule import MAX_DEPTH, add_rule
from tunproxy.rulesets.unpack import unpack_zlib

MAGIC: Final = b"SRS"
END: Final = 0xFF

TEXT_ITEMS: Final = {
    1: "network", 3: "domain_keyword", 4: "domain_regex", 8: "source_port_range", 10: "port_range",
    11: "process_name", 12: "process_path", 13: "package_name", 14: "wifi_ssid", 15: "wifi_bssid",
    17: "process_path_regex",
}  # fmt: skip
PORT_ITEMS: Final = {0: "query_type", 7: "source_port", 9: "port"}
DOMAIN_ITEM: Final = 2
ADDRESS_ITEMS: Final = {5: "source_ip_cidr", 6: "ip_cidr"}
ADGUARD_ITEM: Final = 16
NETWORK_TYPE_ITEM: Final = 18
FLAG_ITEMS: Final = {19: "network_is_expensive", 20: "network_is_constrained"}
INTERFACES_ITEM: Final = 21
DEFAULT_INTERFACE_ITEM: Final = 22

# First characters of keys in name sets.
BELOW_MARK: Final = "\r"
SUFFIX_MARK: Final = "\n"
# The same in AdGuard's sets, and the last character of patterns that may go on.
OPEN_MARK: Final = "\b"


def read_srs(data: bytes, name: str) -> RuleSetContent:
    """Return the set; rules that cannot be used are in skipped. Raises RuleError for damaged data."""
    if data[:3] != MAGIC or len(data) < 4:
        raise broken(name, "not a .srs file (its first octets are not SRS)")
    check_version(data[3], name)
    octets = Octets(unpack_zlib(data[4:], name), name)
    content = RuleSetContent()
    notes = Notes(content, name)
    for number in range(octets.count(octets.uvarint(), 3)):
        add_rule(content, _rule(octets, 0), notes, f"rules[{number}]")
    return content


def _rule(octets: Octets, depth: int) -> dict[str, object]:
    kind = octets.u8()
    if kind == 0:
        return _default(octets)
    if kind != 1:
        raise octets.error(f"unknown kind {kind} of a rule")
    if depth > MAX_DEPTH:
        raise octets.error(f"rules are nested more than {MAX_DEPTH} deep")
    mode = octets.u8()
    if mode > 1:
        raise octets.error(f"unknown mode {mode} of a logical rule")
    rules = [_rule(octets, depth + 1) for _ in range(octets.count(octets.uvarint(), 3))]
    return {"type": "logical", "mode": ("and", "or")[mode], "rules": rules, "invert": octets.u8() != 0}


def _default(octets: Octets) -> dict[str, object]:
    rule: dict[str, object] = {}
    while True:
        item = octets.u8()
        if item == END:
            rule["invert"] = octets.u8() != 0
            return rule
        if item in TEXT_ITEMS:
            rule[TEXT_ITEMS[item]] = _texts(octets)
        elif item in PORT_ITEMS:
            rule[PORT_ITEMS[item]] = [octets.u16() for _ in range(octets.count(octets.uvarint(), 2))]
        elif item in ADDRESS_ITEMS:
            rule[ADDRESS_ITEMS[item]] = _addresses(octets)
        elif item == DOMAIN_ITEM:
            _names(octets, rule)
        elif item == ADGUARD_ITEM:
            rule["adguard_domain"] = [_adguard(key) for key in _keys(octets)]
        elif item == NETWORK_TYPE_ITEM:
            rule["network_type"] = list(octets.take(octets.count(octets.uvarint(), 1)))
        elif item in FLAG_ITEMS:
            rule[FLAG_ITEMS[item]] = True
        elif item == INTERFACES_ITEM:
            rule["network_interface_address"] = _interfaces(octets)
        elif item == DEFAULT_INTERFACE_ITEM:
            rule["default_interface_address"] = _prefixes(octets)
        else:
            raise octets.error(f"unknown item {item} of a rule")


def _texts(octets: Octets) -> list[str]:
    return [_text(octets) for _ in range(octets.count(octets.uvarint(), 1))]


def _text(octets: Octets) -> str:
    return octets.take(octets.count(octets.uvarint(), 1)).decode("utf-8", "replace")


def _addresses(octets: Octets) -> list[tuple[int, int, int]]:
    form = octets.u8()
    if form != 1:
        raise octets.error(f"unknown form {form} of a set of addresses")
    ranges = []
    for _ in range(octets.count(octets.i64(), 10)):
        first = octets.take(octets.uvarint())
        last = octets.take(octets.uvarint())
        found = packed_range(first, last)
        if found is None:
            raise octets.error("damaged range of addresses")
        ranges.append(found)
    return ranges


def _keys(octets: Octets) -> list[str]:
    octets.u8()
    leaves = octets.words(octets.uvarint())
    bitmap = octets.words(octets.uvarint())
    labels = octets.take(octets.count(octets.uvarint(), 1))
    return read_keys(leaves, bitmap, labels, octets.name)


def _names(octets: Octets, rule: dict[str, object]) -> None:
    keys = _keys(octets)
    # Version 1 has suffix `x` as the keys `x` and `\r.x`, and a set that was `.x` as `\r.x` alone.
    below = [key[1:] for key in keys if key[:1] == BELOW_MARK]
    rule["domain"] = [key for key in keys if key[:1] not in (BELOW_MARK, SUFFIX_MARK)]
    rule["domain_suffix"] = [key[1:] for key in keys if key[:1] == SUFFIX_MARK] + below


def _adguard(key: str) -> str:
    """Return a stored key as the list wrote it."""
    text = key
    if text.startswith(BELOW_MARK):
        text = text[1:]
    elif text.startswith(SUFFIX_MARK):
        text = "||" + text[1:]
    else:
        text = "|" + text
    return text.removesuffix(OPEN_MARK) if text.endswith(OPEN_MARK) else text + "^"


def _prefix(octets: Octets) -> str:
    address = octets.take(octets.uvarint())
    return f"{address.hex()}/{octets.u8()}"


def _prefixes(octets: Octets) -> list[str]:
    return [_prefix(octets) for _ in range(octets.count(octets.uvarint(), 2))]


def _interfaces(octets: Octets) -> dict[int, list[str]]:
    return {octets.u8(): _prefixes(octets) for _ in range(octets.count(octets.uvarint(), 2))}
