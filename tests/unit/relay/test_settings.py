"""The keys of relay.toml: the example in packaging has them all, and can be used."""

import tomllib
from pathlib import Path

from msgspec import Struct

from tunproxy.control.config.tables import fields_of
from tunproxy.relay import settings

EXAMPLE = Path(__file__).resolve().parents[3] / "packaging" / "relay.toml"
TABLES = {
    (): settings.RelayConfig,
    ("tls",): settings.TlsTable,
    ("shadowsocks",): settings.ShadowsocksTable,
    ("targets",): settings.TargetsTable,
    ("limits",): settings.LimitsTable,
    ("metrics",): settings.MetricsTable,
    ("codecs",): settings.CodecsTable,
    ("log",): settings.LogTable,
    ("users", "joe"): settings.UserTable,
}


def keys_of(kind: type[Struct]) -> set[str]:
    return {each.written for each in fields_of(kind)}


def test_example_has_every_key_and_no_other() -> None:
    text = EXAMPLE.read_text()
    found = tomllib.loads(text)
    for path, kind in TABLES.items():
        table = found
        for key in path:
            table = table[key]
        in_comments = {key for key in keys_of(kind) - set(table) if f"# {key} = " in text}
        assert set(table) | in_comments == keys_of(kind), path


def test_numbers_of_the_example_are_the_defaults() -> None:
    found = tomllib.loads(EXAMPLE.read_text())
    defaults = settings.LimitsTable()
    for key, value in found["limits"].items():
        assert getattr(defaults, key.replace("-", "_")) == value, key
