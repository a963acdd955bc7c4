"""Configurations become upstreams, groups, rules and rule sets; what is wrong is told at its place."""

import re
import ssl
import tomllib
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.unit.control.policies import built, plugins_for, sources_of, written
from tests.unit.upstream.certificates import make
from tunproxy.control.config.building import Parts, build_parts, targets_of
from tunproxy.control.config.problems import ConfigProblems
from tunproxy.control.config.schema import Config
from tunproxy.control.config.sets import SetCache
from tunproxy.errors import ConfigError
from tunproxy.plugin.discovery import find_file
from tunproxy.plugin.manager import Plugins
from tunproxy.rules.build import Builder
from tunproxy.rules.explain import explain
from tunproxy.rules.facts import NEEDS_NAME, Facts
from tunproxy.rules.lint import lint
from tunproxy.secret import Secret
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.tls_client import TlsClient

ROOT = Path(__file__).resolve().parents[4]
WORK = '[upstreams.work]\ntype = "socks5"\nserver = "192.0.2.1"\n'
ODD = """from dataclasses import dataclass

from tunproxy.plugin.api import CodecType, GroupOptions, UpstreamType, hookimpl

def fails(*given):
    return 1 / 0

@dataclass
class Options:
    pass

@hookimpl
def contribute_upstream_types():
    return [
        UpstreamType("fails", Options, fails),
        UpstreamType("five", Options, lambda name, options: 5),
        UpstreamType("fails-too", GroupOptions, fails, is_group=True),
    ]

@hookimpl
def contribute_codecs():
    return [CodecType("odd", Options, fails)]
"""
ADS = '[rule-sets.ads]\npath = "ads.txt"\nformat = "text"\nbehavior = "domain"\n'


def problems_of(folder: Path, text: str, **files: str) -> list[str]:
    path = written(folder, text, **files)
    with pytest.raises(ConfigProblems) as caught:
        built(path)
    problems = caught.value.problems
    return [str(each).partition("\n")[0].replace(f"{folder}/", "") for each in problems]


def test_configuration_with_everything(tmp_path: Path) -> None:
    text = (
        'rules = ["RULE-SET,ads,REJECT", "SUB-RULE,(NETWORK,udp),sub", "DOMAIN,a,auto"]\ndefault = "work"\n'
        + '[sub-rules]\nsub = ["MATCH,DIRECT"]\n' + WORK
        + '[groups.auto]\ntype = "fallback"\nmembers = ["work", "DIRECT"]\n' + ADS
    )  # fmt: skip
    parts = built(written(tmp_path, text, ads_txt="+.ads.example\n+.other.example\nbad line,\n"))
    assert set(parts.upstreams) == {"direct", "reject", "drop", "work", "auto"}
    assert {"DIRECT", "REJECT", "REJECT-DROP", "GLOBAL", "PASS", "work"} <= set(targets_of(parts))
    assert parts.ways["GLOBAL"] is parts.ways["work"]
    assert parts.default == "work"
    assert [rule.target for rule in parts.rules] == ["REJECT", "sub", "auto"]
    assert parts.skipped == {"ads": 1}
    assert len(parts.watches) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[plugins]\nallow = ["log"]\n', "2:9: tunproxy needs plugin 'direct' (add it to the list)"),
        ('[plugins]\ndeny = ["direct"]\n', "2:8: tunproxy needs plugin 'direct' (take it out of the list)"),
        ("[plugins.direct]\nenabled = false\n", "2:11: tunproxy needs plugin 'direct' (leave it enabled)"),
    ],
)
def test_configuration_without_the_direct_way_is_told_where_it_says_so(
    tmp_path: Path, text: str, problem: str
) -> None:
    sources = sources_of(written(tmp_path, text))
    with pytest.raises(ConfigProblems, match=re.escape(problem)):
        build_parts(sources, Plugins())


def test_problems_with_upstreams(tmp_path: Path) -> None:
    text = (
        WORK
        + 'prt = 3\n[upstreams.b]\ntype = "sock5"\n[upstreams.DIRECT]\ntype = "http"\n'
        + '[upstreams.c]\ntype="http"\n'
    )
    assert problems_of(tmp_path, text) == [
        "tunproxy.toml:4:1: unknown key 'prt' (did you mean 'port'?)",
        "tunproxy.toml:6:9: there is no type of upstream 'sock5' (did you mean 'socks5'?)",
        "tunproxy.toml:7:12: 'DIRECT' has a meaning of its own (choose another name)",
        "tunproxy.toml:9:12: 'server' is missing",
    ]


