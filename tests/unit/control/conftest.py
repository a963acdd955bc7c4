"""Workers of these tests have time to answer, however long the machine stands still."""

import pytest


@pytest.fixture(autouse=True)
def patient_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunproxy.control import questions  # not before it is known which tree

    monkeypatch.setattr(questions, "ANSWER_SECONDS", 20.0)
