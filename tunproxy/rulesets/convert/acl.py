"""shadowsocks-rust's access lists.

    [proxy_all] [bypass_all]         what becomes of what is in no list (also accept_all, reject_all)
    [proxy_list] [bypass_list]       through the proxy, past it (also white_list, black_list)
    [outbound_block_list]            refused
    a prefix, an address, `||a.com` (and below), `|a.com` (only this), or a regular expression for names

What is refused is asked first, then the list of what is proxied, then the other.
"""

import re
from typing import Final

from tunproxy.rulesets.convert.report import Conversion, Outlet
from tunproxy.rulesets.items import clean_name, parse_prefix
from tunproxy.rulesets.lines import lines_of

_BLOCK: Final = "outbound_block_list"
_PROXY: Final = "proxy_list"
_BYPASS: Final = "bypass_list"
_CALLED: Final = {"white_list": _PROXY, "black_list": _BYPASS}
_DEFAULTS: Final = {"proxy_all": True, "accept_all": True, "bypass_all": False, "reject_all": False}
_SUFFIX: Final = re.compile(r"\(\??:?\^\|\\\.\)([A-Za-z0-9_-]+(?:\\\.[A-Za-z0-9_-]+)*)\$")
_EXACT: Final = re.compile(r"\^([A-Za-z0-9_-]+(?:\\\.[A-Za-z0-9_-]+)*)\$")


def convert_acl(data: bytes, name: str, proxy: str = "PROXY") -> Conversion:
    """Return the list as rules; proxy is the target of what is proxied. Raises RuleError for binary data."""
    result = Conversion(name)
    lists: dict[str, list[tuple[int, str]]] = {_BLOCK: [], _PROXY: [], _BYPASS: []}
    section = _PROXY
    proxied = True
    at = 1
    for number, line in lines_of(data, name):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        if text.startswith("[") and text.endswith("]"):
            section = _CALLED.get(text[1:-1], text[1:-1])
            if section in _DEFAULTS:
                proxied, at = _DEFAULTS[section], number
            elif section not in lists:
                result.drop(text, number, "unknown section (its lines are dropped with it)")
        elif section in lists:
            lists[section].append((number, text))
        else:
            result.drop(text, number, f"it is in section [{section}]")
    for section, target in ((_BLOCK, "REJECT"), (_PROXY, proxy), (_BYPASS, "DIRECT")):
        for number, text in lists[section]:
            _add(result, text, number, target)
    result.add("[proxy_all]" if proxied else "[bypass_all]", at, [f"MATCH,{proxy if proxied else 'DIRECT'}"])
    if proxied or lists[_PROXY]:
        result.outlets.append(Outlet(proxy, "proxy"))
    return result


def _add(result: Conversion, text: str, number: int, target: str) -> None:
    found = parse_prefix(text)
    if found is not None:
        whole = "" if "/" in text else "/32" if ":" not in text else "/128"
        result.add(text, number, [f"IP-CIDR,{text}{whole},{target}"])
        return
    for lead, kind in (("||", "DOMAIN-SUFFIX"), ("|", "DOMAIN")):
        if text.startswith(lead):
            name, why = clean_name(text[len(lead) :].strip("."))
            if why:
                result.drop(text, number, why)
            else:
                result.add(text, number, [f"{kind},{name},{target}"])
            return
    for expression, kind in ((_SUFFIX, "DOMAIN-SUFFIX"), (_EXACT, "DOMAIN")):
        match = expression.fullmatch(text)
        if match:
            name = match[1].replace("\\.", ".").lower()
            result.add(text, number, [f"{kind},{name},{target}"])
            return
    result.add(text, number, [f"DOMAIN-REGEX,{text},{target}"])