def test_problem_with_an_upstream_hides_none_with_a_rule(tmp_path: Path) -> None:
    """What rules name is there, even if it cannot be made."""
    rules = 'rules = ["DOMIAN,a,work", "DOMAIN,a,work"]\n'
    rest = '[sub-rules]\nsub = ["NETWORK,sctp,work"]\n[upstreams.work]\ntype = "sock5"\n'
    assert problems_of(tmp_path, rules + rest) == [
        "tunproxy.toml:1:11: unknown rule type 'DOMIAN' (did you mean 'DOMAIN'?)",
        "tunproxy.toml:3:17: unknown network 'sctp' (tcp, udp, icmp)",
        "tunproxy.toml:5:9: there is no type of upstream 'sock5' (did you mean 'socks5'?)",
    ]
    group = '[groups.g]\ntype = "select"\nmembers = ["gone"]\n'
    assert problems_of(tmp_path, rules + group) == [
        "tunproxy.toml:1:11: unknown rule type 'DOMIAN' (did you mean 'DOMAIN'?)",
        "tunproxy.toml:1:37: unknown target 'work' "
        "(it needs a table in [upstreams] or [groups], or write DIRECT or REJECT)",
        "tunproxy.toml:4:13: there is no upstream or group 'gone' "
        "(there are: COMPATIBLE, DIRECT, REJECT, REJECT-DROP, direct, drop, g, reject)",
    ]


def test_all_that_is_wrong_is_told_at_once_and_in_order(tmp_path: Path) -> None:
    """Nothing of it hides anything else, and nothing that follows from something else is told."""
    text = """
deflaut = "work"
rules = [
  "RULE-SET,ads,REJECT", "RULE-SET,typo,REJECT", "GEOIP,cn,DIRECT", "DOMIAN,a,work", "DOMAIN,a,gone",
  "DOMAIN,a,work", "DOMAIN,b,locked", "DOMAIN,c,untyped", "SUB-RULE,(NETWORK,udp),odd", "MATCH,misspelt",
]
[sub-rules]
odd = "DOMAIN,a,DIRECT"
[rule-sets.ads]
path = "ads.txt"
[rule-sets.typo]
path = "typo.txt"
behavior = "domian"
[upstreams.work]
type = "shadowsocks"
server = "192.0.2.1"
method = "rc4"
[upstreams.locked]
type = "http"
server = "192.0.2.1"
prt = 1
password = { env = "NOT_THERE" }
[upstreams.untyped]
server = "192.0.2.1"
[upstraems.misspelt]
type = "http"
[groups.g]
type = "select"
members = ["work", "gone"]
[groups.h]
type = "relay"
members = ["h", "locked"]
[dns]
mode = "fak-ip"
servers = ["x://192.0.2.1"]
"""
    places = {
        each.split(": ")[0].removeprefix("tunproxy.toml:"): each for each in problems_of(tmp_path, text)
    }
    expected = {
        "2:1": "did you mean 'default'?",
        "4:70": "unknown rule type 'DOMIAN'",
        "4:96": "unknown target 'gone'",
        "8:8": "expected a list",
        "10:9": "cannot read the file",
        "12:9": "cannot read the file",
        "13:13": "did you mean 'domain'?",
        "17:11": "no Shadowsocks method 'rc4'",
        "21:1": "did you mean 'port'?",
        "22:21": "no environment variable 'NOT_THERE'",
        "23:12": "'type' is missing",
        "25:2": "did you mean 'upstreams'?",
        "29:21": "no upstream or group 'gone'",
        "32:13": "contains itself",
        "34:9": "did you mean 'fake-ip'?",
        "35:13": "no way 'x' to it",
    }
    assert list(places) == list(expected)
    for place, words in expected.items():
        assert words in places[place]


