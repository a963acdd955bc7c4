"""Text cut into lines."""

import pytest

from tunproxy.rules.model import RuleError
from tunproxy.rulesets.lines import lines_of, only_patterns, split, split_comment, text_pieces


def test_pieces_are_whole_lines_and_all_of_the_data() -> None:
    data = b"".join(b"name-%d.example\n" % number for number in range(50_000)) + b"last"
    pieces = list(text_pieces(data, "x"))
    assert len(pieces) > 5
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])


def test_lines_are_stripped_and_numbered() -> None:
    assert list(lines_of(b"\xef\xbb\xbf a \r\n\nb", "x")) == [(1, "a"), (2, ""), (3, "b")]
    assert list(lines_of(b"", "x")) == []


def test_binary_data_is_an_error() -> None:
    with pytest.raises(RuleError, match="not a text file"):
        list(lines_of(b"a\0b", "x"))


def test_line_without_end_and_bad_utf8_are_marked() -> None:
    assert split(b"a" * 100_000 + b"\nb\xff\n")[1] == "b\ufffd"
    assert "\ufffd" in split(b"a" * 100_000)[0]


@pytest.mark.parametrize(
    "piece", [b"a..b\n", b"a.\n", b"a.", b"a.\r\n", b"A\n", b"a#\n", b"a b\n", b"\xff\n", b"a/b\n"]
)
def test_piece_with_anything_to_look_at_is_not_plain(piece: bytes) -> None:
    assert not only_patterns(piece)


def test_plain_piece() -> None:
    assert only_patterns(b"+.a.com\r\n.b-c.org\n\n*.d_e.net\n")


@pytest.mark.parametrize("line", ["a # b", "a\t# b", "a #", "a"])
def test_comment_is_cut_off(line: str) -> None:
    assert split_comment(line) == "a"
    assert split_comment("a#b") == "a#b"
