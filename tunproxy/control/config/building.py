"""Sources and plugins become what a policy consists of: upstreams, groups, rules, rule sets, a default.

Nothing that is there already is changed, so that whoever builds while flows are decided disturbs nobody.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Final  # Any: options of a type that is only known when it runs

from tunproxy.control.config.codecs import KEY as CODEC
from tunproxy.control.config.codecs import ConfiguredCodecs
from tunproxy.control.config.plugin_names import unknown_plugins
from tunproxy.control.config.positions import Path
from tunproxy.control.config.problems import ConfigProblems, Problem, did_you_mean, of_rule
from tunproxy.control.config.schema import DIRECT, Config
from tunproxy.control.config.sets import SetCache, Sets
from tunproxy.control.config.sources import Sources, default_of
from tunproxy.control.config.standing import DnsAside, refusing_upstreams
from tunproxy.control.config.tables import MISSING, Checker, Field, fields_of
from tunproxy.errors import ConfigError, OptionError
from tunproxy.flow.targets import Targets
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.rule_kinds import custom_kinds
from tunproxy.rules.build import Builder
from tunproxy.rules.compile import BUILT_IN, PASS, compile_rules, needed_sets, unknown_references
from tunproxy.rules.files import Notice, RuleFile, oddities, parse_rules
from tunproxy.rules.kinds import CustomKinds
from tunproxy.rules.model import Position, Rule, RuleError, RuleSetContent
from tunproxy.rules.parse import parse_rule
from tunproxy.rules.policy import CompiledRules
from tunproxy.rulesets.behaviors import CLASSICAL, DOMAIN, IPCIDR
from tunproxy.rulesets.notes import how_many
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.datagrams import DatagramUpstream
from tunproxy.upstream.group import CLASH_NAMES, Group, GroupError, bind_groups, circles
from tunproxy.upstream.health import Health, Watch
from tunproxy.upstream.knowledge import UDP
from tunproxy.upstream.types import URL_NAME, UpstreamType, build_from_url

RESERVED: Final = frozenset({*BUILT_IN, "reject", "drop"})


@dataclass(frozen=True)
class Parts:
    """What a policy consists of.

    ways has every name that rules may have as their target, and default; upstreams those that are there to
    be shown and tested. custom are the types of rules that plugins contribute. skipped counts the entries
    of rule sets that could not be read, and first_skipped says of each set what is wrong with the first, ""
    where nothing is.
    """

    upstreams: Mapping[str, Upstream]
    ways: Mapping[str, Upstream]
    default: str
    rules: Sequence[Rule]
    sub_rules: Mapping[str, Sequence[Rule]]
    rule_sets: Mapping[str, RuleSetContent]
    compiled: CompiledRules
    builder: Builder = field(repr=False)  # that compiled them, for whoever explains them
    watches: Sequence[Watch] = ()
    custom: CustomKinds = field(default_factory=dict, repr=False)
    notices: Sequence[Notice] = field(default=(), repr=False)
    skipped: Mapping[str, int] = field(default_factory=dict)
    first_skipped: Mapping[str, str] = field(default_factory=dict)

    def explored(self) -> Iterator[Upstream]:
        """Yield the upstreams of which nobody knows whether they carry UDP, where that matters.

        So it does where rules or groups lead to one: even the first datagram goes on to the next rule, or
        through another member. Where there is nothing else, as for the default, that datagram finds out.
        """
        lists = (self.rules, *self.sub_rules.values())
        wanted = {rule.target for rules in lists for rule in rules}
        for group in self.upstreams.values():
            if isinstance(group, Group):
                wanted.update(group.member_names)
        for name, upstream in self.upstreams.items():
            if name in wanted and isinstance(upstream, DatagramUpstream) and not upstream.is_per_target:
                if upstream.knowledge.fact(UDP) is None:
                    yield upstream

    def unread(self) -> Iterator[str]:
        """Yield what is to be said of each rule set that could not be read as a whole."""
        for name, count in self.skipped.items():
            what = "1 entry" if count == 1 else f"{count:,} entries"
            first = self.first_skipped.get(name, "")
            yield f"rule set {name}: {what} cannot be read" + (f", the first at {first}" if first else "")


def build_parts(
    sources: Sources,
    plugins: Plugins,
    *,
    cache: SetCache | None = None,
    health: Health | None = None,
    targets: Targets | None = None,
) -> Parts:
    """Return the parts of a policy; raises ConfigError, as ConfigProblems with all that is wrong at once.

    health is what groups test their members with; targets says what may be dialled.
    """
    return _Builder(sources, plugins, cache or SetCache(), health or Health(), targets or Targets({})).build()


class _Builder(Checker):
    """Builds one policy."""

    def __init__(
        self, sources: Sources, plugins: Plugins, cache: SetCache, health: Health, targets: Targets
    ) -> None:
        super().__init__(sources.document, sources.files, root=Config)
        self.problems.extend(sources.problems)
        self._sources: Final = sources
        self._config: Final = sources.config
        self._plugins: Final = plugins
        self._cache: Final = cache
        self._health: Final = health
        self._targets: Final = targets
        self._types: Mapping[str, UpstreamType] = {}
        self._notices: Final[list[Notice]] = []
        self._custom: Final = custom_kinds(plugins.rule_kinds(), plugins.ledger)

    def elsewhere(self, fields: Sequence[Field], key: str, path: Path) -> str:
        hint = super().elsewhere(fields, key, path)
        if hint or path[:1] != ("upstreams",) or len(path) != 2:
            return hint
        for name, kind in self._types.items():
            if not kind.is_group and key in {each.written for each in fields_of(kind.options)}:
                return f" (type {name!r} has it)"
        return ""

    def build(self) -> Parts:
        self._notices.extend(unknown_plugins(self.document, self._config.plugins, self._plugins))
        upstreams = {**refusing_upstreams(), **self._plugins.upstreams()}
        if DIRECT not in upstreams:
            self._complain_of_missing(DIRECT)
        types = self._types = self._plugins.upstream_types()
        codecs = ConfiguredCodecs(self, self._plugins, self._targets)
        upstreams |= self._configured(types, codecs)
        watches = self._bind(upstreams)
        ways = {**upstreams, **{name: upstreams[meant] for name, meant in CLASH_NAMES.items()}}
        if self._sources.upstream:
            inner = build_from_url(self._sources.upstream.reveal(), types, files=self._sources.files)
            where = Position("--upstream", 1, 1)
            self._notices.extend(Notice(where, f"upstream {inner.name!r}: {each}") for each in inner.cautions)
            upstreams[URL_NAME] = inner
            ways[URL_NAME] = DnsAside(inner, upstreams[DIRECT])
        known = {*ways, *self._written_names()}
        default = default_of(self._sources, URL_NAME)
        if default in ways:
            ways["GLOBAL"] = ways[default]
        self._find(default, known, ("default",))
        for at, name in enumerate(self._config.dns.fake_ip_targets):
            self._find(name, known, ("dns", "fake-ip-targets", at))
        lines, rules, lists = self._all_rules()
        rule_sets = self._rule_sets(rules, lists)
        written: dict[str, list[Rule]] = {name: [] for name in self._named("sub-rules")}
        for error in unknown_references(rules, rule_sets, known, written | lists):
            if not error.message.startswith("unknown rule set") or self._is_unknown(error):
                self._complain_of(error, lines)
        self._stop_at_problems()
        builder = Builder(rule_sets, self._custom)
        compiled = compile_rules(rules, rule_sets, ways, lists, builder=builder)
        self._cache.keep()
        return Parts(
            upstreams=upstreams,
            ways=ways,
            default=default,
            rules=rules,
            sub_rules=lists,
            rule_sets=rule_sets,
            compiled=compiled,
            builder=builder,
            watches=watches,
            custom=self._custom,
            notices=self._notices,
            skipped={name: how_many(each) for name, each in rule_sets.items() if each.skipped},
            first_skipped={name: self._first_skipped(name, each) for name, each in rule_sets.items()},
        )

    def _named(self, section: str) -> list[str]:
        """Return the names of the tables of a section as they are written, good or not."""
        keys = self.document.places.keys
        return [str(path[1]) for path in keys if len(path) == 2 and path[0] == section]

    def _written_names(self) -> set[str]:
        """Return what rules may mean: what is wrong with a table has been told, and is not that it is none.

        So with a table whose section is misspelt.
        """
        sections = {str(path[0]) for path in self.document.places.keys}
        known = {field.written for field in fields_of(Config)} - {"upstreams", "groups"}
        return {name for section in sections - known for name in self._named(section)}

    def _find(self, name: str, known: Set[str], path: Path) -> None:
        """Complain of a name that is none of an upstream or a group."""
        if name not in known:
            self.complain(path, f"there is no upstream or group {name!r}{did_you_mean(name, known)}")

    def _complain_of_missing(self, name: str) -> None:
        """Raise ConfigError because the plugin of that name contributes nothing."""
        settings = self._config.plugins
        if name in settings.deny:
            self.complain(("plugins", "deny"), f"tunproxy needs plugin {name!r} (take it out of the list)")
        elif settings.allow is not None and name not in settings.allow:
            self.complain(("plugins", "allow"), f"tunproxy needs plugin {name!r} (add it to the list)")
        elif name in settings.plugins and not settings.plugins[name].enabled:
            self.complain(("plugins", name, "enabled"), f"tunproxy needs plugin {name!r} (leave it enabled)")
        self._stop_at_problems()
        raise ConfigError(f"no upstream {name!r}: {_why_missing(self._plugins, name)}")

    def _stop_at_problems(self) -> None:
        if self.problems:
            raise ConfigProblems(self.problems)

    # upstreams and groups

    def _configured(self, types: Mapping[str, UpstreamType], codecs: ConfiguredCodecs) -> dict[str, Upstream]:
        found: dict[str, Upstream] = {}
        tables: list[tuple[str, str, str, Mapping[str, object], Mapping[str, object]]] = [
            ("upstreams", name, each.type, each.options, {}) for name, each in self._config.upstreams.items()
        ]
        tables += [
            ("groups", name, each.type, each.options, {"members": each.members})
            for name, each in self._config.groups.items()
        ]
        for section, name, type_name, options, more in tables:
            path = (section, name)
            if name in RESERVED:
                self.complain(path, f"{name!r} has a meaning of its own (choose another name)", is_key=True)
                continue
            is_group = section == "groups"
            known = [each for each, kind in types.items() if kind.is_group == is_group]
            if type_name not in known:
                what = "group" if is_group else "upstream"
                hint = did_you_mean(type_name, known)
                self.complain((*path, "type"), f"there is no type of {what} {type_name!r}{hint}")
                continue
            is_usable = path not in self._sources.unusable
            wanted, rest = None, options
            if not is_group and is_usable:
                wanted, rest = codecs.wanted(types[type_name], options, path)
            elif not is_usable:
                rest = {key: value for key, value in options.items() if key != CODEC}
            made = self._made(types[type_name], name, {**rest, **more}, path)
            if made is not None:
                where = self.document.position_of(path, is_key=True)
                self._notices.extend(Notice(where, f"upstream {name!r}: {each}") for each in made.cautions)
                found[name] = made if wanted is None else codecs.around(made, wanted)
        return found

    def _made(
        self, kind: UpstreamType, name: str, table: Mapping[str, object], path: Path
    ) -> Upstream | None:
        options: Any = self.make(kind.options, table, path)
        if options is MISSING or path in self._sources.unusable:
            return None
        try:
            return kind.made(name, options)
        except ConfigError as error:
            message = str(error)
            for head in (f"upstream {name!r}: ", f"group {name!r}: ", f"group {name!r} "):
                message = message.removeprefix(head)
            if isinstance(error, OptionError):
                self.complain_of(error, path, message)
            else:
                self.complain(path, message, is_key=True)
            return None

    def _bind(self, upstreams: Mapping[str, Upstream]) -> list[Watch]:
        """Give groups their members; those that cannot have theirs have been told of then."""
        names = {*upstreams, *CLASH_NAMES, *self._written_names()}
        members = {name: each.members for name, each in self._config.groups.items()}
        whole = dict(upstreams)
        for name, theirs in members.items():
            for at, member in enumerate(theirs):
                self._find(member, names, ("groups", name, "members", at))
        for error in circles(members):
            self.complain_of(error, ("groups", error.group))
            whole.pop(error.group, None)
        while True:
            self._leave_out_what_lacks_members(whole)
            try:
                return bind_groups(whole, self._health)
            except GroupError as error:
                table = ("groups", error.group)
                self.complain_of(error, table, str(error).removeprefix(f"group {error.group!r}: "))
                del whole[error.group]

    def _leave_out_what_lacks_members(self, upstreams: dict[str, Upstream]) -> None:
        """Take out groups of which a member is not there, or was taken out."""
        lacking = [""]
        while lacking:
            lacking = [
                name
                for name, each in upstreams.items()
                if isinstance(each, Group)
                and not all(CLASH_NAMES.get(member, member) in upstreams for member in each.member_names)
            ]
            for name in lacking:
                del upstreams[name]

    # rules

    def _all_rules(self) -> tuple[Sequence[str], list[Rule], dict[str, list[Rule]]]:
        """Return the lines of the file that the rules are in, the rules, and the lists of sub-rules."""
        lines, rules = self._rules()
        lists = self._config.sub_rules.items()
        return lines, rules, {name: self._listed(("sub-rules", name), texts) for name, texts in lists}

    def _rules(self) -> tuple[Sequence[str], list[Rule]]:
        """Return the lines of the file that the rules are in, and the rules."""
        path = self._sources.rules
        if not path:
            return self.document.lines, self._listed(("rules",), self._config.rules)
        data = self._sources.files[path]
        file = parse_rules(data, path, self._custom)
        whose = whose_instead(file, data)
        if whose:
            message = f"no file of rules: it looks like a configuration of {whose} (see tunproxy convert)"
            self.problems.append(Problem(Position(path, 1, 1), message))
            return file.lines, []
        self.problems.extend(of_rule(error, file.lines) for error in file.errors)
        self._notices.extend(file.warnings)
        return file.lines, file.rules

    def _listed(self, path: Path, texts: Sequence[str]) -> list[Rule]:
        """Return the rules of a list in the configuration itself."""
        found = []
        for at, text in enumerate(texts):
            here = (*path, at)
            spot = self.document.places.value(here)
            stripped = text.strip()
            lead = len(text) - len(text.lstrip()) if spot.exact else 0
            position = Position(self.document.name, spot.line, spot.column + lead)
            try:
                rule = parse_rule(stripped, position, self._custom)
                found.append(rule)
                self._notices.extend(Notice(position, why) for why in oddities(rule.condition))
            except RuleError as error:
                self._complain_of(error, self.document.lines, exact=spot.exact, path=here)
        return found

    def _complain_of(
        self, error: RuleError, lines: Sequence[str], *, exact: bool = True, path: Path = ()
    ) -> None:
        problem = of_rule(error, lines)
        if not exact:  # escapes: columns in the text are not those in the file
            problem = self.document.problem(path, problem.message)
        elif error.position.file == self.document.name:
            problem = self.document.at(error.position, problem.message)
        self.problems.append(problem)

    def _rule_sets(
        self, rules: Sequence[Rule], lists: Mapping[str, Sequence[Rule]]
    ) -> dict[str, RuleSetContent]:
        """Return the sets that rules name, as far as they are there and can be read."""
        missing = self._sources.missing
        there = {name: each for name, each in self._config.rule_sets.items() if name not in missing}
        sets = Sets(there, self._sources.files, self._cache)
        lacking = set(self._named("rule-sets")) - set(there)
        found: dict[str, RuleSetContent] = {}
        self._missing: dict[str, str] = {}
        for name in sorted(needed_sets(rules, lists)):
            try:
                content = sets.load(name)
            except RuleError as error:
                self.problems.append(Problem(error.position, error.message))
                found[name] = RuleSetContent()
                continue
            if content is not None:
                found[name] = content
            elif name in lacking or (lacking and sets.why_none(name)):  # it may be in one that is lacking
                found[name] = RuleSetContent()
            else:
                self._missing[name] = sets.why_none(name)
        for rule in [*rules, *(each for part in lists.values() for each in part)]:
            for name in needed_sets([rule]):
                if self._missing.get(name):
                    message = f"{rule.text.partition(',')[0]}: {self._missing[name]}"
                    self._complain_of(RuleError(rule.position, message), self._lines_of(rule))
        return found

    def _first_skipped(self, name: str, content: RuleSetContent) -> str:
        if not content.skipped:
            return ""
        position, why = content.skipped[0]
        config = self._config.rule_sets.get(name)
        is_nothing_else = content == RuleSetContent(skipped=content.skipped)
        if is_nothing_else and config is not None and config.behavior == CLASSICAL:
            why += f' (behavior = "{DOMAIN}" or "{IPCIDR}"?)'
        return f"{position}: {why}"

    def _lines_of(self, rule: Rule) -> Sequence[str]:
        path = self._sources.rules
        if path and rule.position.file == path:
            return self._sources.files[path].decode(errors="replace").split("\n")
        return self.document.lines

    def _is_unknown(self, error: RuleError) -> bool:
        """Return whether a set is unknown of which nothing better has been said."""
        return not any(
            f"unknown rule set {name!r}" in error.message and why for name, why in self._missing.items()
        )


def whose_instead(file: RuleFile, data: bytes) -> str:
    """Return which other program's configuration a file holds in place of rules; "" where it does not."""
    if len(file.errors) <= len(file.rules):
        return ""
    from tunproxy.rulesets.convert.detect import detect  # 16 ms, that only this needs

    return detect(data)


def _why_missing(plugins: Plugins, name: str) -> str:
    if name in plugins.problems:
        return f"plugin {name} {plugins.problems[name]}"
    return f"no plugin contributes it (installed: {', '.join(plugins.names) or 'none'}; reinstall tunproxy)"


def targets_of(parts: Parts) -> list[str]:
    """Return every name that rules may have as their target."""
    return [*parts.ways, PASS]