def test_rule_that_never_matches_is_noticed_in_the_configuration_as_in_a_file(tmp_path: Path) -> None:
    text = "DOMAIN,a,DIRECT,no-resolve"
    inside = built(written(tmp_path, f'rules = [\n  "{text}",\n]\n[sub-rules]\ns = ["{text}"]\n'))
    beside = built(written(tmp_path, 'rules-file = "a.rules"\n', a_rules=text))
    places = [
        [f"{each.position.line}:{each.position.column}" for each in parts.notices]
        for parts in (inside, beside)
    ]
    assert places == [["2:4", "5:7"], ["1:1"]]
    assert len({each.message for parts in (inside, beside) for each in parts.notices}) == 1


def test_relay_that_cannot_go_through_a_member_is_told_at_that(tmp_path: Path) -> None:
    group = '[groups.%s]\ntype = "relay"\nmembers = ["work", %s]\n'
    named = '[upstreams.named]\ntype = "socks5"\nserver = "proxy.example"\n'
    old = '[upstreams.old]\ntype = "socks4"\nserver = "192.0.2.1"\n'
    text = (
        WORK
        + group % ("a", '"REJECT"')
        + group % ("b", '"old", "named"')
        + group % ("c", '"a"')
        + named
        + old
    )
    assert problems_of(tmp_path, text) == [
        "tunproxy.toml:6:21: goes through proxies, and 'reject' is none",
        "tunproxy.toml:9:28: upstream 'old' resolves no names, and 'named' is at 'proxy.example' "
        "(give that one's address)",
    ]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('type = "socks5"\npassword = "x"\n', "4:13: a password without a user"),
        ('type = "https"\npin = "x"\n', "4:1: unknown key 'pin' (it is one of tls: tls.pin = …)"),
        ('type = "ss"\nmethod = "aes-128-gcm"\n', "4:1: unknown key 'method' (type 'shadowsocks' has it)"),
        ('type = "http"\nusername = "x"\n', "4:1: unknown key 'username' (did you mean 'user'?)"),
        ('type = "SOCKS5"\n', "3:9: there is no type of upstream 'SOCKS5' (did you mean 'socks5'?)"),
        ('type = "http"\nrules = []\n', "4:1: unknown key 'rules' (it is within [upstreams.a] here: write"),
        ('type = "socks5"\nport = 0\n', "4:8: 0 is not a port (1 to 65535)"),
        ('type = "http"\ncodecs = ["zstd", "zip"]\n', "4:20: there is no codec 'zip'"),
        ('type = "http"\ncodecs = "zstd, zip"\n', "4:11: there is no codec 'zip'"),
        ('type = "http"\ntls = { alpn = ["h2", ""] }\n', "4:24: alpn: '' is no name of a protocol"),
        ('type = "http"\n[upstreams.a.tls]\npin = "x"\n', "5:8: pin: 'x' is no SHA-256"),
        ('type = "https"\ntls = false\n', "4:7: https without TLS"),
        ('type = "tls"\nport = 1\ntls.psk-identity = "me"\n', "5:21: psk-identity: there is no psk"),
        ('type = "shadowsocks"\nmethod = "rc4"\n', "4:11: there is no Shadowsocks method 'rc4'"),
        ('type = "shadowsocks"\nmethod = "aes-128-gcm"\n', "1:12: a Shadowsocks password is missing"),
        (
            'type = "shadowsocks"\npassword = "c2VjcmV0"\nmethod = "2022-blake3-aes-128-gcm"\n',
            "4:13: a password of 2022-blake3-aes-128-gcm is a key of 16 octets in base64, not 6",
        ),
        ('type = "socks5"\ncodec = { type = "zstd", level = 99 }\n', "4:34: zstd has no level 99"),
        ('type = "socks5"\ncodec = ["gzip", { type = "gzip", level = 0 }]\n', "4:43: gzip has no level 0"),
    ],
)
def test_option_that_makes_no_sense_is_told_where_it_stands(tmp_path: Path, table: str, problem: str) -> None:
    text = f'[upstreams.a]\nserver = "192.0.2.1"\n{table}'
    (found,) = problems_of(tmp_path, text)
    assert found.startswith(f"tunproxy.toml:{problem}")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ('{ type = "shadowsocks", server = "192.0.2.1", method = "rc4" }', "2:61: there is no Shadowsocks"),
        (
            '{ type = "shadowsocks", server = "192.0.2.1", method = "aes-128-gcm" }',
            "2:5: a Shadowsocks password is",
        ),
    ],
)
def test_inline_table_has_places_within_it(tmp_path: Path, table: str, problem: str) -> None:
    (found,) = problems_of(tmp_path, f"[upstreams]\na = {table}\n")
    assert found.startswith(f"tunproxy.toml:{problem}")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ('type = "select"\nselected = "b"\n', "4:13: has no member 'b' (it has: DIRECT)"),
        ('type = "url-test"\nurl = "ftp://x"\n', "4:8: cannot test with the URL 'ftp://x'"),
        ('type = "url-test"\ntolerance = -1\n', "4:13: tolerance must not be negative"),
        ('type = "fallback"\ninterval = 0\n', "4:12: interval must be 1 s at least"),
        ('type = "load-balance"\ntimeout = 0\n', "4:11: interval must be 1 s at least"),
    ],
)
def test_option_of_a_group_is_told_where_it_stands(tmp_path: Path, options: str, problem: str) -> None:
    (found,) = problems_of(tmp_path, f'[groups.g]\nmembers = ["DIRECT"]\n{options}')
    assert found.startswith(f"tunproxy.toml:{problem}")


