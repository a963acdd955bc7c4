"""Secrets are shown to nobody who does not ask for them by name."""

import json

import pytest

from tunproxy.secret import Secret


def test_secret_reveals_itself_only_when_asked() -> None:
    secret = Secret("swordfish")
    assert secret.reveal() == "swordfish"
    assert "swordfish" not in f"{secret} {secret!r} {[secret]} {secret!s:>20}"
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_secret_compares_by_value_and_is_true_when_there_is_one() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert Secret("a")
    assert not Secret("")
