"""Statuses as Clash writes them."""

import pytest

from tunproxy.control.clash.refusals import Refusal
from tunproxy.control.clash.statuses import statuses_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("*", None),
        ("204", [204]),
        ("200/204", [200, 204]),
        ("200-202,204", [200, 201, 202, 204]),
        (" 200-201 / 201", [200, 201]),
        ("100-599", list(range(100, 600))),
    ],
)
def test_statuses_are_read(text: str, expected: list[int] | None) -> None:
    assert statuses_of(text) == expected


@pytest.mark.parametrize(
    "text",
    ["x", "20", "2000", "600", "099", "-", "200-", "-200", "204-200", "200//204", "\u0662\u0660\u0660"],
)
def test_what_is_no_status_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="Body invalid"):
        statuses_of(text)


def test_more_ranges_than_anybody_needs_are_refused() -> None:
    assert len(statuses_of(",".join(["200"] * 28)) or ()) == 1
    with pytest.raises(Refusal):
        statuses_of(",".join(["200"] * 29))
