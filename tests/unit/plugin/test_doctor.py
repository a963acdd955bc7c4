"""The doctor examines each plugin in a process of its own."""

import json
from pathlib import Path

import pytest

from tunproxy.control.config.schema import Options
from tunproxy.plugin.discovery import Found, find_file, find_in_folder, find_installed
from tunproxy.plugin.doctor import as_document, diagnose
from tunproxy.plugin.settings import PluginEntry, PluginSettings
from tunproxy.secret import Secret

GOOD = """
from dataclasses import dataclass
from tunproxy.plugin.api import hookimpl
print("hello")

@dataclass
class Options:
    x: int = 0

@hookimpl
def contribute_options():
    return Options

@hookimpl
def decide_flow(info):
    return None
"""


def found(tmp_path: Path, source: str) -> Found:
    path = tmp_path / "p.py"
    path.write_text(source)
    return find_file(path)


def test_diagnose_good_plugin(tmp_path: Path) -> None:
    settings = PluginSettings(plugins={"p": PluginEntry(options={"x": 1})})
    (diagnosis,) = diagnose([found(tmp_path, GOOD)], settings)
    assert diagnosis.hooks == ("contribute_options", "decide_flow")
    assert (diagnosis.problems, diagnosis.remarks) == ((), ())
    assert 0 <= diagnosis.import_seconds < 10
    assert json.loads(json.dumps(as_document(diagnosis)))["name"] == "p"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import nowhere_to_be_found", "it needs nowhere_to_be_found, which is not installed"),
        ("x = (", "p.py:1:5: '(' was never closed"),
        (
            GOOD.replace("decide_flow", "decide_flwo"),
            "there is no hook 'decide_flwo' (did you mean 'decide_flow'?)",
        ),
        (GOOD.replace("x: int", "y: int"), "cannot be configured: no option 'x' (it has: y)"),
        ("\n\n1 / 0", "cannot be imported: ZeroDivisionError: division by zero (p.py:3)"),
        (
            GOOD + "\n@hookimpl\ndef contribute_upstreams():\n    yield 1 / 0",
            "contribute_upstreams failed: ZeroDivisionError: division by zero (p.py:20)",
        ),
        ("import os; os._exit(7)", "ended the process (7): no word"),
    ],
)
def test_diagnose_says_what_is_wrong(source: str, why: str, tmp_path: Path) -> None:
    settings = PluginSettings(plugins={"p": PluginEntry(options={"x": 1})})
    (diagnosis,) = diagnose([found(tmp_path, source)], settings)
    assert why in "; ".join(diagnosis.problems)


def test_diagnose_gives_a_plugin_its_options_as_they_are(tmp_path: Path) -> None:
    source = """
from collections.abc import Mapping
from dataclasses import dataclass
from tunproxy.plugin.api import ConfigError, Secret, hookimpl

@dataclass(frozen=True)
class Options:
    token: Secret
    names: Mapping[str, str]

@hookimpl
def contribute_options():
    return Options

@hookimpl
def contribute_upstreams(options):
    if options.token.reveal() != "a secret":
        raise ConfigError("another token")
    if options.names != {"nas.lab": "10.0.0.1"}:
        raise ConfigError("other names")
"""
    options = Options({"token": Secret("a secret"), "names": Options({"nas.lab": "10.0.0.1"})})
    settings = PluginSettings(plugins={"p": PluginEntry(options=options)})
    (diagnosis,) = diagnose([found(tmp_path, source)], settings)
    assert (diagnosis.problems, len(diagnosis.hooks)) == ((), 2)


@pytest.mark.parametrize("name", ["header_host", "log"])
def test_diagnose_imports_an_optional_plugin_that_is_turned_on(name: str) -> None:
    settings = PluginSettings(plugins={name: PluginEntry()})
    wanted = [each for each in find_installed(settings) if each.name == name]
    (diagnosis,) = diagnose(wanted, settings)
    assert diagnosis.hooks
    assert (diagnosis.problems, diagnosis.remarks) == ((), ())


def test_diagnose_names_everything_that_is_wrong(tmp_path: Path) -> None:
    source = "from tunproxy.plugin.api import hookimpl\n"
    for hook in ("upstreams", "codecs", "rule_kinds", "routes", "commands"):
        source += f"@hookimpl\ndef contribute_{hook}(): return 5\n"
    (diagnosis,) = diagnose([found(tmp_path, source)])
    assert len(diagnosis.problems) == 5, diagnosis.problems


def test_diagnose_plugin_that_does_not_end_is_given_up(tmp_path: Path) -> None:
    (diagnosis,) = diagnose([found(tmp_path, "while True: pass")], time_limit=1.0)
    assert diagnosis.problems == ("is not imported after 1 s",)


def test_diagnose_remarks_on_a_module_without_hooks(tmp_path: Path) -> None:
    (diagnosis,) = diagnose([found(tmp_path, "def decide_flow(info): pass")])
    assert diagnosis.remarks == ("implements no hook (is @hookimpl missing?)",)


def test_diagnose_does_not_import_what_the_user_does_not_want(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text("raise SystemExit")
    settings = PluginSettings(folder=tmp_path, deny=frozenset({"p"}))
    (diagnosis,) = diagnose(find_in_folder(settings), settings)
    assert diagnosis.problems == ()
    assert diagnosis.remarks == ("denied (plugins.deny)",)
