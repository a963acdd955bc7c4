"""Rule files by themselves, or as parts of a configuration: read, checked against it, and tested.

A configuration, a file that ends in .toml, stands for its own rules.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tunproxy.control.config.building import build_parts, targets_of, whose_instead
from tunproxy.control.config.problems import ConfigProblems, of_rule
from tunproxy.control.config.schema import DIRECT
from tunproxy.control.config.sources import read_sources
from tunproxy.control.expectations import Outcome, check_expectations, find_expectations
from tunproxy.control.policy import load_plugins
from tunproxy.control.settings import PolicyOptions
from tunproxy.errors import ConfigError
from tunproxy.rules.build import Builder
from tunproxy.rules.compile import compile_rules, needed_sets
from tunproxy.rules.files import parse_rules
from tunproxy.rules.kinds import CustomKinds
from tunproxy.rules.model import Rule, RuleError, RuleSetContent
from tunproxy.rules.policy import CompiledRules
from tunproxy.rulesets.files import read_octets
from tunproxy.upstream.base import Upstream

CLASH_DEFAULT = "DIRECT"


@dataclass(frozen=True)
class Checked:
    """A rule file without errors, and what it may refer to.

    Without a configuration every target is taken as known and able to carry all flows, and there are no rule
    sets; set_names then has those that the rules ask for.
    """

    lines: Sequence[str]
    rules: Sequence[Rule]
    sub_rules: Mapping[str, Sequence[Rule]]
    targets: Sequence[str]
    set_names: Sequence[str]
    rule_sets: Mapping[str, RuleSetContent]
    default: str = CLASH_DEFAULT
    custom: CustomKinds = field(default_factory=dict)
    ways: Mapping[str, Upstream] = field(default_factory=dict)

    def compiled(self) -> CompiledRules:
        """Return the rules ready to be asked; raises RuleErrors for rule sets that are not there."""
        builder = Builder(self.rule_sets, self.custom)
        return compile_rules(self.rules, self.rule_sets, self.targets, self.sub_rules, builder=builder)


def read_checked(path: str, config: str = "") -> Checked:
    """Return what the file at path holds; raises ConfigError with all that is wrong.

    config is the path of a configuration whose upstreams, groups, rule sets and plugins are meant. Without
    one, types of rules that plugins contribute are unknown.
    """
    if is_configuration(path):
        if config:
            raise ConfigError(
                f"cannot check {path} by {config}: it is a configuration itself (leave out --config)"
            )
        return _checked_by(PolicyOptions(config=path))
    if config:
        return _checked_by(PolicyOptions(config=config, rules=path))
    data = octets_of(path)
    file = parse_rules(data, path)
    if file.errors:
        whose = whose_instead(file, data)
        if whose:
            raise ConfigError(
                f"cannot use {path}: it looks like a configuration of {whose} (see tunproxy convert)"
            )
        raise ConfigProblems((of_rule(error, file.lines) for error in file.errors), path)
    lists: dict[str, Sequence[Rule]] = {
        rule.target: () for rule in file.rules if rule.condition.kind == "SUB-RULE"
    }
    targets = sorted({rule.target for rule in file.rules})
    return Checked(file.lines, file.rules, lists, targets, sorted(needed_sets(file.rules)), {})


def is_configuration(path: str) -> bool:
    """Return whether path is that of a tunproxy.toml, by its name, and not of a file of rules."""
    return path.lower().endswith(".toml")


def octets_of(path: str) -> bytes:
    """Return what a file holds; raises ConfigError."""
    try:
        return read_octets(path)
    except RuleError as error:
        reason = error.message.removeprefix("cannot read the file: ")
        raise ConfigError(f"cannot read {path}: {reason[:1].lower()}{reason[1:]}") from error


def _checked_by(options: PolicyOptions) -> Checked:
    sources = read_sources(options, keeps_good=True)
    parts = build_parts(sources, load_plugins(sources))
    if sources.rules:
        lines = sources.files[sources.rules].decode(errors="replace").splitlines()
    else:
        lines = sources.document.lines
    return Checked(
        lines,
        parts.rules,
        parts.sub_rules,
        targets_of(parts),
        sorted({*parts.rule_sets, *sources.config.rule_sets}),
        parts.rule_sets,
        CLASH_DEFAULT if parts.default == DIRECT else parts.default,
        parts.custom,
        parts.ways,
    )


def check_file(path: str, config: str = "") -> list[Outcome]:
    """Return what becomes of the expectations in a rule file; raises ConfigError for a broken file."""
    checked = read_checked(path, config)
    expectations, errors = find_expectations(checked.lines, path)
    if errors:
        raise ConfigProblems((of_rule(error, checked.lines) for error in errors), path)
    return check_expectations(
        expectations,
        checked.rules,
        checked.compiled(),
        checked.rule_sets,
        checked.default,
        checked.sub_rules,
        checked.custom,
        checked.ways,
    )
