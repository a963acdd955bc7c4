"""What users write of what is captured, and what it comes to."""

from ipaddress import ip_address, ip_network

import pytest

from tunproxy.control.capture import CaptureOptions, mark_of, network_of, users_of
from tunproxy.control.config.schema import CaptureConfig, DnsConfig
from tunproxy.control.settings import UpSettings, with_capture
from tunproxy.errors import ConfigError
from tunproxy.host.cgroups import EXCLUDED, INCLUDED
from tunproxy.host.scope import MAX_UID, Scope


@pytest.mark.parametrize(
    ("said", "users"),
    [
        ("root", (0, 0)),
        (1000, (1000, 1000)),
        ("1000", (1000, 1000)),
        ("1000-1999", (1000, 1999)),
        (str(MAX_UID), (MAX_UID, MAX_UID)),
    ],
)
def test_users_are_names_numbers_and_ranges(said: str | int, users: tuple[int, int]) -> None:
    assert users_of(said) == users


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("nobody-of-this-name", "there is no user 'nobody-of-this-name'"),
        ("", "there is no user ''"),
        ("9-3", "'9-3' is an empty range"),
        (-1, "there is no user '-1'"),
        (str(MAX_UID + 1), f"'{MAX_UID + 1}' is not a user: numbers are 0 to {MAX_UID}"),
        ("0-99999999999", "'0-99999999999' is not a user"),
        ("a\0b", "there is no user"),
    ],
)
def test_users_that_cannot_be(said: str | int, why: str) -> None:
    with pytest.raises(ConfigError) as failed:
        users_of(said)
    assert str(failed.value).startswith(why)


@pytest.mark.parametrize(
    ("said", "mark"),
    [("0xca6c", (0xCA6C, 0xFFFF_FFFF)), (7, (7, 0xFFFF_FFFF)), ("0x80000/0xff0000", (0x80000, 0xFF0000))],
)
def test_marks_with_and_without_a_mask(said: str | int, mark: tuple[int, int]) -> None:
    assert mark_of(said) == mark


@pytest.mark.parametrize("said", ["", "x", "0", 0, "-1", "0x100000000", "1/0", "0x11/0x10", "1/"])
def test_marks_that_cannot_be(said: str | int) -> None:
    with pytest.raises(ConfigError, match="is not a mark"):
        mark_of(said)


def test_network_that_cannot_be_says_why() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^cannot use '10\.0\.0\.1/8': the address has bits behind its prefix \(write 10\.0\.0\.0/8\)$",
    ):
        network_of("10.0.0.1/8")


def test_options_come_to_a_scope() -> None:
    options = CaptureOptions(
        exclude_networks=("203.0.113.0/24",),
        include_users=("root",),
        exclude_users=(7,),
        forwarded=True,
        include_interfaces=("docker0",),
        exclude_interfaces=("wg0",),
        include_cgroups=("a.slice",),
        exclude_cgroups=("a.slice/b.service",),
        exclude_marks=("0x10",),
        direct_lane=True,
    )
    dns = DnsConfig(hijack_except=("192.0.2.53",))
    expected = Scope(
        forwarded=True,
        interfaces=("docker0",),
        excluded_interfaces=("wg0",),
        users=((0, 0),),
        excluded_users=((7, 7),),
        excluded=(ip_network("203.0.113.0/24"),),
        marks=((0x10, 0xFFFF_FFFF),),
        only_cgroups=True,
        spares_cgroups=True,
        dns=True,
        dns_except=(ip_address("192.0.2.53"),),
        has_lane=True,
    )
    assert options.scope(dns, answers_names=True) == expected
    assert options.cgroups() == {"a.slice": INCLUDED, "a.slice/b.service": EXCLUDED}
    assert options.scope(dns, answers_names=False).dns_except == ()
    assert CaptureOptions().scope(DnsConfig(), answers_names=False) == Scope()


def test_every_key_of_the_configuration_is_an_option() -> None:
    assert {*CaptureOptions.__dataclass_fields__} == {*CaptureConfig.__struct_fields__}


def test_command_line_comes_before_the_configuration() -> None:
    config = CaptureConfig(
        exclude_users=("root",), forwarded=True, include_networks=("10.0.0.0/8",), exclude_networks=("::/0",)
    )
    found = with_capture(UpSettings(capture=CaptureOptions(exclude_users=("5",), forwarded=False)), config)
    assert (found.capture.exclude_users, found.capture.forwarded) == (("5",), False)
    assert found.capture.exclude_networks == ("::/0",)
    assert found.routes == ("10.0.0.0/8",)
    for option in ("route", "no_route"):
        said = with_capture(UpSettings(routes=("::/0",), said=frozenset({option})), config)
        assert said.routes == ("::/0",)


@pytest.mark.parametrize(
    ("options", "key", "why"),
    [
        (
            CaptureOptions(include_networks=("x",)),
            ("include-networks", 0),
            "cannot use 'x': not a network (such as 10.0.0.0/8)",
        ),
        (
            CaptureOptions(exclude_networks=("::/0", "1/2/3")),
            ("exclude-networks", 1),
            "cannot use '1/2/3': not a network",
        ),
        (CaptureOptions(include_users=("?",)), ("include-users", 0), "there is no user '?'"),
        (CaptureOptions(exclude_users=(1, "2-1")), ("exclude-users", 1), "'2-1' is an empty range"),
        (
            CaptureOptions(include_interfaces=("docker0",)),
            ("include-interfaces",),
            "is about what this host forwards (it needs forwarded = true)",
        ),
        (
            CaptureOptions(exclude_interfaces=("lo",), forwarded=True),
            ("exclude-interfaces", 0),
            "nothing is forwarded that comes in by 'lo'",
        ),
        (
            CaptureOptions(exclude_interfaces=("a b",), forwarded=True),
            ("exclude-interfaces", 0),
            "cannot use 'a b' as a device name",
        ),
        (
            CaptureOptions(include_cgroups=("/",)),
            ("include-cgroups", 0),
            "'/' is not the path of a control group",
        ),
        (CaptureOptions(exclude_cgroups=("../x",)), ("exclude-cgroups", 0), "'../x' is not the path"),
        (
            CaptureOptions(include_cgroups=("x",), exclude_cgroups=("x",)),
            ("exclude-cgroups",),
            "'x' is included and excluded",
        ),
        (CaptureOptions(exclude_marks=("0",)), ("exclude-marks", 0), "'0' is not a mark"),
    ],
)
def test_what_cannot_be_is_told_with_its_key(
    options: CaptureOptions, key: tuple[str | int, ...], why: str
) -> None:
    ((path, message),) = options.problems()
    assert path == key
    assert message.startswith(why)
    with pytest.raises(ConfigError) as failed:
        options.check()
    assert str(failed.value).startswith(f"[capture] {key[0]}: {why}")
