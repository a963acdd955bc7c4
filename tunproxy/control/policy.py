"""The policy: what the packet path asks about each new flow, put together from configuration and plugins.

A policy never changes. A reload builds another one aside and hands its decider to the packet path; open
flows keep what they have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tunproxy.control.config.building import Parts, build_parts
from tunproxy.control.config.schema import Config, DnsConfig
from tunproxy.control.config.sets import SetCache
from tunproxy.control.config.sources import Sources
from tunproxy.control.config.tables import Document
from tunproxy.decide.deciding import RuleDecider, RulesAfterwards
from tunproxy.decide.record import RuleBook
from tunproxy.decide.ruling import NameSource, Ruling, Waiters
from tunproxy.decide.sniffers import sniffer_for
from tunproxy.decide.stage import Stage
from tunproxy.decide.trace import ProcessSource
from tunproxy.dns.build import Dns
from tunproxy.dns.contributed import Lookups
from tunproxy.dns.settings import OFF
from tunproxy.flow.ports import Decider
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.targets import Targets
from tunproxy.logs.faults import Faults
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.resolving import lookups_of
from tunproxy.plugin.stage import PluginStage
from tunproxy.rules.facts import NEEDS_NAME, Facts
from tunproxy.rules.files import parse_rules
from tunproxy.rules.model import Condition, Rule
from tunproxy.rules.policy import NO_MATCH, CompiledRules
from tunproxy.secret import Secret
from tunproxy.upstream.health import Health

HTTPS_PORT: Final = 443  # what a name is mostly wanted for
MAX_NAMES: Final = 50  # upstreams that a summary names


@dataclass(frozen=True)
class Surroundings:
    """What policies come and go in: what they share, and what rules find out facts with; None for without.

    dns makes what answers queries by the settings of a configuration, with resolvers of plugins. may_sniff:
    there are clients to hear.
    """

    health: Health | None = None
    targets: Targets | None = None
    names: NameSource | None = None
    processes: ProcessSource | None = None
    waiters: Waiters | None = None
    faults: Faults | None = None
    dns: Callable[[DnsConfig, Lookups], Dns | None] | None = None
    may_sniff: bool = False


@dataclass(frozen=True)
class Policy:
    """What decides, and what it is made of: stage is None where no plugin wants to decide.

    dns is what answers queries, None where port 53 is left alone; wants_fake tells which names get fake
    addresses, None for all. generation counts the policies of a
    worker from 1. ruling is what the rules say, for whoever counts.
    """

    decider: Decider
    plugins: Plugins
    stage: PluginStage | None
    parts: Parts
    source: str = ""
    generation: int = 1
    dns: Dns | None = None
    wants_fake: Callable[[str], bool] | None = None
    ruling: Ruling | None = None

    def summary(self) -> dict[str, object]:
        """Return what it consists of, in numbers."""
        parts = self.parts
        return {
            "source": self.source,
            "generation": self.generation,
            "default": parts.default,
            "rules": len(parts.rules),
            "rules_off": len(self.ruling.hits.switched_off()) if self.ruling is not None else 0,
            "rule_sets": len(parts.rule_sets),
            "skipped_entries": sum(parts.skipped.values()),
            "upstreams": sorted(parts.upstreams)[:MAX_NAMES],
        }


class RuleNames:
    """Puts rules into words, for logs and verdicts: the rule's text and its line. book has them all.

    Lives as long as there are flows that these rules decided.
    """

    def __init__(self, parts: Parts) -> None:
        self.book: Final = RuleBook(parts.rules, parts.sub_rules, parts.builder)
        lists = parts.sub_rules.values()
        self._rules: Final[Sequence[Rule]] = [*parts.rules, *(rule for rules in lists for rule in rules)]

    def text(self, number: int) -> str:
        """Return the rule as it was written."""
        return self._rules[number].text

    def rule(self, number: int) -> Rule:
        """Return the rule of a number."""
        return self._rules[number]

    def why(self, number: int) -> str:
        """Return the words."""
        rule = self._rules[number]
        return f"rule {rule.text} (line {rule.position.line})"


def built_in_sources(default: str = "", upstream: str = "") -> Sources:
    """Return what stands where there is no file: everything direct, or through the upstream of a URL."""
    config = Config(default=default) if default else Config()
    return Sources(config, Document("", ""), upstream=Secret(upstream))


def load_plugins(sources: Sources) -> Plugins:
    """Return the plugins that sources allow, loaded; raises ConfigError."""
    plugins = Plugins(sources.config.plugins)
    plugins.load_all(files=sources.plugin_files)
    return plugins


def build_policy(
    sources: Sources,
    plugins: Plugins,
    *,
    cache: SetCache | None = None,
    around: Surroundings | None = None,
    generation: int = 1,
) -> Policy:
    """Return the policy of these sources and plugins; raises ConfigError. Changes nothing else."""
    around = around or Surroundings()
    parts = build_parts(sources, plugins, cache=cache, health=around.health, targets=around.targets)
    dns = None
    if around.dns is not None and wants_names(sources, parts.compiled):
        dns = around.dns(sources.config.dns, lookups_of(plugins))
    ruling = Ruling(
        parts.compiled,
        parts.ways,
        parts.default,
        RuleNames(parts),
        names=around.names,
        processes=around.processes,
        waiters=around.waiters,
        faults=around.faults,
        wants_names=dns is not None,
        generation=generation,
    )
    hooks = plugins.hooks("decide_flow")
    stage = None
    if hooks:
        afterwards = RulesAfterwards(ruling)
        stage = PluginStage(hooks, parts.upstreams, plugins.ledger, rest=afterwards, targets=around.targets)
    stages: list[Stage] = [dns.stage] if dns is not None else []
    if stage is not None:
        stages.append(stage)
    always = ruling.constant()
    decider: Decider
    if not stages and always is not None:
        decider = StaticDecider(always)
    else:
        decider = RuleDecider(stages, ruling, sniffer_for(parts.compiled) if around.may_sniff else None)
    wants_fake = fake_for(sources.config.dns.fake_ip_targets, parts)
    return Policy(decider, plugins, stage, parts, sources.name, generation, dns, wants_fake, ruling)


def fake_for(targets: Sequence[str], parts: Parts) -> Callable[[str], bool] | None:
    """Return what tells whether the rules send a name to one of targets; None where these are not named.

    A name that only its address decides about gets its real one.
    """
    if not targets:
        return None
    wanted = frozenset(targets)
    rules = parts.compiled

    def wants(host: str) -> bool:
        facts = Facts("tcp", b"", 0, b"", HTTPS_PORT)
        facts.host = host
        found = rules.deciding(facts)
        if found < 0:
            return found == NO_MATCH and parts.default in wanted
        return rules.targets[facts.decided] in wanted

    return wants


def may_answer_names(sources: Sources) -> bool:
    """Tell whether queries may be answered by us, before the rules are compiled."""
    if sources.config.dns.mode == OFF:
        return False
    if sources.document.name or not sources.rules:
        return bool(sources.document.name)
    found = parse_rules(sources.files[sources.rules])
    return bool(found.errors) or any(_may_need_name(rule.condition) for rule in found.rules)


def _may_need_name(condition: Condition) -> bool:
    return (
        condition.kind.startswith("DOMAIN")
        or condition.kind in ("GEOSITE", "RULE-SET", "SUB-RULE")
        or any(map(_may_need_name, condition.children))
    )


def wants_names(sources: Sources, rules: CompiledRules) -> bool:
    """Tell whether queries are answered by us: where there is a configuration, or a rule needs a name.

    Who has written nothing has asked for nothing.
    """
    return bool(sources.document.name) or bool(rules.what_is_needed() & NEEDS_NAME)