def test_plugin_that_makes_no_upstream_is_told_at_the_table(tmp_path: Path) -> None:
    plugin = tmp_path / "odd.py"
    plugin.write_text(ODD)
    text = '[upstreams.a]\ntype = "fails"\n[upstreams.b]\ntype = "five"\n[groups.c]\ntype = "fails-too"\n'
    path = written(
        tmp_path, text + 'members = ["a"]\n[upstreams.d]\ntype = "socks5"\nserver = "a"\ncodec = "odd"\n'
    )
    sources = sources_of(path)
    plugins = plugins_for(sources)
    plugins.load(find_file(plugin))
    with pytest.raises(ConfigProblems) as caught:
        build_parts(sources, plugins)
    told = [str(each).partition("\n")[0].replace(f"{tmp_path}/", "") for each in caught.value.problems]
    why = "cannot make it: ZeroDivisionError: division by zero (odd.py:6)"
    assert told == [
        f"tunproxy.toml:1:12: the type 'fails' {why}",
        "tunproxy.toml:3:12: the type 'five' has made 5, which is no upstream",
        f"tunproxy.toml:5:9: the type 'fails-too' {why}",
        "tunproxy.toml:11:10: codec 'odd' cannot be made: ZeroDivisionError: division by zero (odd.py:6)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            'members = ["wrk"]\n',
            "tunproxy.toml:6:13: there is no upstream or group 'wrk' (did you mean 'work'?)",
        ),
        ('members = ["g"]\n', "tunproxy.toml:6:13: group 'g' contains itself: g → g"),
        ("members = []\n", "tunproxy.toml:6:11: has no members (name at least one upstream)"),
    ],
)
def test_problems_with_groups(tmp_path: Path, text: str, problem: str) -> None:
    assert problems_of(tmp_path, WORK + '[groups.g]\ntype = "select"\n' + text) == [problem]


def test_problems_with_rules_in_the_configuration(tmp_path: Path) -> None:
    text = (
        'default = "wrk"\nrules = [\n  "DOMIAN,a,work",\n  \' DOMAIN,a,wrk\',\n  "RULE-SET,adz,work",\n'
        '  "GEOIP,cn,work",\n  "DOMAIN,\\u0061,wrk",\n]\n[sub-rules]\ns = ["x"]\n' + WORK + ADS
    )
    assert problems_of(tmp_path, text, ads_txt="") == [
        "tunproxy.toml:1:12: there is no upstream or group 'wrk' (did you mean 'work'?)",
        "tunproxy.toml:3:4: unknown rule type 'DOMIAN' (did you mean 'DOMAIN'?)",
        "tunproxy.toml:4:14: unknown target 'wrk' (did you mean 'work'?)",
        "tunproxy.toml:5:13: unknown rule set 'adz' (it needs a table in [rule-sets])",
        "tunproxy.toml:6:4: GEOIP: no rule set has such lists "
        '(add [rule-sets.geoip] with path = "country.mmdb", format = "mmdb")',
        "tunproxy.toml:7:12: unknown target 'wrk' (did you mean 'work'?)",
        "tunproxy.toml:10:7: unknown rule type 'x'",
    ]


