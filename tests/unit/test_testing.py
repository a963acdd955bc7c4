"""What authors test with is there, and the examples on their page pass."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tunproxy import testing
from tunproxy.plugin.api import REJECT, Facts
from tunproxy.testing import FlowClosed, PluginRunner, make_facts, make_flow

DOCS = Path(__file__).resolve().parents[2] / "docs" / "plugin-authors.md"
MODULES = dict(re.findall(r'^```python\n("""(?:\w+)\.py: .*?)^```$()', DOCS.read_text(), re.M | re.S))
NAMES = {source[3:].partition(".py")[0]: source for source in MODULES}


def write(name: str, folder: Path) -> Path:
    path = folder / f"{name}.py"
    path.write_text(NAMES[name])
    return path


def test_every_name_exists_and_is_on_the_page() -> None:
    assert len(set(testing.__all__)) == len(testing.__all__)
    for name in testing.__all__:
        assert hasattr(testing, name)
        assert re.search(rf"^\| .*`{name}\b.* \|", DOCS.read_text(), re.M), name


@pytest.mark.parametrize(
    ("test", "plugin", "count"), [("test_no_http", "no_http", 2), ("test_polite", "polite", 5)]
)
def test_example_of_a_test_passes(test: str, plugin: str, count: int, tmp_path: Path) -> None:
    write(plugin, tmp_path)
    path = write(test, tmp_path)
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", path.name]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert f"{count} passed" in ended.stdout, ended.stdout


def test_codec_example_turns_text_around_and_back(tmp_path: Path) -> None:
    with PluginRunner(write("rot13", tmp_path)) as plugin:
        codec = plugin.codecs()["rot13"].build({})
        assert codec.encode(b"Hello\r\n\xff") == b"Uryyb\r\n\xff"
        assert codec.decode(b"Uryyb") == b"Hello"


def test_resolver_example_knows_its_names(tmp_path: Path) -> None:
    with PluginRunner(write("racks", tmp_path)) as plugin:
        assert plugin.resolve("racks", "r3-u12.lab") == ("10.77.3.12",)
        assert plugin.resolve("racks", "www.example.org") == ()


def test_rule_example_counts_letters(tmp_path: Path) -> None:
    with PluginRunner(write("long_names", tmp_path)) as plugin:
        rule = plugin.rule("HOST-LONGER", "15")
        assert rule.match(make_facts(make_flow("tcp", "10.0.0.2", "www.example.org:443"))) is False
        assert rule.match(make_facts(make_flow("tcp", "10.0.0.2", "www2.example.org:443"))) is True
        unknown: Facts = make_facts(make_flow("tcp", "10.0.0.2", "192.0.2.1:443"))
        assert rule.match(unknown) is None
        with pytest.raises(ValueError, match="invalid literal"):
            plugin.rule("HOST-LONGER", "many")


def test_route_example_counts_flows(tmp_path: Path) -> None:
    with PluginRunner(write("seen", tmp_path)) as plugin:
        flow = make_flow("tcp", "10.0.0.2", "www.example.org:443")
        plugin.tell_closed(FlowClosed(1, flow, "work", 1_700_000_000.0, 1.0, 2, 3, "closed"))
        assert json.loads(plugin.request("GET", "/counts").text) == {"work": 1}


def test_command_example_greets(tmp_path: Path) -> None:
    with PluginRunner(write("greet", tmp_path)) as plugin:
        assert CliRunner().invoke(plugin.commands()["greet"].app, ["you"]).stdout == "hello you\n"


def test_coroutine_example_of_a_decision_asks_once(tmp_path: Path) -> None:
    with PluginRunner(write("ask_first", tmp_path)) as plugin:
        verdict = plugin.decide(make_flow("tcp", "10.0.0.2", "bad.example:443"))
        assert verdict is not None
        assert verdict.kind == REJECT
        assert plugin.loop.clock.now == pytest.approx(0.2)
        assert plugin.decide(make_flow("tcp", "10.0.0.2", "bad.example:80")) is not None
        assert plugin.loop.clock.now == pytest.approx(0.2)
        assert plugin.decide(make_flow("tcp", "10.0.0.2", "good.example.org:80")) is None


def test_observer_example_notes_banners(tmp_path: Path) -> None:
    with PluginRunner(write("banners", tmp_path)) as plugin:
        flow = make_flow("tcp", "10.0.0.2", "mail.example.org:25")
        assert plugin.observe(flow, up=[b"EHLO"], down=[b"220 mail", b".example.org\r\n250 ok"])
        assert not plugin.observe(make_flow("tcp", "10.0.0.2", "www.example.org:443"), up=[b"x"])
        module = plugin._plugins.loaded[0].plugin
        assert module.banners == {"mail.example.org": "220 mail.example.org"}  # type: ignore[attr-defined]
