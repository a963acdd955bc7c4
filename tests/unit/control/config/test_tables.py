"""Tables against structs and dataclasses."""

import tomllib
from dataclasses import dataclass, field
from typing import Any

import pytest

from tunproxy.control.config.schema import DnsConfig, RuleSetConfig
from tunproxy.control.config.tables import MISSING, Checker, Document
from tunproxy.errors import OptionError
from tunproxy.secret import Secret


@dataclass(frozen=True, kw_only=True)
class ProxyOptions:
    server: str
    port: int = 1080
    password: Secret = Secret("")  # noqa: RUF009
    server_name: str = ""
    members: tuple[str, ...] = field(default=())


def checked(kind: Any, text: str) -> tuple[Any, list[str]]:
    checker = Checker(Document("t", text))
    made = checker.make(kind, tomllib.loads(text), ())
    return made, [f"{each.position}: {each.message}" for each in checker.problems]


def test_table_becomes_its_struct() -> None:
    text = 'fake-ip-filter = ["+.lan"]\nhosts = { a = "1.1.1.1", b = ["::1"] }\nmode = "off"\n'
    made, problems = checked(DnsConfig, text)
    assert problems == []
    assert (made.mode, made.fake_ip_filter) == ("off", ("+.lan",))
    assert made.hosts == {"a": "1.1.1.1", "b": ("::1",)}


def test_all_problems_of_a_table_are_found_at_once() -> None:
    made, problems = checked(DnsConfig, 'mode = "fake"\nservers = "x"\nhosts = { a = [1] }\nmod = 1\n')
    assert made is MISSING
    assert problems == [
        "t:1:9: 'fake' is none of the possible values (did you mean 'fake-ip'?)",
        "t:2:12: expected a list, got a string",
        "t:3:16: expected a string, got a whole number",
        "t:4:1: unknown key 'mod' (did you mean 'mode'?)",
    ]


def test_required_key_that_is_missing_is_told() -> None:
    assert checked(RuleSetConfig, "")[1] == ["t:1:1: 'path' is missing"]


def test_struct_knows_its_keys_with_hyphens_only() -> None:
    assert "unknown key 'fake_ip_filter'" in checked(DnsConfig, "fake_ip_filter = []\n")[1][0]


@pytest.mark.parametrize("key", ["server_name", "server-name"])
def test_dataclass_takes_both_spellings(key: str) -> None:
    made, problems = checked(ProxyOptions, f'server = "a"\n{key} = "b"\npassword = "c"\nmembers = ["d"]\n')
    assert problems == []
    assert made == ProxyOptions(server="a", server_name="b", password=Secret("c"), members=("d",))


def test_secret_of_another_type_is_told_how_to_write_it() -> None:
    (problem,) = checked(ProxyOptions, 'server = "a"\npassword = 3\n')[1]
    assert problem == ('t:2:12: expected a string, { env = "NAME" } or { file = "PATH" }, got a whole number')


def test_table_in_place_of_which_there_is_something_else() -> None:
    checker = Checker(Document("t", "a = 1\n"))
    assert checker.make(DnsConfig, 1, ("a",)) is MISSING
    assert str(checker.problems[0]).startswith("t:1:5: expected a table, got a whole number\n    a = 1")


def test_bounds_of_numbers_are_kept() -> None:
    made, problems = checked(DnsConfig, "cache-size = -5\nserve-stale = 604801\n")
    assert made is MISSING
    assert problems == [
        "t:1:14: expected a whole number >= 0",
        "t:2:15: expected a whole number <= 604800",
    ]
    assert checked(DnsConfig, "cache-size = 0\nserve-stale = 604800\n")[1] == []


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("tls", "pin", 1), "3:18"),
        (("tls", "pin", 7), "3:11"),
        (("tls", "server_name"), "2:16"),
        (("tls", "ca_file"), "3:1"),
        (("user",), "1:2"),
        ((), "1:2"),
    ],
)
def test_option_is_told_where_it_stands_or_what_is_nearest(path: tuple[str | int, ...], place: str) -> None:
    checker = Checker(Document("t", '[a]\nserver-name = "x"\ntls.pin = ["y", "z"]\n'))
    checker.complain_of(OptionError("wrong", *path), ("a",))
    assert str(checker.problems[0]).startswith(f"t:{place}: wrong\n")
