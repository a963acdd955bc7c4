"""Places of keys and values in TOML documents; tomllib says what there is to be found."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunproxy.control.config import positions
from tunproxy.control.config.positions import Spot, find_places

ROOT = Path(__file__).resolve().parents[4]

STRANGE = (Path(__file__).parent / "strange.toml").read_text()


def paths_in(value: object, path: positions.Path = ()) -> Iterator[positions.Path]:
    if path:
        yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from paths_in(each, (*path, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from paths_in(each, (*path, number))


@pytest.mark.parametrize(
    "text",
    [
        (ROOT / "pyproject.toml").read_text(),
        (ROOT / "packaging" / "tunproxy.toml").read_text(),
        STRANGE,
        STRANGE.replace("\n", "\r\n"),
        "",
        "a = {}",
    ],
    ids=["pyproject", "example", "strange", "crlf", "empty", "inline"],
)
def test_every_path_of_a_document_has_a_place_and_no_other(text: str) -> None:
    places = find_places(text)
    assert set(places.keys) | set(places.values) == set(paths_in(tomllib.loads(text)))


def test_place_is_where_the_key_and_the_value_begin() -> None:
    places = find_places('x = 1\n[a.b]\n  key = ["one", "two"] # c\n')
    assert places.key(("a", "b")) == Spot(2, 4)
    assert places.key(("a", "b", "key")) == Spot(3, 3)
    assert places.value(("a", "b", "key")) == Spot(3, 9)
    assert places.value(("x",)) == Spot(1, 5)


def test_string_is_exact_where_its_characters_are_those_of_the_text() -> None:
    places = find_places("""a = ["plain", 'literal', "esc\\u0041pe", 3]""")
    assert places.value(("a", 0)) == Spot(1, 7, exact=True)
    assert places.value(("a", 1)) == Spot(1, 16, exact=True)
    assert not places.value(("a", 2)).exact
    assert not places.value(("a", 3)).exact


def test_path_that_is_not_there_is_at_the_nearest_that_is() -> None:
    places = find_places("[a]\nb = 1\n")
    assert places.key(("a", "missing", 3)) == Spot(1, 2)
    assert places.value(("a", "missing")) == Spot(1, 2)
    assert places.key(("nothing",)) == Spot(1, 1)
