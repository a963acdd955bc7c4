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


def convert_clash(data: bytes, name: str) -> Conversion:
    """Return the rules of a configuration; raises RuleError for what is no YAML or no mapping."""
    root = load_yaml(data, name)
    result = Conversion(name)
    for key, kind in (("proxies", "proxy"), ("proxy-groups", "group")):
        for entry in _entries(root.get(key)):
            members = (
                tuple(shown(member) for member in _entries(entry.get("proxies"))) if _is_map(entry) else ()
            )
            if _is_map(entry) and isinstance(entry.get("name"), str):
                if kind == "proxy":
                    result.outlets.append(clash_node(entry["name"], entry, _line_of(entry, "name")))
                    continue
                keys = {shown(key): value for key, value in entry.items() if key not in _OF_GROUPS}
                kind_of = shown(entry.get("type", "")).lower()
                place = _line_of(entry, "name")
                result.outlets.append(group_of(entry["name"], kind_of, members, keys, place))
    _add_sources(result, root.get("rule-providers"))
    known = {outlet.name for outlet in result.outlets} | _OURS
    sub_rules = root.get("sub-rules")
    if isinstance(sub_rules, dict):
        for label, rules in sub_rules.items():
            lines: list[str] = result.sub_rules.setdefault(shown(label), [])
            _add_rules(result, rules, known | {shown(other) for other in sub_rules}, lines)
    _add_rules(result, root.get("rules", root.get("rule")), known | set(result.sub_rules), result.lines)
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


def _add_rules(result: Conversion, rules: object, known: set[str] | frozenset[str], into: list[str]) -> None:
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
        target = _target(text)
        why = "" if target in known else f"the target {target!r} is declared nowhere in the file"
        result.add(rule, line, [text], why, into)


def _target(text: str) -> str:
    fields = text.split(",")
    kind = fields[0].upper()
    if kind == "MATCH":
        return fields[1] if len(fields) > 1 else ""
    joined = kind in ("AND", "OR", "NOT", "SUB-RULE") or kind.endswith("-REGEX")
    return fields[-1] if joined else fields[2] if len(fields) > 2 else ""


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
