"""relay.toml: what it says, where its secrets are, and what is wrong with it, with the place."""

from pathlib import Path

import pytest
from msgspec import structs

from tests.unit.relay.world import config_of
from tunproxy.control.config.problems import ConfigProblems
from tunproxy.errors import ConfigError
from tunproxy.relay.passwords import make_hash
from tunproxy.relay.reading import check_whole, read_file
from tunproxy.relay.settings import RelayConfig

GOOD = """
listen = ["127.0.0.1:1"]

[users.joe]
password = { env = "JOE" }
rate = "10M"

[users.env]
password-hash = "%s"

[shadowsocks]
listen = [":2"]
method = "2022-blake3-aes-128-gcm"
password = { env = "KEY" }
users = { jane = "AAECAwQFBgcICQoLDA0ODw==" }
"""


def test_secrets_are_looked_up_and_never_shown() -> None:
    config = config_of(GOOD % make_hash("x"), {"JOE": "swordfish", "KEY": "EBESExQVFhcYGRobHB0eHw=="})
    password = config.users["joe"].password
    assert password is not None
    assert password.reveal() == "swordfish"
    assert config.shadowsocks is not None
    assert config.shadowsocks.password.reveal().startswith("EBES")
    assert "swordfish" not in repr(config)
    assert "EBES" not in repr(config)


def test_password_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("swordfish\n")
    path = tmp_path / "relay.toml"
    path.write_text('[users.joe]\npassword = { file = "secret" }\n')
    password = read_file(str(path)).users["joe"].password
    assert password is not None
    assert password.reveal() == "swordfish"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('listen = ["x:1"]', "1:12", "nowhere to listen"),
        ("lissen = []", "1:1", "did you mean 'listen'?"),
        ('listen = [":1", "x", "[::]:1"]', "1:23", "cannot listen at [::]:1 twice"),
        ('listen = [":1"]\n[metrics]\nlisten = ":1"', "3:11", "cannot listen at [::]:1 twice"),
        ('[targets]\nallow = ["10.0.0.0/8", "1.2.3"]', "2:25", "no network, address or name"),
        ("[users.joe]\nconnections = 1", "1:8", "give one of password and password-hash"),
        ('[users.joe]\npassword = { env = "NOPE" }', "2:21", "there is no environment variable 'NOPE'"),
        ('[users.joe]\npassword-hash = "swordfish"', "2:18", "this is no password hash"),
        ('[users."a:b"]\npassword = "x"', "1:8", "no colon"),
        ('[users.joe]\npassword = "x"\nrate = "fast"', "3:9", "'fast' is not a size"),
        ('[tls]\ncertificate = "none.pem"', "2:16", "cannot use the certificate in '/nowhere/none.pem'"),
        ("[limits]\nconnections = 0", "2:15", "0 is not possible (1 to 1e+06)"),
        ('[codecs]\noffer = ["zst"]', "2:11", "did you mean 'zstd'?"),
        ('[codecs]\ndictionary = "gone"', "2:15", "cannot read the dictionary /nowhere/gone"),
        (
            '[shadowsocks]\nlisten = []\nmethod = "rot13"\npassword = "x"',
            "3:11",
            "no Shadowsocks method 'rot13'",
        ),
        (
            '[shadowsocks]\nlisten = []\nmethod = "2022-blake3-aes-128-gcm"\n'
            'password = "EBESExQVFhcYGRobHB0eHw=="\nusers = { joe = "x" }',
            "5:18",
            "user 'joe': a password of 2022-blake3-aes-128-gcm is a key",
        ),
        ("[users.joe]\npassword = ''", "2:13", "a password has 1 to 255 octets"),
        ("[codecs]\nzstd-level = 99", "2:14", "zstd has no level 99"),
        ("drain = 'long'", "1:", "expected a number"),
        ("listen = [", "1:11", "not TOML"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(text)
    assert words in str(caught.value)
    assert f"relay.toml:{place}" in str(caught.value)
    assert "swordfish" not in str(caught.value).split("\n")[1]


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match="2 problems"):
        config_of('listen = ["x"]\n[metrics]\nlisten = "y"\n')


def test_password_beside_what_is_wrong_is_not_shown() -> None:
    text = (
        'listen = [":1"]\n[users]\na = { password = "swordfish", rte = "1M" }\n'
        '[shadowsocks]\nmethod = "x"\npassword = "y"\nlisten = []\nusers = { bob = "swordfisk", ann = 3 }\n'
    )
    with pytest.raises(ConfigError) as caught:
        config_of(text, {})
    assert "unknown key 'rte'" in str(caught.value)
    assert "got a whole number" in str(caught.value)
    assert "swordfis" not in str(caught.value)


def test_file_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match=r"cannot read /nowhere/relay\.toml: no such file"):
        read_file("/nowhere/relay.toml")


def test_nobody_is_served_by_accident() -> None:
    everywhere = RelayConfig(listen=("0.0.0.0:8080",))
    with pytest.raises(ConfigError, match="would serve anybody"):
        check_whole(everywhere)
    check_whole(structs.replace(everywhere, anonymous=True))
    check_whole(RelayConfig(listen=("127.0.0.1:8080", "[::1]:8080")))
    check_whole(config_of('listen = [":1"]\n[users.joe]\npassword = "x"'))
    with pytest.raises(ConfigError, match="listen 0: 'x' is nowhere"):
        check_whole(RelayConfig(listen=("x",)))
    with pytest.raises(ConfigError, match="workers: 999 is not possible"):
        check_whole(RelayConfig(workers=999))


def test_relay_that_nobody_can_come_to_is_refused() -> None:
    config = config_of("listen = []")  # the command line may have a place
    with pytest.raises(ConfigError, match="there is nowhere to listen"):
        check_whole(config)
    check_whole(structs.replace(config, listen=("127.0.0.1:0", "127.0.0.1:0")))  # two ports of any number


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = """
workers = 999
drain = "long"
[users.joe]
password = { env = "NOPE" }
rate = "fast"
[users.ann]
pasword = "x"
[targets]
allow = ["1.2.3"]
deny = "x"
[shadowsocks]
listen = ["x"]
method = "rot13"
password = "x"
[tls]
key = "key.pem"
"""
    with pytest.raises(ConfigProblems) as caught:
        config_of(text)
    places = [f"{each.position.line}:{each.position.column}" for each in caught.value.problems]
    assert places == ["2:11", "3:10", "5:21", "6:9", "8:1", "10:11", "11:9", "13:12", "14:11", "16:2"]


def test_misspelt_option_is_told_and_not_what_follows_from_it() -> None:
    with pytest.raises(ConfigProblems) as caught:
        config_of("[users.joe]\npasword = 'hunter22'\n")
    assert [problem.message for problem in caught.value.problems] == [
        "unknown key 'pasword' (did you mean 'password'?)"
    ]


@pytest.mark.parametrize(
    "text",
    ["[users]\njoe = 'hunter22'", "[users.joe]\npasword = 'hunter22'", "[users.joe]\npassword = hunter22"],
)
def test_password_in_the_wrong_place_is_not_shown(text: str) -> None:
    with pytest.raises(ConfigProblems) as caught:
        config_of(text)
    assert "hunter22" not in str(caught.value)


def test_file_that_has_no_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot read /dev/zero: it has more than"):
        read_file("/dev/zero")