def test_problems_with_a_rule_file_are_told_with_the_file_s_name(tmp_path: Path) -> None:
    text = 'rules-file = "home.rules"\n' + WORK
    assert problems_of(tmp_path, text, home_rules="# rules\nDOMIAN,a,work\n\nDOMAIN,a,wrk\n") == [
        "home.rules:2:1: unknown rule type 'DOMIAN' (did you mean 'DOMAIN'?)",
        "home.rules:4:10: unknown target 'wrk' (did you mean 'work'?)",
    ]


@pytest.mark.parametrize(
    ("rules", "explored"),
    [
        ('rules = ["MATCH,work"]', ["work", "member"]),
        ('rules = ["SUB-RULE,(NETWORK,udp),s"]\n[sub-rules]\ns = ["MATCH,work"]', ["work", "member"]),
        ('rules = ["MATCH,sure", "MATCH,web", "MATCH,DIRECT"]', ["member"]),
        ('default = "work"', ["member"]),
    ],
)
def test_upstreams_are_explored_that_may_carry_udp_or_not_where_it_matters(
    tmp_path: Path, rules: str, explored: list[str]
) -> None:
    server = 'type = "socks5"\nserver = "192.0.2.1"\n'
    text = f"{rules}\n[upstreams.work]\n{server}[upstreams.sure]\nudp = false\n{server}"
    text += f'[upstreams.member]\n{server}[upstreams.web]\ntype = "http"\nserver = "192.0.2.1"\n'
    text += '[groups.auto]\ntype = "fallback"\nmembers = ["member", "web"]\n'
    assert [each.name for each in built(written(tmp_path, text)).explored()] == explored


def test_configuration_of_another_program_in_place_of_rules_is_told_once(tmp_path: Path) -> None:
    clash = "mixed-port: 7890\nproxies:\n  - {name: a}\nrules:\n  - DOMAIN,a.b,a\n  - MATCH,a\n"
    told = "1:1: no file of rules: it looks like a configuration of clash (see tunproxy convert)"
    text = 'rules-file = "config.yaml"\n' + WORK
    assert problems_of(tmp_path, text, config_yaml=clash) == [f"config.yaml:{told}"]
    # a file of rules with mistakes is none, and what is wrong with it is told
    assert problems_of(tmp_path, text, config_yaml="rules: \nDOMAIN,a,work\nMATCH,work\n") == [
        "config.yaml:1:1: unknown rule type 'rules:' (did you mean 'RULE-SET'?)"
    ]


def test_rule_set_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    text = 'rules = ["RULE-SET,ads,REJECT"]\n' + ADS.replace("text", "srs")
    (problem,) = problems_of(tmp_path, text.replace("ads.srs", "ads.txt"), ads_txt="nonsense")
    assert problem.startswith("ads.txt:1:1: ")


def test_what_a_rule_set_lacks_is_told_by_its_count_and_the_first_of_it(tmp_path: Path) -> None:
    rules = 'rules = ["RULE-SET,ads,REJECT", "RULE-SET,own,REJECT", "RULE-SET,good,REJECT"]\n'
    own = '[rule-sets.own]\npath = "own.txt"\n[rule-sets.good]\npath = "good.txt"\n'
    files = {
        "ads_txt": "a.example\nbad line\n",
        "own_txt": "a.example\n+.b.example\n",
        "good_txt": "DOMAIN,a\n",
    }
    parts = built(written(tmp_path, rules + ADS + own, **files))
    assert parts.skipped == {"ads": 1, "own": 2}
    assert [line.replace(f"{tmp_path}/", "") for line in parts.unread()] == [
        "rule set ads: 1 entry cannot be read, the first at ads.txt:2:1: 'bad line' is no name",
        "rule set own: 2 entries cannot be read, the first at own.txt:1:1: unknown rule type 'a.example'"
        ' (behavior = "domain" or "ipcidr"?)',
    ]


def test_secret_is_in_no_problem(tmp_path: Path) -> None:
    for line in ('password = "geheim"\nprt = 3\n', "port = 99999\nuser = 'me'\npassword = 'geheim'\n"):
        path = written(tmp_path, WORK + line)
        with pytest.raises(ConfigError) as caught:
            built(path)
        shown = str(caught.value)
        assert "geheim" not in shown.replace('password = "geheim"', "")


def test_upstream_of_the_command_line_is_the_default(tmp_path: Path) -> None:
    sources = sources_of(written(tmp_path, WORK))
    url = Secret("http://u:p@192.0.2.9:3128")
    parts = build_parts(replace(sources, upstream=url), plugins_for(sources))
    assert parts.default == "upstream"
    assert {"work", "upstream"} <= set(parts.upstreams)


