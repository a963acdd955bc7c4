"""Upstreams from tables and URLs: what users write becomes an upstream, or a sentence that helps."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tunproxy.errors import ConfigError
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.secret import Secret
from tunproxy.upstream.base import Upstream
from tunproxy.upstream.option_file import OptionFile
from tunproxy.upstream.tls_options import TlsOptions
from tunproxy.upstream.types import UpstreamType, build_from_url, files_in, passwords_in


@dataclass(frozen=True, kw_only=True)
class Options:
    server: str
    port: int = 7
    user: str = ""
    password: Secret = Secret("")  # noqa: RUF009
    fast: bool = False


class Made(Upstream):
    def __init__(self, name: str, options: Options) -> None:
        super().__init__(name)
        self.options = options

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        raise NotImplementedError


KIND = UpstreamType("echo", Options, Made)


def options_of(url: str) -> Options:
    made = build_from_url(url, {"echo": KIND})
    assert isinstance(made, Made)
    assert made.name == "upstream"
    return made.options


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda name, options: 1 / 0,
         r"the type 'odd' cannot make it: ZeroDivisionError: division by zero \(test_types\.py:\d+\)$"),
        (lambda name: name, r"the type 'odd' cannot make it: TypeError: .* takes 1 positional argument"),
        (lambda name, options: name, "the type 'odd' has made 'x', which is no upstream$"),
    ],
)  # fmt: skip
def test_mistake_of_whoever_makes_upstreams_is_told_in_a_line(make: Any, why: str) -> None:
    """make: what a plugin may come up with instead of what it ought to be."""
    with pytest.raises(ConfigError, match=f"^upstream 'x': {why}"):
        UpstreamType("odd", Options, make).build("x", {"server": "a"})
    with pytest.raises(ConfigError, match=r"^group 'x': the type 'odd' "):
        UpstreamType("odd", Options, make, is_group=True).made("x", None)


def test_build_takes_what_is_given_and_defaults_for_the_rest() -> None:
    made = KIND.build("work", {"server": "192.0.2.1", "password": "swordfish"})
    assert isinstance(made, Made)
    assert made.name == "work"
    assert made.options == Options(server="192.0.2.1", password=Secret("swordfish"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "'server' is missing"),
        (
            {"server": "a", "prot": 1},
            "echo has no option 'prot' (it has: fast, password, port, server, user)",
        ),
        ({"server": "a", "port": "x"}, "port: expected a whole number, got a string"),
        ({"server": "a", "password": 7}, "password: expected a string, {"),
    ],
)
def test_build_says_which_option_is_wrong(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        KIND.build("work", table)
    assert f"upstream 'work': {message}" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("echo://192.0.2.1", Options(server="192.0.2.1")),
        ("echo://192.0.2.1:90/", Options(server="192.0.2.1", port=90)),
        ("echo://[2001:db8::1]:90", Options(server="2001:db8::1", port=90)),
        ("echo://joe:a%40b%3A@proxy.example:90", Options(
            server="proxy.example", port=90, user="joe", password=Secret("a@b:"))),
        ("echo://h?fast=true", Options(server="h", fast=True)),
        ("echo://h?fast", Options(server="h", fast=True)),
        ("echo://h?fast=no&port=9", Options(server="h", port=9)),
    ],
)  # fmt: skip
def test_url_becomes_options(url: str, expected: Options) -> None:
    assert options_of(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("socks9://h", "cannot use an upstream of type 'socks9': there is none (there are: echo)"),
        ("h:1080", "must be like socks5://user:password@host:port"),
        ("echo://", "must be like"),
        ("", "must be like"),
        ("echo://h:99999", "no port behind the host's colon (0 to 65535)"),
        ("echo://h:x", "no port behind the host's colon"),
        ("echo://h/path", "a proxy has no path"),
        ("echo://[::1", "an IPv6 address stands in [ ]"),
        ("echo://h?speed=9", "echo has no option 'speed'"),
        ("echo://h?fast=maybe", "fast: expected true or false, got a string"),
    ],
)
def test_url_that_makes_no_sense_is_explained(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_from_url(url, {"echo": KIND})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("echo://joe:hunt/er2@h:1", "/ ? # in user or password must be %2F %3F %23"),
        ("echo://joe:hunt#er2@h:1", "/ ? # in user or password must be %2F %3F %23"),
        ("echo://joe:hun@t/er2@h:1", "/ ? # in user or password must be %2F %3F %23"),
        ("echo://joe:hunt?er2@h:1", "/ ? # in user or password must be %2F %3F %23"),
        ("echo://joe:hunter2", "no port behind the host's colon"),
        ("echo://joe:x@h:hunter2", "no port behind the host's colon"),
        ("echo://2001:db8::1:1080", "an IPv6 address stands in [ ]"),
        ("echo://joe:hunter2@[h:1", "an IPv6 address stands in [ ]"),
        ("echo://joe:hunter2@", "it names no host"),
        ("echo://joe:%ffhunter2@h", "the password is not UTF-8"),
        ("echo://joe:hunter2@h?password=hunter2", "it gives password twice"),
        ("echo://h:1?port=2", "it gives port twice"),
    ],
)
def test_url_error_says_what_to_do_and_never_what_may_be_a_password(url: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options_of(url)
    assert message in str(caught.value)
    assert "hunt" not in str(caught.value)
    assert "er2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "passwords"),
    [
        ("socks5://joe:sw%3Ard@h:1", ["sw%3Ard"]),
        ("socks5://joe:a@b:c@h:1", ["a@b:c"]),
        ("socks5://joe:a/b#c?d@h:1", ["a/b#c?d"]),
        ("socks5://joe@h:1?password=x&udp=no", ["x"]),
        ("socks5://h?tls=yes&key_password=x&psk=abcd&pin=y", ["x", "abcd"]),
        ("socks5://joe@h:1080", []),
        ("socks5://h:1080", []),
        ("ss://YWVzLTEyOC1nY206cGFzcw==@h:1#tag", ["YWVzLTEyOC1nY206cGFzcw=="]),
        ("ss://aes-128-gcm:pass@h:1", ["pass"]),
        ("nonsense", []),
    ],
)
def test_passwords_are_found_as_they_stand(url: str, passwords: list[str]) -> None:
    assert passwords_in(url) == passwords


def test_url_error_never_repeats_the_password() -> None:
    for url in ("socks9://joe:swordfish@h", "echo://joe:swordfish@h/x", "echo://joe:swordfish@h:x"):
        with pytest.raises(ConfigError) as caught:
            build_from_url(url, {"echo": KIND})
        assert "swordfish" not in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class TlsAware:
    server: str
    port: int = 7
    ca_file: OptionFile | None = None
    tls: TlsOptions | bool = False


def tls_in(url: str) -> TlsAware:
    made = build_from_url(url, {"echo": UpstreamType("echo", TlsAware, Made)})  # type: ignore[arg-type]
    assert isinstance(made, Made)
    options: object = made.options
    assert isinstance(options, TlsAware)
    return options


def test_url_has_options_of_tls_among_its_own(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"pem")
    file = OptionFile(f"{tmp_path}/ca.pem", b"pem")
    assert tls_in("echo://h").tls is False
    assert tls_in("echo://h?tls=yes").tls is True
    assert tls_in("echo://h?pin=abc&allow_plain=yes").tls == TlsOptions(pin="abc", allow_plain=True)
    assert tls_in(f"echo://h?certificate_file={file.path}").tls == TlsOptions(certificate_file=file)
    assert tls_in(f"echo://h?ca_file={file.path}") == TlsAware(server="h", ca_file=file)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("pin=a&pin=b", "it gives pin twice"),
        ("tls=no&pin=a", "pin needs TLS (tls=yes)"),
        ("certificate_file=/nowhere", "cannot read tls.certificate_file '/nowhere': no such file"),
        ("min_version=1.1", "tls.min_version: "),
        ("pinn=a", "has no option 'pinn'"),
    ],
)
def test_url_with_tls_that_cannot_be_is_explained(query: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tls_in(f"echo://h?{query}")
    assert message in str(caught.value)


def test_files_in_a_url_need_not_be_read_again() -> None:
    url = "echo://h?ca_file=/nowhere/ca.pem&key_file=/nowhere/key.pem&server_name=x"
    files = {"/nowhere/ca.pem": b"one", "/nowhere/key.pem": b"two"}
    assert files_in(url) == list(files)
    assert files_in("echo://[h?ca_file=x") == []
    made = build_from_url(url, {"echo": UpstreamType("echo", TlsAware, Made)}, files=files)  # type: ignore[arg-type]
    assert isinstance(made, Made)
    options: object = made.options
    assert isinstance(options, TlsAware)
    assert options.ca_file == OptionFile("/nowhere/ca.pem", b"one")
    assert options.tls == TlsOptions(key_file=OptionFile("/nowhere/key.pem", b"two"), server_name="x")
