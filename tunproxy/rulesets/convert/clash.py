"""Clash's and mihomo's configuration: rules, sub-rules, rule providers, names of proxies and groups."""

import io
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tunproxy.rulesets.behaviors import BEHAVIORS
from tunproxy.rulesets.convert.groups import group_of
from tunproxy.rulesets.convert.nodes import clash_node, shown
from tunproxy.rulesets.convert.report import Conversion, Source
from tunproxy.rulesets.notes import broken

MAX_LEN: Final = 16 << 20  # our choice: the parser needs a hundred times as much memory
MAX_OPEN: Final = 100  # brackets in brackets
_OF_GROUPS: Final = ("name", "type", "proxies")
_TAKEN: Final = frozenset((
    "proxies", "proxy-groups", "rule-providers", "sub-rules", "rules", "rule", "mode", "log-level", "ipv6",
))  # fmt: skip
_OURS: Final = frozenset(("DIRECT", "REJECT", "REJECT-DROP", "PASS", "COMPATIBLE", "GLOBAL"))
_BUILT_IN: Final = {"direct": "DIRECT", "reject": "REJECT"}  # kinds of proxies that lead nowhere else
_SAID: Final = ("name", "type", "udp")  # of such a one; whatever else it says is lost


def convert_clash(data: bytes, name: str) -> Conversion:
    """Return the rules of a configuration; raises RuleError for what is no YAML or no mapping."""
    root = load_yaml(data, name)
    result = Conversion(name)
    losses: dict[str, str] = {}
    for key, kind in (("proxies", "proxy"), ("proxy-groups", "group")):
        for entry in _entries(root.get(key)):
            label = _label(entry.get("name")) if _is_map(entry) else ""
            if not label:
                continue
            kind_of, place = shown(entry.get("type", "")).lower(), _line_of(entry, "name")
            if kind == "proxy" and kind_of in _BUILT_IN:
                result.aliases[label] = _BUILT_IN[kind_of]
                if rest := [repr(shown(key)) for key in entry if key not in _SAID]:
                    losses[label] = f"{', '.join(rest)} of {label}: left out"
            elif kind == "proxy":
                result.outlets.append(clash_node(label, entry, place))
            else:
                members = tuple(shown(member) for member in _entries(entry.get("proxies")))
                keys = {shown(key): value for key, value in entry.items() if key not in _OF_GROUPS}
                result.outlets.append(group_of(label, kind_of, members, keys, place))
    _add_sources(result, root.get("rule-providers"))
    known = {outlet.name for outlet in result.outlets} | _OURS | set(result.aliases)
    sub_rules = root.get("sub-rules")
    if isinstance(sub_rules, dict):
        for label, rules in sub_rules.items():
            lines: list[str] = result.sub_rules.setdefault(shown(label), [])
            _add_rules(result, rules, known | {shown(other) for other in sub_rules}, lines, losses)
    rules = root.get("rules", root.get("rule"))
    _add_rules(result, rules, known | set(result.sub_rules), result.lines, losses)
    result.others += [shown(key) for key in root if key not in _TAKEN]
    return result


def load_yaml(data: bytes, name: str) -> dict[str, object]:
    """Return the mapping that data is, with line numbers; raises RuleError."""
    if len(data) > MAX_LEN:
        raise broken(name, f"the file has more than {MAX_LEN} octets")
    if b"\0" in data:
        raise broken(name, "not a text file (it holds NUL octets)")
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    if max((line.count("[") + line.count("{") for line in text.splitlines()), default=0) > MAX_OPEN * 100:
        raise broken(name, "too many brackets in a line")
    yaml = YAML(typ="rt", pure=True)
    yaml.allow_duplicate_keys = True
    yaml.version = (1, 2)
    try:
        root = yaml.load(io.StringIO(text))
    except RecursionError as error:
        raise broken(name, "not usable YAML: nested too deeply") from error
    except (YAMLError, ValueError, TypeError, AttributeError, KeyError, IndexError, AssertionError) as error:
        # The parser meets some damaged files with errors of Python instead of its own.
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
        line = f" in line {mark.line + 1}" if mark is not None else ""
        raise broken(name, f"not YAML: {problem}{line}") from error
    if not isinstance(root, dict):
        raise broken(name, "not a configuration (a mapping with `rules:` is expected)")
    return root


def _is_map(entry: object) -> bool:
    return isinstance(entry, dict)


def _entries(value: object) -> list:  # type: ignore[type-arg]  # whatever YAML brings
    return value if isinstance(value, list) else []


def _label(name: object) -> str:
    """Return the name of a proxy or a group, which may be a number; "" where it has none."""
    return "" if isinstance(name, bool) or not isinstance(name, str | int | float) else str(name)


def _add_rules(
    result: Conversion,
    rules: object,
    known: set[str] | frozenset[str],
    into: list[str],
    losses: dict[str, str],
) -> None:
    """Take a list of rules; losses says what is lost of targets that are ours under another name."""
    places = getattr(rules, "lc", None)
    for number, rule in enumerate(_entries(rules)):
        line = places.item(number)[0] + 1 if places is not None else 1
        if not isinstance(rule, str):
            result.drop(shown(rule), line, "a rule is a text")
            continue
        text = ",".join(field.strip() for field in rule.split(","))
        kind = text.partition(",")[0].upper()
        if kind == "FINAL":
            text = "MATCH" + text[len(kind) :]
        fields = text.split(",")
        at = _target_at(fields)
        target = fields[at] if at < len(fields) else ""
        why = "" if target in known else f"the target {target!r} is declared nowhere in the file"
        if target in result.aliases and kind != "SUB-RULE":
            fields[at], why = result.aliases[target], losses.get(target, "")
        result.add(rule, line, [",".join(fields)], why, into)


def _target_at(fields: list[str]) -> int:
    """Return which field the target is; there may be no such field."""
    kind = fields[0].upper()
    if kind == "MATCH":
        return 1
    joined = kind in ("AND", "OR", "NOT", "SUB-RULE") or kind.endswith("-REGEX")
    return len(fields) - 1 if joined else 2


def _add_sources(result: Conversion, providers: object) -> None:
    if not isinstance(providers, dict):
        return
    for label, provider in providers.items():
        if not isinstance(provider, dict):
            continue
        kind = shown(provider.get("type", "file"))
        location = shown(provider.get("url" if kind == "http" else "path") or "")
        behavior = shown(provider.get("behavior", "")).lower()
        if kind not in ("file", "http", "inline") or behavior not in BEHAVIORS:
            result.drop(
                f"rule-providers: {shown(label)}", _line_of(providers, label), "unknown type or behavior"
            )
            continue
        items = tuple(shown(item) for item in _entries(provider.get("payload")))
        form = shown(provider.get("format") or "yaml")
        line = _line_of(providers, label)
        result.sources.append(Source(shown(label), kind, form, behavior, location, items, line))


def _line_of(mapping: object, key: object) -> int:
    places = getattr(mapping, "lc", None)
    try:
        return int(places.key(key)[0]) + 1 if places is not None else 1
    except (KeyError, TypeError, AttributeError):
        return 1
