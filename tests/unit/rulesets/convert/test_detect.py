"""Whose a configuration is."""

import base64
import json

import pytest

from tests.unit.rulesets.programs import damaged
from tunproxy.rulesets.convert.detect import FORMATS, detect

SAMPLES = {
    "clash": b"# mine\nport: 7890\nrules:\n  - MATCH,DIRECT\n",
    "sing-box": b'// mine\n{"log": {}, "route": {"rules": []}}',
    "surge": b"[General]\nloglevel = notify\n[Rule]\nFINAL,DIRECT\n",
    "acl": b"# mine\n[bypass_all]\n[proxy_list]\n10.0.0.0/8\n",
    "dae": b"routing {\n  pname(NetworkManager) -> direct\n  fallback: proxy\n}\n",
    "uris": b"# mine\nss://YWVzLTEyOC1nY206c2VjcmV0@192.0.2.1:8388#a\ntrojan://x@192.0.2.1:443\n",
    "proxifier": b'<?xml version="1.0"?>\n<ProxifierProfile version="101"></ProxifierProfile>',
}


@pytest.mark.parametrize("form", FORMATS)
def test_each_format_is_told_by_its_own_words(form: str) -> None:
    data = SAMPLES[form]
    for written in (data, b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r\n"), b"\n\n" + data):
        assert detect(written) == form


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (b"rules:\n  - DOMAIN,a.com,P -> x\n", "clash"),
        (json.dumps({"rules": ["MATCH,DIRECT"]}).encode(), "clash"),
        (b"{rules: [MATCH,DIRECT]}", "clash"),
        (b"[Proxy]\na = direct\n[Rule]\nFINAL,a\n", "surge"),
        (b"dip(10.0.0.0/8) -> direct\n", "dae"),
        (b"[outbound_block_list]\n10.0.0.0/8\n", "acl"),
        (base64.b64encode(b"ss://YWVzLTEyOC1nY206c2VjcmV0@192.0.2.1:8388#a\n"), "uris"),
    ],
)
def test_other_ways_to_write(data: bytes, form: str) -> None:
    assert detect(data) == form


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\xff" * 100,
        b"DOMAIN,a.com,DIRECT\n",
        b'[upstreams.a]\ntype = "socks5"\n',
        b"<html></html>",
        b"{}",
        b'{"a": 5}',
    ],
)
def test_what_is_none_of_them(data: bytes) -> None:
    assert detect(data) == ""


@pytest.mark.parametrize("form", FORMATS)
def test_damaged_text_is_told_or_not_and_raises_nothing(form: str) -> None:
    assert all(detect(data) in ("", *FORMATS) for data in damaged(SAMPLES[form], 1, 300))
