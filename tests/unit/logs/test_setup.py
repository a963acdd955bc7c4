"""Where lines go."""

import json
import logging
import os
import warnings
from collections.abc import Iterator

import pytest

from tunproxy.logs import setup
from tunproxy.logs.about import about
from tunproxy.logs.stderr import StderrHandler

log = logging.getLogger("tunproxy.test")


@pytest.fixture(autouse=True)
def nobody_after_us() -> Iterator[None]:
    yield
    setup.take_down()


def test_console_is_as_it_was_before(capfd: pytest.CaptureFixture[str]) -> None:
    setup.tell("early")
    setup.set_up("console")
    setup.tell("it begins", upstream="work")
    log.warning("%s is slow", "work", extra=about(upstream="work"))
    log.info("not for here")
    assert capfd.readouterr() == ("", "tunproxy: early\ntunproxy: it begins\nwork is slow\n")


def test_level_decides_what_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    setup.set_up("console", "error")
    setup.tell("it begins")
    setup.tell("it is over", logging.ERROR)
    log.warning("slow")
    setup.set_up("console", "debug")
    log.debug("every step")
    logging.getLogger("another").info("library")
    logging.getLogger("another").warning("library, loud")
    assert capfd.readouterr().err == "tunproxy: it is over\nevery step\nlibrary, loud\n"


def test_who_looks_at_more_adds_nothing_here(capfd: pytest.CaptureFixture[str]) -> None:
    setup.set_up("console")
    logging.getLogger("tunproxy").setLevel(logging.DEBUG)  # as control.helm's log_ring does
    log.debug("every step")
    assert capfd.readouterr().err == ""


def test_json_has_fields_and_the_worker(capfd: pytest.CaptureFixture[str]) -> None:
    setup.set_up("json")
    setup.tell("it begins", rule=3)
    setup.in_worker(2)
    log.warning("slow", extra=about(upstream="work"))
    warnings.warn("old", UserWarning, stacklevel=1)
    told, slow, old = map(json.loads, capfd.readouterr().err.splitlines())
    assert (told["level"], told["message"], told["rule"]) == ("notice", "it begins", "3")
    assert (slow["worker"], slow["upstream"], slow["logger"]) == ("2", "work", "tunproxy.test")
    assert "UserWarning: old" in old["message"]
    assert "worker" not in told


def test_journal_that_is_not_there_is_standard_error_with_priorities(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(common: dict[str, str]) -> object:
        raise FileNotFoundError("there is no journal")

    monkeypatch.setattr(setup, "JournalHandler", absent)
    monkeypatch.setattr(setup, "_KINDS", (StderrHandler,))
    setup.set_up("journal")
    setup.tell("it begins")
    log.error("bad")
    assert capfd.readouterr().err == "<5>tunproxy: it begins\n<3>bad\n"


def test_auto_is_a_console_unless_systemd_takes_standard_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    setup.set_up("auto")
    setup.tell("one")
    assert capfd.readouterr().err == "tunproxy: one\n"
    monkeypatch.setattr(setup, "is_stderr", lambda: True)
    monkeypatch.setattr(setup, "_made", lambda form, names_all: chosen.append(form) or StderrHandler(
        logging.Formatter(), {}
    ))  # fmt: skip
    chosen: list[str] = []
    setup.set_up("auto")
    assert chosen == ["journal"]


def test_forked_process_says_a_line_once(capfd: pytest.CaptureFixture[str]) -> None:
    setup.set_up("console")
    pid = os.fork()
    if pid == 0:
        setup.tell("from a child")
        os._exit(0)
    os.waitpid(pid, 0)
    assert capfd.readouterr().err == "tunproxy: from a child\n"


def test_set_up_twice_writes_once(capfd: pytest.CaptureFixture[str]) -> None:
    setup.set_up("json")
    setup.set_up("console", names_all=True)
    setup.tell("once")
    assert capfd.readouterr().err == "tunproxy: once\n"


def test_usual_level_leaves_what_others_hear_alone(caplog: pytest.LogCaptureFixture) -> None:
    setup.set_up("console")
    with caplog.at_level(logging.INFO):
        log.info("heard")
    assert caplog.messages == ["heard"]
