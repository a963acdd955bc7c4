"""A finding as JSON."""

from tunproxy.doctor.finding import Finding, State


def test_finding_has_all_its_keys_in_json() -> None:
    assert Finding("a", State.ODD, "b", ("c",), "d").to_json() == {
        "subject": "a",
        "state": "odd",
        "says": "b",
        "evidence": ["c"],
        "mend": "d",
    }
