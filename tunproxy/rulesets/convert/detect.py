"""Whose a configuration is, told from its text: by what no other of these formats has."""

import re
from typing import Final

from tunproxy.rulesets.convert.uris import is_list

FORMATS: Final = ("clash", "sing-box", "surge", "acl", "dae", "proxifier", "uris")
LOOKED_AT: Final = 1 << 20  # octets, our choice: what tells them apart stands long before that

_SECTION: Final = re.compile(r"^\s*\[([\w ]+)\]\s*$", re.MULTILINE)
_ACL: Final = re.compile(r"(proxy|bypass|accept|reject)_all|(proxy|bypass|black|white|outbound_block)_list")
_SURGE: Final = frozenset(
    ("general", "proxy", "proxy group", "rule", "host", "url rewrite", "mitm", "script", "replica")
)
_CLASH: Final = re.compile(
    r"^[\"']?(rules|proxies|proxy-groups|rule-providers|proxy-providers|sub-rules|mixed-port)[\"']?\s*:",
    re.MULTILINE,
)
_SING: Final = re.compile(r'"(route|outbounds|inbounds|endpoints)"\s*:')
_CLASH_KEY: Final = re.compile(r"[{,\s][\"']?(rules|proxies|proxy-groups|rule-providers)[\"']?\s*:")
_DAE: Final = re.compile(
    r"^\s*(routing|global|node|group|dns|subscription)\s*\{|^[^#\n]*\)\s*->", re.MULTILINE
)


def detect(data: bytes) -> str:
    """Return which of FORMATS data is in; "" where that cannot be told. Reads as far as LOOKED_AT."""
    text = data[:LOOKED_AT].decode(errors="replace").removeprefix("\ufeff")
    start = text.lstrip()[:1]
    if start == "<":
        return "proxifier" if "ProxifierProfile" in text else ""
    if start == "{" or text.lstrip().startswith(("//", "/*")):  # sing-box reads comments
        if _SING.search(text):
            return "sing-box"
        return "clash" if _CLASH_KEY.search(text) else ""
    sections = {name.strip() for name in _SECTION.findall(text)}
    if any(map(_ACL.fullmatch, sections)):
        return "acl"
    if {name.lower() for name in sections} & _SURGE:
        return "surge"
    if _CLASH.search(text):
        return "clash"
    if _DAE.search(text):
        return "dae"
    return "uris" if is_list(text) else ""
