"""mihomo's rule sets, .mrs: behaviors domain and ipcidr, packed with zstd.

"MRS\\x01"  u8 behavior (0 domain, 1 ipcidr)  i64 count  i64 length of something extra, then that
domain:  u8 1, then leaves, labelBitmap (i64 n, n * u64) and labels (i64 n, n octets), see ``louds``
ipcidr:  u8 1, i64 n, n * (16 octets from, 16 octets to); IPv4 as ::ffff:a.b.c.d
All numbers have the high octet first.
"""

import struct
from typing import Final

from tunproxy.rules.model import RuleSetContent
from tunproxy.rules.name_trie import NameTrie
from tunproxy.rulesets.items import MAPPED, make_range
from tunproxy.rulesets.louds import MAX_LABELS, little_endian
from tunproxy.rulesets.notes import Notes, broken
from tunproxy.rulesets.octets import Octets
from tunproxy.rulesets.unfold import add_keys, patterns_in
from tunproxy.rulesets.unpack import unpack_zstd

MAGIC: Final = b"MRS\x01"
DOMAIN_CODE: Final = 0
IPCIDR_CODE: Final = 1
FORM: Final = 1  # of what follows the header
_RANGE: Final = struct.Struct(">QQQQ")


def read_mrs(data: bytes, name: str, behavior: str = "") -> RuleSetContent:
    """Return the set; raises RuleError for damaged data, and where a behavior is given that it has not."""
    octets = Octets(unpack_zstd(data, name), name)
    if octets.left() < len(MAGIC) or octets.take(len(MAGIC)) != MAGIC:
        raise broken(name, "not a .mrs file (its first octets are not MRS and version 1)")
    code = octets.u8()
    if code not in (DOMAIN_CODE, IPCIDR_CODE):
        raise broken(name, f"unknown behavior {code} in a .mrs file (known: 0 domain, 1 ipcidr)")
    found = "domain" if code == DOMAIN_CODE else "ipcidr"
    if behavior not in ("", found):
        raise broken(name, f"the set is of behavior {found}, not {behavior}")
    octets.i64()  # how many items there are
    octets.take(octets.count(octets.i64(), 1))
    form = octets.u8()
    if form != FORM:
        raise broken(name, f"unknown form {form} of the data (known: {FORM})")
    return _read_domains(octets) if code == DOMAIN_CODE else _read_ranges(octets)


def _read_domains(octets: Octets) -> RuleSetContent:
    """Return the names, which stay packed but for those with a `*`."""
    leaves = octets.words(octets.i64())
    bitmap = octets.words(octets.i64())
    labels = octets.take(octets.count(octets.i64(), 1))
    if len(labels) > MAX_LABELS:
        raise broken(octets.name, f"the trie has more than {MAX_LABELS} nodes")
    trie = NameTrie(little_endian(leaves), little_endian(bitmap), labels)
    if not trie.whole:
        raise broken(octets.name, f"the trie of names is damaged ({len(labels)} labels, {trie.nodes} nodes)")
    content = RuleSetContent(tries=[trie])
    add_keys(content, patterns_in(trie, octets.name))
    return content


def _read_ranges(octets: Octets) -> RuleSetContent:
    content = RuleSetContent()
    notes = Notes(content, octets.name)
    count = octets.count(octets.i64(), _RANGE.size)
    for high, low, last_high, last_low in _RANGE.iter_unpack(octets.take(count * _RANGE.size)):
        if high == last_high == 0 and low >> 32 == last_low >> 32 == MAPPED and low <= last_low:
            content.ranges.append((4, low & 0xFFFF_FFFF, last_low & 0xFFFF_FFFF))
        elif (high, low) <= (last_high, last_low):
            content.ranges.append(make_range(6, high << 64 | low, last_high << 64 | last_low))
        else:
            notes.skip(1, 1, "a range of addresses ends before its start")
    return content
