"""sing-box rule sets as they are written: JSON, versions 1 to 5, `{"version": 3, "rules": [...]}`."""

import re
from typing import Final

import msgspec

from tunproxy.rules.model import Position, RuleError, RuleSetContent
from tunproxy.rulesets.notes import Notes, broken
from tunproxy.rulesets.relaxed_json import plain_json
from tunproxy.rulesets.sing_rule import add_rule

MIN_VERSION: Final = 1
MAX_VERSION: Final = 5

_BYTE: Final = re.compile(r" \(byte (\d+)\)$")  # how msgspec says where


def read_sing_json(data: bytes, name: str) -> RuleSetContent:
    """Return the set; rules that cannot be used are in skipped, with their number.

    Raises RuleError for what is no JSON, no rule set, or of a version that we do not know.
    """
    found = decode_json(data, name)
    if not isinstance(found, dict) or not isinstance(found.get("rules", []), list):
        raise broken(name, "not a rule set (an object with version and rules is expected)")
    check_version(found.get("version"), name)
    content = RuleSetContent()
    notes = Notes(content, name)
    for number, rule in enumerate(found.get("rules", [])):
        add_rule(content, rule, notes, f"rules[{number}]")
    return content


def check_version(version: object, name: str) -> None:
    """Raise RuleError unless version is one of those that we know."""
    if not isinstance(version, int) or isinstance(version, bool) or not MIN_VERSION <= version <= MAX_VERSION:
        raise broken(
            name, f"unknown version {version!r} of a rule set (known: {MIN_VERSION} to {MAX_VERSION})"
        )


def decode_json(data: bytes, name: str) -> object:
    """Return what data, JSON with comments, stands for; raises RuleError for other data, and deep nesting."""
    text = data.removeprefix(b"\xef\xbb\xbf")
    try:
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return msgspec.json.decode(plain_json(text))
    except RecursionError as error:
        raise broken(name, "not usable JSON: nested too deeply") from error
    except (msgspec.DecodeError, ValueError) as error:
        words = str(error).removeprefix("JSON is malformed: ")
        found = _BYTE.search(words)
        before = text[: int(found[1])] if found else b""
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        position = Position(name, before.count(b"\n") + 1, column)
        raise RuleError(position, f"not JSON: {_BYTE.sub('', words)}") from error
