"""What a supervisor writes down."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.control.generations.kept import store_in
from tests.unit.control.policies import sources_of, written
from tunproxy.control.config.sources import Sources
from tunproxy.control.generations.book import Book
from tunproxy.control.generations.contents import OnDisk, config_of, contents_of
from tunproxy.control.generations.record import ASIDE, FAILED, HEALTHY, TRIAL
from tunproxy.control.generations.store import StoreError


def sources(folder: Path, text: str) -> Sources:
    return sources_of(written(folder, text))


def book(folder: Path, **options: str) -> Book:
    return Book(store_in(folder), options, dict)


def test_start_with_the_same_is_no_other_generation(tmp_path: Path) -> None:
    text = sources(tmp_path, 'default = "DIRECT"\n')
    for _ in range(2):
        one = book(tmp_path)
        assert asyncio.run(one.begin(text)) == ""
        assert one.number == 1
    other = book(tmp_path, rules="/x")
    asyncio.run(other.begin(text))
    assert other.number == 2, "options are a part of it"
    assert [(each.by, each.state) for each in other.store.find().generations] == [("start", HEALTHY)] * 2


def test_start_with_what_was_taken_back_is_told(tmp_path: Path) -> None:
    one, good = book(tmp_path), sources(tmp_path, "")
    asyncio.run(one.begin(good))
    before = one.running
    bad = sources(tmp_path, 'default = "REJECT"\n')
    assert asyncio.run(one.applied(bad, "save")) == 2
    asyncio.run(one.went_back(before, "nothing worked"))
    assert (one.number, one.store.find().get(2).state) == (1, FAILED)
    warning = asyncio.run(book(tmp_path).begin(bad))
    assert warning == "this configuration was taken back as generation 2: nothing worked"
    assert asyncio.run(book(tmp_path).begin(good)) == ""


def test_choices_are_those_of_when_it_ran_last(tmp_path: Path) -> None:
    choices = {"g": "one"}
    one = Book(store_in(tmp_path), {}, lambda: choices)
    asyncio.run(one.begin(sources(tmp_path, "")))
    choices["g"] = "two"
    asyncio.run(one.applied(sources(tmp_path, 'default = "REJECT"\n'), "save"))
    assert [each.choices for each in one.store.find().generations] == [{"g": "two"}] * 2


def test_generation_that_somebody_has_deleted_is_kept_anew(tmp_path: Path) -> None:
    one, text = book(tmp_path), sources(tmp_path, "")
    asyncio.run(one.begin(text))
    (one.store.folder / "1.json").unlink()
    asyncio.run(one.applied(text, "SIGHUP"))
    assert [each.by for each in one.store.find().generations] == ["SIGHUP"]


def test_files_are_set_aside(tmp_path: Path) -> None:
    one, text = book(tmp_path), sources(tmp_path, "")
    asyncio.run(one.begin(text))
    new = sources(tmp_path, 'default = "REJECT"\n')
    made = asyncio.run(one.aside(OnDisk(config_of(new), contents_of(new), "wrong\nin line 3"), "before undo"))
    assert (made.number, made.state, made.why, one.number) == (2, ASIDE, "wrong", 1)


def test_what_cannot_be_kept_is_a_problem_and_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = book(tmp_path)
    text = sources(tmp_path, "")
    (tmp_path / "generations").write_text("in the way")
    asyncio.run(one.begin(text))
    asyncio.run(one.mark(1, TRIAL))
    asyncio.run(one.applied(text, "save"))
    assert (one.number, len(caplog.records)) == (0, 1)
    assert one.problem.startswith("cannot write into")
    with pytest.raises(StoreError):
        asyncio.run(one.aside(OnDisk("", {}), "undo"))
