"""Rule files by themselves, or as parts of a configuration: read, checked against it, and tested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tunproxy.control.config.building import build_parts, targets_of
from tunproxy.control.config.problems import ConfigProblems, of_rule
from tunproxy.control.config.schema import DIRECT
from tunproxy.control.config.sources import read_sources
from tunproxy.control.expectations import Outcome, check_expectations, find_expectations
from tunproxy.control.policy import load_plugins
from tunproxy.control.settings import PolicyOptions
from tunproxy.rules.build import Builder
from tunproxy.rules.compile import compile_rules, needed_sets
from tunproxy.rules.files import parse_rules
from tunproxy.rules.kinds import CustomKinds
from tunproxy.rules.model import Rule, RuleSetContent
from tunproxy.rules.policy import CompiledRules
from tunproxy.rulesets.files import read_octets

CLASH_DEFAULT = "DIRECT"


@dataclass(frozen=True)
class Checked:
    """A rule file without errors, and what it may refer to.

    Without a configuration every target is taken as known, and there are no rule sets; set_names then
    has those that the rules ask for.
    """

    lines: Sequence[str]
    rules: Sequence[Rule]
    sub_rules: Mapping[str, Sequence[Rule]]
    targets: Sequence[str]
    set_names: Sequence[str]
    rule_sets: Mapping[str, RuleSetContent]
    default: str = CLASH_DEFAULT
    custom: CustomKinds = field(default_factory=dict)

    def compiled(self) -> CompiledRules:
        """Return the rules ready to be asked; raises RuleErrors for rule sets that are not there."""
        builder = Builder(self.rule_sets, self.custom)
        return compile_rules(self.rules, self.rule_sets, self.targets, self.sub_rules, builder=builder)


def read_checked(path: str, config: str = "") -> Checked:
    """Return what the file at path holds; raises ConfigError with all that is wrong.

    config is the path of a configuration whose upstreams, groups, rule sets and plugins are meant. Without
    one, types of rules that plugins contribute are unknown.
    """
    if config:
        sources = read_sources(PolicyOptions(config=config, rules=path))
        parts = build_parts(sources, load_plugins(sources))
        lines = sources.files[sources.rules].decode(errors="replace").splitlines()
        names = sorted({*parts.rule_sets, *sources.config.rule_sets})
        default = CLASH_DEFAULT if parts.default == DIRECT else parts.default
        return Checked(
            lines,
            parts.rules,
            parts.sub_rules,
            targets_of(parts),
            names,
            parts.rule_sets,
            default,
            parts.custom,
        )
    file = parse_rules(read_octets(path), path)
    if file.errors:
        raise ConfigProblems(of_rule(error, file.lines) for error in file.errors)
    lists: dict[str, Sequence[Rule]] = {
        rule.target: () for rule in file.rules if rule.condition.kind == "SUB-RULE"
    }
    targets = sorted({rule.target for rule in file.rules})
    return Checked(file.lines, file.rules, lists, targets, sorted(needed_sets(file.rules)), {})


def check_file(path: str, config: str = "") -> list[Outcome]:
    """Return what becomes of the expectations in a rule file; raises ConfigError for a broken file."""
    checked = read_checked(path, config)
    expectations, errors = find_expectations(checked.lines, path)
    if errors:
        raise ConfigProblems(of_rule(error, checked.lines) for error in errors)
    return check_expectations(
        expectations,
        checked.rules,
        checked.compiled(),
        checked.rule_sets,
        checked.default,
        checked.sub_rules,
        checked.custom,
    )
