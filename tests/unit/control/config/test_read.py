"""Whole configurations."""

from pathlib import Path

import pytest

from tunproxy.control.config.problems import ConfigProblems
from tunproxy.control.config.read import read_config
from tunproxy.control.config.schema import Config
from tunproxy.secret import Secret


def config_of(text: str, **environment: str) -> Config:
    return read_config(text.encode(), "t.toml", Path("/etc/t"), environment).config


def problems_of(text: str | bytes) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigProblems) as caught:
        read_config(data, "t.toml", Path("/etc/t"), {})
    return [f"{each.position}: {each.message}" for each in caught.value.problems]


def test_empty_file_is_the_built_in_configuration() -> None:
    assert config_of("") == Config()
    assert config_of("\ufeff# nothing\n") == Config()


def test_tables_of_all_kinds() -> None:
    found = config_of(
        """
        default = "work"
        rules-file = "home.rules"
        [upstreams.office]
        type = "socks5"
        server = "192.0.2.1"
        password = { env = "P" }
        [groups.work]
        type = "select"
        members = ["office"]
        interval = 3
        [rule-sets.ads]
        path = "../ads.txt"
        [plugins]
        deny = ["a"]
        [plugins.log]
        priority = 3
        token = { env = "P" }
        """,
        P="geheim",
    )
    assert found.rules_file == "/etc/t/home.rules"
    assert found.rule_sets["ads"].path == "/etc/ads.txt"
    assert found.upstreams["office"].options["password"] == Secret("geheim")
    assert dict(found.groups["work"].options) == {"interval": 3}
    assert found.plugins.deny == {"a"}
    entry = found.plugins.plugins["log"]
    assert (entry.enabled, entry.priority, entry.options["token"]) == (True, 3, Secret("geheim"))
    assert "geheim" not in repr(found)


def test_plain_password_is_not_shown_either() -> None:
    assert "geheim" not in repr(config_of('[upstreams.a]\ntype = "http"\npassword = "geheim"\n'))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = [", "t.toml:1:6: not TOML: invalid value"),
        ("x = 1\nb = = 3\n", "t.toml:2:5: not TOML: invalid value"),
        (b"x = 1\nb = \xff\n", "t.toml:2:5: octet 0xff is not UTF-8 (save the file as UTF-8)"),
        ("defalt = 'x'\n", "t.toml:1:1: unknown key 'defalt' (did you mean 'default'?)"),
        ("upstreams = 3\n", "t.toml:1:13: expected a table for each name, such as [upstreams.work]"),
        ("[upstreams]\na = 3\n", "t.toml:2:5: expected a table, such as [upstreams.a]"),
        ("[upstreams.a]\nport = 3\n", "t.toml:1:12: 'type' is missing"),
        ("[groups.a]\ntype = 'x'\nmembers = 'y'\n", "t.toml:3:12: expected a list, got a string"),
        ("plugins = 3\n", "t.toml:1:11: expected a table"),
        ("[plugins]\nfoldr = 3\n", "t.toml:2:1: unknown key 'foldr' (did you mean 'folder'?)"),
        ("[plugins.a]\nenabled = 3\n", "t.toml:2:11: expected true or false, got a whole number"),
        (
            "[upstreams.a]\ntype = 'x'\npassword = { env = 'NO' }\n",
            "t.toml:3:21: there is no environment variable 'NO'",
        ),
        ("rules = []\nrules-file = 'x'\n", "t.toml:2:1: there are rules as well (give one of the two)"),
        (
            "[upstreams.a]\ntype = 'x'\n[groups.a]\ntype = 'y'\nmembers = []\n",
            "t.toml:3:9: there is an upstream 'a' already",
        ),
        (
            "[upstreams.'a,b']\ntype = 'x'\n",
            "t.toml:1:12: a name has letters, no comma, and no blanks around it: rules could not say it",
        ),
        ("[device]\nmtu = 12\n", "t.toml:2:7: cannot use mtu 12: must be 1280 to 65535"),
        ("[device]\nworkers = 'many'\n", "t.toml:2:12: cannot use 'many' workers: must be 1 to 64, or auto"),
        (
            "[dns]\nservers = ['300.1.1.1']\n",
            "t.toml:2:13: resolver '300.1.1.1': '300.1.1.1' is no host name",
        ),
        (
            "[capture]\nexclude-users = ['root', 'nobody-of-this-name']\n",
            "t.toml:2:27: there is no user 'nobody-of-this-name' (write a name, 1000, or 1000-1999)",
        ),
        (
            "[capture]\nexclude-interfaces = ['wg0']\n",
            "t.toml:2:22: is about what this host forwards (it needs forwarded = true)",
        ),
        ("[device]\nmemory = 'lots'\n", "t.toml:2:11: 'lots' is not a size (such as 256M)"),
        (
            "[device]\nname = 'a/b'\n",
            "t.toml:2:9: cannot use 'a/b' as a device name: it must have no space, slash or colon",
        ),
    ],
)
def test_problem_has_its_place(text: str | bytes, problem: str) -> None:
    assert problems_of(text) == [problem]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules = [\n  'a'\n  'b'\n]\n", "3:3: not TOML: unclosed array (a comma or ] is missing)"),
        ("default = DIRECT\n", "1:11: not TOML: invalid value (text stands in quotes)"),
        ("[dns]\n[dns]\n", "2:5: not TOML: cannot declare [dns] twice"),
        ("[groups.a]\n[groups.a]\n", "2:10: not TOML: cannot declare [groups.a] twice"),
        (
            "[dns]\nmode = 'off'\nmode = 'off'\n",
            "3:13: not TOML: cannot overwrite a value (a key is there twice)",
        ),
        ("default = 'a\n", '1:13: not TOML: expected "\'" (a string ends in its line'),
        (
            "a = 1\rb = 2\r",
            "1:6: not TOML: expected newline or end of document after a statement (lines end in LF",
        ),
        (
            "a = 1 2\n",
            "1:7: not TOML: expected newline or end of document after a statement (each key has a line",
        ),
        (
            "proxies:\n  - name: a\n",
            "1:8: not TOML: expected '=' after a key in a key/value pair (it looks like",
        ),
        (
            '{"outbounds": []}',
            "1:1: not TOML: invalid statement (it looks like a configuration of sing-box: see",
        ),
    ],
)
def test_text_that_is_no_toml_is_told_with_what_to_do(text: str, problem: str) -> None:
    (found,) = problems_of(text)
    assert found.startswith(f"t.toml:{problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mtu = 1400\n", "1:1: unknown key 'mtu' (it is one of device: device.mtu = …)"),
        (
            "[dns]\nrules = []\n",
            "2:1: unknown key 'rules' (it is within [dns] here: write it above the first [table])",
        ),
        ("[dns]\nserver = []\n", "2:1: unknown key 'server' (did you mean 'servers'?)"),
    ],
)
def test_key_in_the_wrong_table_is_told_where_it_belongs(text: str, problem: str) -> None:
    assert problems_of(text) == [f"t.toml:{problem}"]


