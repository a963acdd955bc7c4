"""Explaining by a policy, or by files alone."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from tests.unit.control.policies import plugins_for, sources_of, written
from tunproxy.control import explaining
from tunproxy.control.config.sources import PolicyOptions
from tunproxy.control.explaining import answer, explain_by_files, explainer_of, owner_called
from tunproxy.control.policy import build_policy
from tunproxy.decide.question import parse_question
from tunproxy.errors import ConfigError

TEXT = 'rules = ["DOMAIN,a.example,REJECT", "IP-CIDR,192.0.2.0/24,REJECT-DROP"]\n'


async def resolve(name: str) -> list[str]:
    return ["192.0.2.7"] if name == "b.example" else []


def test_policy_explains_questions(tmp_path: Path) -> None:
    sources = sources_of(written(tmp_path, TEXT))
    explainer = explainer_of(build_policy(sources, plugins_for(sources)), resolve=resolve)

    def explained(target: str) -> tuple[str, int | None]:
        document = asyncio.run(answer(explainer, parse_question(target).to_json()))
        rule = document["verdict"]["rule"]
        return document["verdict"]["kind"], rule["number"] if rule else None

    assert explained("a.example") == ("reject", 1)
    assert explained("b.example") == ("drop", 2)
    assert explained("c.example") == ("dial", None)
    with pytest.raises(ConfigError, match="this is no question"):
        asyncio.run(answer(explainer, [1]))


def test_files_alone_say_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "load_plugins", plugins_for)
    monkeypatch.setattr(explaining, "_host_resolver", resolve)
    path = written(tmp_path, TEXT)
    document = explain_by_files(PolicyOptions(config=str(path)), parse_question("b.example"))
    assert (document["source"], document["verdict"]["kind"]) == (str(path), "drop")


def test_owner_is_a_process_that_runs() -> None:
    found = owner_called(str(os.getpid()))
    assert found is not None
    assert found.uid == os.geteuid()
    assert owner_called("no-such-program-anywhere") is None


def test_name_that_nobody_knows_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    monkeypatch.setattr(explaining, "load_plugins", plugins_for)
    path = written(tmp_path, 'rules = ["IP-CIDR,10.0.0.0/8,REJECT"]\n')
    document = explain_by_files(PolicyOptions(config=str(path)), parse_question("a.example:443"))
    assert "name or service not known" in str(document)
    assert "Errno" not in str(document)


def test_files_tell_which_targets_stay_in_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "load_plugins", plugins_for)
    text = 'rules = ["IP-CIDR,10.0.0.0/8,DIRECT"]\n[capture]\ndirect-lane = {}\n'
    for wanted in ("true", "false"):
        options = PolicyOptions(config=str(written(tmp_path, text.format(wanted))))
        for target, prefix in (("10.1.1.1:80", "10.0.0.0/8"), ("10.1.1.1:53", None), ("192.0.2.1:80", None)):
            found = explain_by_files(options, parse_question(target)).get("kernel_direct")
            assert found == (prefix if wanted == "true" else None)


def test_files_say_which_names_they_know(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "load_plugins", plugins_for)
    monkeypatch.setattr(explaining, "_host_resolver", resolve)
    text = (
        TEXT + '[dns]\nmode = "fake-ip"\nhosts = { "nas.lan" = "192.0.2.9" }\nfake-ip-targets = ["REJECT"]\n'
    )
    options = PolicyOptions(config=str(written(tmp_path, text)))
    found = {}
    for name in ("nas.lan", "a.example", "b.example"):
        document = explain_by_files(options, parse_question(name))
        found[name] = document["inputs"]["name"]["from"], document["verdict"]["kind"]
    assert found == {
        "nas.lan": ("given", "drop"),
        "a.example": ("fake-ip", "reject"),
        "b.example": ("given", "drop"),
    }