def test_without_the_direct_plugin_there_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no upstream 'direct': .* \(installed: none"):
        build_parts(sources_of(written(tmp_path, "")), Plugins())


def test_contents_of_rule_sets_are_kept_from_one_build_to_the_next(tmp_path: Path) -> None:
    path = written(tmp_path, 'rules = ["RULE-SET,ads,REJECT"]\n' + ADS, ads_txt="+.a\n")
    cache = SetCache()
    first = built(path, cache).rule_sets["ads"]
    assert built(path, cache).rule_sets["ads"] is first


def test_example_that_is_shipped_can_be_used() -> None:
    parts = built(ROOT / "packaging" / "tunproxy.toml")
    assert {"office", "spare", "work"} <= set(parts.upstreams)
    assert (len(parts.rules), parts.skipped) == (6, {})


def test_example_that_is_shipped_has_every_table() -> None:
    text = (ROOT / "packaging" / "tunproxy.toml").read_text()
    keys = {field.encode_name for field in msgspec.structs.fields(Config)} - {"rules-file"}
    assert set(tomllib.loads(text)) == keys


LONG_NAMES = """
from tunproxy.plugin.api import RuleKind, hookimpl

class LongerThan:
    def __init__(self, payload):
        self.length = int(payload)

    def match(self, facts):
        return len(facts.host) > self.length if facts.host else None

@hookimpl
def contribute_rule_kinds():
    return [RuleKind("HOST-LONGER", LongerThan, needs=("name",))]
"""


def with_long_names(folder: Path, rules: str, **files: str) -> Parts:
    """Return the parts of a configuration with these rules, and a plugin that contributes HOST-LONGER."""
    plugin = folder / "long_names.py"
    plugin.write_text(LONG_NAMES)
    sources = sources_of(written(folder, rules, **files))
    plugins = plugins_for(sources)
    assert plugins.load(find_file(plugin)), plugins.problems
    return build_parts(sources, plugins)


def test_rule_of_a_plugins_kind_is_asked_like_any_other(tmp_path: Path) -> None:
    text = (
        'rules = ["host-longer,12,REJECT", "AND,((HOST-LONGER,5),(NETWORK,tcp)),drop", "DOMAIN,a.b,DIRECT"]\n'
    )
    parts = with_long_names(tmp_path, text)
    assert [rule.condition.kind for rule in parts.rules] == ["HOST-LONGER", "AND", "DOMAIN"]
    assert parts.compiled.what_is_needed() & NEEDS_NAME
    for host, number in (("a-rather-long.example", 0), ("b.example", 1), ("a.b", 2)):
        facts = Facts("tcp", bytes(4), 1, bytes([192, 0, 2, 7]), 80)
        facts.host = host
        assert parts.compiled.match(facts) == number, host
        builder = Builder(parts.rule_sets, parts.custom)
        told = explain(parts.rules, parts.rule_sets, facts, sub_rules=parts.sub_rules, builder=builder)
        assert told.number == number
        assert f"host {host}" in told.records[0].why


def test_rule_of_a_plugins_kind_may_stand_in_a_file(tmp_path: Path) -> None:
    parts = with_long_names(tmp_path, 'rules-file = "home.rules"\n', home_rules="HOST-LONGER,9,REJECT\n")
    assert [rule.text for rule in parts.rules] == ["HOST-LONGER,9,REJECT"]
    assert lint(parts.rules, [], targets_of(parts)) == []
    twice = [*parts.rules, *parts.rules]
    assert [finding.what for finding in lint(twice, [], targets_of(parts))] == ["duplicate"]


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("HOST-LONGER,x,REJECT", "1:23: invalid literal for int() with base 10: 'x'"),
        ("HOST-LONGR,5,REJECT", "1:11: unknown rule type 'HOST-LONGR' (did you mean 'HOST-LONGER'?)"),
        ("HOST-LONGER,5,REJECTED", "unknown target 'REJECTED'"),
    ],
)
def test_wrong_rule_of_a_plugins_kind_is_told_at_its_place(tmp_path: Path, rule: str, problem: str) -> None:
    with pytest.raises(ConfigProblems) as caught:
        with_long_names(tmp_path, f'rules = ["{rule}"]\n')
    assert problem in str(caught.value)