def test_problems_of_all_tables_are_told_at_once() -> None:
    text = "defalt = 1\n[device]\nmtu = 'x'\n[upstreams.a]\n[plugins.a]\nenabled = 3\n[dns]\nmode = 'x'\n"
    assert [each.partition(": ")[0] for each in problems_of(text)] == [
        "t.toml:1:1", "t.toml:3:8", "t.toml:4:12", "t.toml:6:11", "t.toml:8:9",
    ]  # fmt: skip


def test_files_of_secrets_are_named(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("x")
    text = b"[upstreams.a]\ntype = 'x'\npassword = { file = 'p' }\n"
    assert read_config(text, "t", tmp_path, {}).secret_files == (tmp_path / "p",)


def test_names_have_files_beside_the_configuration() -> None:
    found = config_of('[dns]\nca-file = "ca.pem"\nfake-ip-file = "../fake"').dns
    assert (found.ca_file, found.fake_ip_file) == ("/etc/t/ca.pem", "/etc/fake")
    assert config_of('[dns]\nfake-ip-file = ""').dns.fake_ip_file == ""


def test_names_that_make_no_sense_are_problems_at_the_value() -> None:
    assert problems_of('[dns]\nservers = ["192.0.2.1",\n  "quic://192.0.2.1"]\nhijack-except = ["x"]') == [
        "t.toml:3:4: resolver 'quic://192.0.2.1': no way 'quic' to it (use udp, tcp, tls or https)",
        "t.toml:4:19: 'x' is not an IP address",
    ]


def test_api_may_have_its_secret_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("opensesame\n")
    for text, environment in (
        ("{ file = 's' }", {}),
        ("{ env = 'S' }", {"S": "opensesame"}),
        ("'opensesame'", {}),
    ):
        found = read_config(f"[api]\nsecret = {text}\n".encode(), "t", tmp_path, environment)
        assert found.config.api.secret.reveal() == "opensesame"
        assert "opensesame" not in repr(found.config)
    assert read_config(b"[api]\nsecret = { file = 's' }", "t", tmp_path, {}).secret_files == (tmp_path / "s",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("listen = '0.0.0.0:9090'", "t.toml:2:11: 0.0.0.0 is not on loopback, and there is no TLS"),
        ("listen = ':9090'", "t.toml:2:11: ':9090' is no address with a port"),
        ("secret = 'short'", "t.toml:2:11: a secret has 8 letters at least"),
        ("secret = { env = 'NOT_THERE' }", "t.toml:2:19: there is no environment variable 'NOT_THERE'"),
        ("secret = 12345678", "t.toml:2:10: expected "),
        ("allow-origins = ['x']", "t.toml:2:17: 'x' is no origin"),
        ("alow-hosts = []", "t.toml:2:1: unknown key 'alow-hosts' (did you mean 'allow-hosts'?)"),
    ],
)
def test_problem_of_the_api_has_its_place(text: str, problem: str) -> None:
    (found,) = problems_of(f"[api]\n{text}\n")
    assert found.startswith(problem)


def test_secret_in_a_line_that_is_wrong_is_not_shown() -> None:
    """What is told goes into logs and to whoever asks the API."""
    line = 'a = { type = "x", server = "s", tipe = 1, password = "hunter22" }'
    texts = [
        f"[upstreams]\n{line}\n[dns]\nmode = 'fake'",
        "[api]\nsecret = 'hunter2' # short",
        "x = 1 password = 'hunter22'",
        '[upstreams.a]\npassword = "hunter22" x',
        "[dns]\nservers = ['https://u:hunter22@x/?token=hunter22']",
    ]
    for text in texts:
        with pytest.raises(ConfigProblems) as caught:
            read_config(text.encode(), "t.toml", Path("/etc/t"), {})
        assert "hunter2" not in str(caught.value), text
        assert "***" in str(caught.value) or "mode =" in str(caught.value)
