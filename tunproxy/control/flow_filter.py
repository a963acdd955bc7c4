"""A language to choose flows: words that all have to fit.

    host:shop.example     the name that is meant, or one below it; * stands for anything
    address:192.0.2.0/24  the target's or the client's address; target: and client: are one side's
    port:443,8000-8100    the target's port; client-port: the client's
    process:curl          the program's name, or, with a slash, its file; * stands for anything
    user:alice            whose program it is, by name or number
    rule:shop             in the rule, or the reason where no rule decided, as they were written
    upstream:work         who carries it, or a group on the way there
    verdict:reject        dial, converse, open, reject, drop
    protocol:tcp          tcp, udp, icmp; or the word alone
    flow:12,15            the number
    state:open            opening, open, closed; or the word alone

Values with commas between them are alternatives, and ``!`` in front of a word turns it round. What has no
key is an address or a network if it looks like one, or else stands anywhere in name, addresses, process,
rule or way. Capitals make no difference. A flow is a row as ``flow_book.row_of`` and ``helm.flow_feed``
write it.
"""

import pwd
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from string import hexdigits
from typing import Any, Final  # Any: rows, as JSON has them

from tunproxy.errors import ConfigError

Row = Mapping[str, Any]
# Tells whether a value fits a row; None where the row does not (yet) have what it is about.
_Test = Callable[[Row], bool | None]

_VERDICTS: Final = ("dial", "converse", "open", "reject", "drop")
_PROTOCOLS: Final = ("tcp", "udp", "icmp")
_STATES: Final = ("opening", "open", "closed")
_ANYWHERE: Final = ("name", "target", "client", "process", "process_path", "rule", "why", "upstream", "chain")

# our choice
MAX_TEXT: Final = 4096  # characters


@dataclass(frozen=True)
class _Term:
    """One word. text says the same again, with users by number; what it asks about is in keys."""

    text: str
    is_negated: bool
    tests: tuple[_Test, ...]

    def judge(self, row: Row) -> bool | None:
        answers = [test(row) for test in self.tests]
        found = True if True in answers else None if None in answers else False
        return found if found is None else found is not self.is_negated


class FlowFilter:
    """The words of a filter; without any, every flow fits."""

    def __init__(self, terms: Sequence[_Term] = ()) -> None:
        self._terms: Final = tuple(terms)

    @property
    def text(self) -> str:
        """What parse_filter makes the same filter of, on another host too: users are numbers in it."""
        return " ".join(term.text for term in self._terms)

    def judge(self, row: Row) -> bool | None:
        """Tell whether a flow fits; None where that depends on what the row does not have."""
        is_sure = True
        for term in self._terms:
            found = term.judge(row)
            if found is False:
                return False
            is_sure = is_sure and found is True
        return True if is_sure else None

    def fits(self, row: Row) -> bool:
        """Tell whether a flow fits, as far as its row says."""
        return self.judge(row) is True


def parse_filter(text: str) -> FlowFilter:
    """Return the filter that text writes; raises ConfigError."""
    if len(text) > MAX_TEXT:
        raise ConfigError(f"cannot use this filter: it has more than {MAX_TEXT} characters")
    return FlowFilter([_term(word) for word in text.split()])


def _term(word: str) -> _Term:
    plain = word.removeprefix("!")
    is_negated = plain != word
    key, colon, values = plain.partition(":")
    key = key.lower()
    if not colon or key not in _KEYS:
        if colon and not set(key) <= set(hexdigits) and not _is_network(plain):
            raise ConfigError(f"cannot use the filter {word!r}: no key {key!r} ({', '.join(sorted(_KEYS))})")
        return _keyless(word, plain, is_negated)
    parts = values.split(",")
    if "" in parts:
        raise ConfigError(f"cannot use the filter {word!r}: a value is missing")
    made = [_KEYS[key](part.lower() if key != "user" else part, word) for part in parts]
    said = ",".join(text for text, _ in made)
    return _Term(f"{'!' if is_negated else ''}{key}:{said}", is_negated, tuple(test for _, test in made))


