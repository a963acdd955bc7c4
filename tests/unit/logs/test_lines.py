"""Lines for programs are JSON, one object each, whatever is in them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.logs.records import failure, record
from tunproxy.logs.about import about
from tunproxy.logs.lines import json_formatter


def test_line_says_when_what_and_about_what() -> None:
    common = {"worker": "1"}
    formatter = json_formatter(common)
    made = record("%s is slow", "work", **about(upstream="work"))
    assert json.loads(formatter.format(made)) == {
        "time": "2023-11-14T22:13:20.250000Z",
        "level": "warning",
        "logger": "tunproxy.upstream.proxy",
        "message": "work is slow",
        "worker": "1",
        "upstream": "work",
    }
    common["worker"] = "2"  # as after a fork
    assert json.loads(formatter.format(record()))["worker"] == "2"


def test_exception_is_in_the_same_line() -> None:
    text = json_formatter({}).format(record("bad", exc_info=failure()))
    assert "\n" not in text
    found = json.loads(text)
    assert found["message"] == "bad"
    assert found["exception"].startswith("Traceback (most recent call last):")
    assert found["exception"].endswith("ValueError: one\ntwo")


@given(st.text(st.characters(), max_size=20))  # lone surrogates, too, as names of files have them
def test_any_name_leaves_one_line_of_ascii(name: str) -> None:
    text = json_formatter({}).format(record("%s", name, **about(upstream=name)))
    assert text.isascii()
    assert len(text.splitlines()) == 1
    assert json.loads(text)["message"] == name
