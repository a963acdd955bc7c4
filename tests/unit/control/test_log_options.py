"""The command line comes before [log]."""

from collections.abc import Iterator

import pytest

from tunproxy.control.config.schema import LogConfig
from tunproxy.control.log_options import LogOptions
from tunproxy.logs import setup


@pytest.fixture(autouse=True)
def nobody_after_us() -> Iterator[None]:
    yield
    setup.take_down()


@pytest.mark.parametrize(
    ("options", "config", "expected"),
    [
        (LogOptions(), None, "tunproxy: begins\n"),
        (LogOptions(), LogConfig(level="error"), ""),
        (LogOptions(level="notice"), LogConfig(level="error"), "tunproxy: begins\n"),
        (LogOptions(form="console"), LogConfig(format="json"), "tunproxy: begins\n"),
    ],
)
def test_lines_are_as_was_said(
    options: LogOptions, config: LogConfig | None, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    options.set_up(config)
    setup.tell("begins")
    assert capfd.readouterr().err == expected


def test_configuration_chooses_the_form(capfd: pytest.CaptureFixture[str]) -> None:
    LogOptions().set_up(LogConfig(format="json"))
    setup.tell("begins")
    assert '"message": "begins"' in capfd.readouterr().err