AUTHORITY = make("authority.test", is_authority=True)
OURS = make("ours.test", signed_by=AUTHORITY)
INSIDE_TLS = WORK + "[upstreams.work.tls]\n"


def tls_of(parts: Parts) -> TlsClient:
    work = parts.upstreams["work"]
    assert isinstance(work, ProxyUpstream)
    assert work.tls is not None
    return work.tls


def test_tls_of_an_upstream_is_read_with_its_files_and_secrets(tmp_path: Path) -> None:
    text = INSIDE_TLS + (
        'ca-file = "ca.pem"\ncertificate-file = "ours.pem"\nkey-file = "key.pem"\n'
        'server_name = "proxy.test"\n'
        'key-password = { file = "word.txt" }\npin = ["'
        + "ab" * 32
        + '"]\nalpn = ["x"]\nmin-version = "1.3"\n'
    )
    path = written(
        tmp_path,
        text,
        ca_pem=AUTHORITY.pem.decode(),
        ours_pem=OURS.pem.decode(),
        key_pem=OURS.key_pem("sesame").decode(),
        word_txt="sesame\n",
    )
    sources = sources_of(path)
    assert {Path(each).name for each in sources.paths} >= {"ca.pem", "ours.pem", "key.pem", "word.txt"}
    for name in ("ca.pem", "ours.pem", "key.pem"):  # a worker without rights sees none of them
        (tmp_path / name).unlink()
    tls = tls_of(build_parts(sources, plugins_for(sources)))
    assert (tls.server_name, tls.pins) == ("proxy.test", {"ab" * 32})
    assert tls.context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_tls_may_be_true_or_false(tmp_path: Path) -> None:
    assert tls_of(built(written(tmp_path, WORK + "tls = true\n"))).context.check_hostname
    work = built(written(tmp_path, WORK + "tls = false\n")).upstreams["work"]
    assert isinstance(work, ProxyUpstream)
    assert work.tls is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('ca-file = "none.pem"', "5:12: cannot read '{}/none.pem': no such file or directory"),
        ('ca_file = "word.txt"', "5:12: ca-file: there is no certificate in {}/word.txt"),
        ('ca-file = "old.pem"', "5:12: ca-file: {}/old.pem: CN=old.test expired on"),
        ('pin = "abc"', "5:8: pin: 'abc' is no SHA-256"),
        ('certificate-file = "ours.pem"', "5:21: certificate-file: there is no private key in {}/ours.pem"),
        (
            'certificate-file = "ours.pem"\nkey-file = "other.pem"',
            "6:13: key-file: the key in {}/other.pem does not belong to the certificate in {}/ours.pem",
        ),
        ('min-version = "1.1"', "5:16: '1.1' is none of the possible values"),
        ('ca-fil = "x"', "5:1: unknown key 'ca-fil' (did you mean 'ca-file'?)"),
        ('key-password = { env = "NOWHERE" }', "5:25: there is no environment variable 'NOWHERE'"),
        ("allow-plain = 1", "5:15: expected true or false"),
    ],
)
def test_problem_with_tls_is_told_at_its_key(tmp_path: Path, line: str, problem: str) -> None:
    other = make("other.test", signed_by=AUTHORITY)
    path = written(
        tmp_path,
        INSIDE_TLS + line + "\n",
        word_txt="sesame",
        old_pem=make("old.test", days=-1).pem.decode(),
        ours_pem=OURS.pem.decode(),
        other_pem=other.key_pem().decode(),
    )
    with pytest.raises(ConfigProblems) as caught:
        built(path)
    (found,) = caught.value.problems
    assert problem.replace("{}", str(tmp_path)) in str(found)


def test_problem_with_tls_in_one_line_is_told_within_it(tmp_path: Path) -> None:
    assert problems_of(tmp_path, WORK + 'tls = { pin = "abc" }\n')[0].startswith("tunproxy.toml:4:16: pin:")


def test_what_is_allowed_and_hardly_meant_is_a_notice(tmp_path: Path) -> None:
    parts = built(written(tmp_path, INSIDE_TLS + "allow-plain = true\n"))
    (notice,) = map(str, parts.notices)
    assert notice.startswith(f"{tmp_path}/tunproxy.toml:1:12: upstream 'work': allow-plain: where")