def _keyless(word: str, plain: str, is_negated: bool) -> _Term:
    if not plain:
        raise ConfigError(f"cannot use the filter {word!r}: nothing stands in it")
    value = plain.lower()
    if value in _PROTOCOLS:
        test = _equal("protocol", value)
    elif value in _STATES:
        test = _equal("state", value)
    elif _is_network(value):
        test = _in_network(value, word, ("target", "client"))
    else:

        def test(row: Row) -> bool | None:
            found = any(value in str(row[key]).lower() for key in _ANYWHERE if row.get(key))
            return True if found else False if all(key in row for key in _ANYWHERE[:5]) else None

    return _Term(word, is_negated, (test,))


def _equal(key: str, value: object) -> _Test:
    def test(row: Row) -> bool | None:
        return row[key] == value if key in row else None

    return test


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return not text.isdigit()


def _in_network(text: str, word: str, keys: Sequence[str]) -> _Test:
    try:
        network: IPv4Network | IPv6Network = ip_network(text, strict=False)
    except ValueError:
        raise ConfigError(f"cannot use the filter {word!r}: {text!r} is no address and no network") from None

    def test(row: Row) -> bool | None:
        if not all(key in row for key in keys):
            return None
        return any(ip_address(row[key]) in network for key in keys)

    return test


def _network(*keys: str) -> Callable[[str, str], tuple[str, _Test]]:
    return lambda value, word: (value, _in_network(value, word, keys))


def _host(value: str, word: str) -> tuple[str, _Test]:
    if _is_network(value):
        return value, _in_network(value, word, ("target",))
    name = value.rstrip(".")
    below = f".{name}"

    def test(row: Row) -> bool | None:
        if "name" not in row:
            return None
        found = str(row["name"] or "").lower().rstrip(".")
        return fnmatchcase(found, name) if "*" in name else found == name or found.endswith(below)

    return value, test


def _port(key: str) -> Callable[[str, str], tuple[str, _Test]]:
    def make(value: str, word: str) -> tuple[str, _Test]:
        first, dash, last = value.partition("-")
        low, high = _number(first, word, 65535), _number(last if dash else first, word, 65535)
        if low > high:
            raise ConfigError(f"cannot use the filter {word!r}: {low} is more than {high}")
        return value, lambda row: low <= row[key] <= high if key in row else None

    return make


def _process(value: str, word: str) -> tuple[str, _Test]:
    key = "process_path" if "/" in value else "process"

    def test(row: Row) -> bool | None:
        return fnmatchcase(str(row[key] or "").lower(), value) if key in row else None

    return value, test


def _user(value: str, word: str) -> tuple[str, _Test]:
    if value.isascii() and value.isdigit():
        uid = _number(value, word, (1 << 32) - 2)
    else:
        try:
            uid = pwd.getpwnam(value).pw_uid
        except KeyError:
            raise ConfigError(f"cannot use the filter {word!r}: no user {value!r} on this host") from None
    return str(uid), _equal("uid", uid)


def _rule(value: str, word: str) -> tuple[str, _Test]:
    def test(row: Row) -> bool | None:
        return value in str(row["rule"] or row["why"]).lower() if "rule" in row else None

    return value, test


def _upstream(value: str, word: str) -> tuple[str, _Test]:
    def test(row: Row) -> bool | None:
        if "upstream" not in row:
            return None
        names = [row["upstream"], *str(row["chain"]).split(" → ")]
        return any(fnmatchcase(str(name).lower(), value) for name in names)

    return value, test


def _one_of(key: str, values: Sequence[str]) -> Callable[[str, str], tuple[str, _Test]]:
    def make(value: str, word: str) -> tuple[str, _Test]:
        if value not in values:
            raise ConfigError(f"cannot use the filter {word!r}: {value!r} is none of {', '.join(values)}")
        return value, _equal(key, value)

    return make


def _flow(value: str, word: str) -> tuple[str, _Test]:
    return value, _equal("number", _number(value, word, 1 << 62))


def _number(text: str, word: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
        raise ConfigError(f"cannot use the filter {word!r}: {text!r} is no number from 0 to {most}")
    return int(text)


_KEYS: Final[Mapping[str, Callable[[str, str], tuple[str, _Test]]]] = {
    "address": _network("target", "client"),
    "client": _network("client"),
    "client-port": _port("client_port"),
    "flow": _flow,
    "host": _host,
    "port": _port("target_port"),
    "process": _process,
    "protocol": _one_of("protocol", _PROTOCOLS),
    "rule": _rule,
    "state": _one_of("state", _STATES),
    "target": _network("target"),
    "upstream": _upstream,
    "user": _user,
    "verdict": _one_of("verdict", _VERDICTS),
}
