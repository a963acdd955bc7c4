"""Lines of configurations as messages show them."""

import pytest

from tunproxy.control.config.shown import ShownLines, column_in

LINE = 'a = { server = "s", password = "hunter22", q = 2, token = "geheimer", r = 3 }'
SHOWN = 'a = { server = "s", password = ***, q = 2, token = ***, r = 3 }'


def test_secret_is_not_in_the_line_and_the_caret_stays_where_it_was() -> None:
    lines = ShownLines(f"x = 1\n{LINE}")
    for word in ("a =", "server", "password", ", q", "q =", "token", "r =", "3 }", "}"):
        assert lines.line(2, LINE.index(word) + 1) == (SHOWN, SHOWN.index(word) + 1)
    assert lines.line(1, 5) == ("x = 1", 5)
    assert lines.line(2, len(LINE) + 1) == (SHOWN, len(SHOWN) + 1)


def test_place_within_a_secret_is_that_of_its_mask() -> None:
    for word in ('"hunter22', "hunter22", "22"):
        assert column_in(SHOWN, LINE, LINE.index(word) + 1) == SHOWN.index("***") + 1
    assert column_in(SHOWN, LINE, LINE.index("heim") + 1) == SHOWN.rindex("***") + 1
    assert column_in("a = ***", 'a = "xyz"', 9) == 5
    assert column_in("a = ***", 'a = "xyz"', 10) == 8
    assert column_in("a ***", 'b = "xyz"', 9) == 1
    assert column_in("***", "hunter22", 3) == 1


def test_secret_that_goes_on_is_hidden_in_each_line() -> None:
    lines = ShownLines('password = """\nhunter22\nhunter33"""\nq = 1')
    assert [lines.line(number, 1)[0] for number in range(1, 5)] == ["password = ***", "", "", "q = 1"]
    broken = ShownLines('password = """\nhunter22\nhunter33')
    assert "hunter" not in "".join(broken.line(number, 1)[0] for number in range(1, 4))


@pytest.mark.parametrize("number", [0, 3])
def test_line_that_is_not_there_is_empty(number: int) -> None:
    assert ShownLines("a\nb").line(number, 7) == ("", 7)


def test_secret_that_no_key_gives_away_is_hidden_where_it_is_named() -> None:
    lines = ShownLines('users = { bob = "hunter22", q = 1 }', ["", "hunter", "hunter22"])
    assert lines.line(1, 29) == ('users = { bob = "***", q = 1 }', 24)
