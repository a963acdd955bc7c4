"""The keys, their documentation, and that nothing shows secrets."""

import re
import typing
from pathlib import Path

import msgspec
import pytest

from tunproxy.control.config import schema
from tunproxy.control.config.schema import Config, Options
from tunproxy.secret import Secret

ROOT = Path(__file__).resolve().parents[4]
SECTIONS = {
    "The top": schema.Config,
    "[device]": schema.DeviceConfig,
    "[capture]": schema.CaptureConfig,
    "[dns]": schema.DnsConfig,
    "[upstreams.NAME]": schema.UpstreamConfig,
    "[groups.NAME]": schema.GroupConfig,
    "[rule-sets.NAME]": schema.RuleSetConfig,
    "[plugins]": schema.PluginsConfig,
    "[plugins.NAME]": schema.PluginTable,
    "[api]": schema.ApiConfig,
    "[history]": schema.HistoryConfig,
    "[apply]": schema.ApplyConfig,
    "[log]": schema.LogConfig,
}
TABLES = {
    "device",
    "capture",
    "dns",
    "upstreams",
    "groups",
    "rule-sets",
    "plugins",
    "api",
    "history",
    "apply",
    "log",
    "options",
}


def descriptions(kind: type[msgspec.Struct]) -> dict[str, str]:
    hints = typing.get_type_hints(kind, include_extras=True)
    found = {}
    for field in msgspec.structs.fields(kind):
        for meta in getattr(hints[field.name], "__metadata__", ()):
            found[field.encode_name] = meta.description
    return found


def documented() -> dict[str, dict[str, str]]:
    """Return what docs/configuration.md says of each key, by section."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    parts = re.split(r"^## (.*)$", text, flags=re.M)[1:]
    return {
        title: dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", body, re.M))
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }


def test_page_has_a_section_for_each_table() -> None:
    assert list(documented()) == list(SECTIONS)


@pytest.mark.parametrize("title", SECTIONS)
def test_page_says_of_each_key_what_the_schema_says(title: str) -> None:
    expected = {key: text for key, text in descriptions(SECTIONS[title]).items() if key != "options"}
    assert documented()[title] == expected


@pytest.mark.parametrize("kind", SECTIONS.values(), ids=lambda kind: kind.__name__)
def test_every_key_is_described(kind: type[msgspec.Struct]) -> None:
    keys = {field.encode_name for field in msgspec.structs.fields(kind)}
    assert keys - TABLES <= set(descriptions(kind))


def test_struct_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Config().default = "x"  # type: ignore[misc]


def test_options_show_no_values() -> None:
    options = Options({"password": "geheim", "token": Secret("x")})
    assert repr(options) == "Options(password=…, token=…)"
    assert options["password"] == "geheim"
    assert options == Options({"password": "geheim", "token": Secret("x")})
    assert options != Options({})
