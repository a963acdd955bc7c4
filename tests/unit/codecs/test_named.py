"""What two ends agree on by name."""

import pytest

from tests.unit.codecs.streams import decoded, encoded, json_lines
from tunproxy.codecs.dictionary import Dictionary, train
from tunproxy.codecs.named import CodecSettings, Named, choose, confirm, make, offer, offered_by, parse
from tunproxy.errors import ConfigError
from tunproxy.flow.codec import CodecError


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return train([json_lines(3, seed) for seed in range(100)], 2048)


def test_offer_is_read_as_it_was_meant(dictionary: Dictionary) -> None:
    wishes = offered_by(CodecSettings(dictionary=dictionary))
    number = str(dictionary.number)
    assert offer(wishes) == f"zstd;dict={number}, zstd, gzip"
    assert parse(offer(wishes)) == wishes
    assert offered_by(CodecSettings(), ["gzip"]) == [Named("gzip")]


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", []),
        (" , ,", []),
        ("gzip", ["gzip"]),
        ("  zstd ;dict=7;level=x ,br", ["zstd;dict=7;level=x", "br"]),
        ("zstd; dict=7", ["zstd;dict=7"]),
    ],
)
def test_field_is_parsed(value: str, names: list[str]) -> None:
    assert [str(wish) for wish in parse(value)] == names


@pytest.mark.parametrize(
    "value", ["ZSTD", "zstd;", "zstd;dict", "zstd;dict=", "zstd;dict=a b", "é", "a\nb", "-", "z" * 40]
)
def test_field_that_is_none_is_told(value: str) -> None:
    with pytest.raises(CodecError, match="names no codec"):
        parse(value)


def test_field_without_end_is_told() -> None:
    with pytest.raises(CodecError, match="longer than 1024"):
        parse("gzip," * 1000)
    with pytest.raises(CodecError, match="more than 16"):
        parse("gzip," * 17)


def test_first_wish_that_can_be_met_is_chosen(dictionary: Dictionary) -> None:
    with_it, without = CodecSettings(dictionary=dictionary), CodecSettings()
    wishes = parse(f"br, zstd;dict={dictionary.number}, zstd, gzip")
    assert str(choose(wishes, with_it)) == f"zstd;dict={dictionary.number}"
    assert str(choose(wishes, without)) == "zstd"
    assert str(choose(wishes, with_it, ["gzip"])) == "gzip"
    assert choose(parse("br, zstd;dict=1, gzip;dict=1, zstd;level=1"), with_it) is None
    assert choose([], without) is None


def test_answer_must_be_one_of_the_wishes() -> None:
    wishes = [Named("zstd", {"dict": "7"}), Named("gzip")]
    assert confirm(wishes, "") is None
    assert confirm(wishes, "gzip") == Named("gzip")
    assert confirm(wishes, "zstd;dict=7") == wishes[0]
    for value in ("zstd", "zstd;dict=8", "gzip, gzip", "br"):
        with pytest.raises(CodecError, match="was not offered"):
            confirm(wishes, value)


@pytest.mark.parametrize(("ours", "theirs"), [("zstd", "zstd"), ("gzip", "gzip")])
def test_both_ends_understand_each_other(ours: str, theirs: str) -> None:
    words = encoded(make(ours, settings=CodecSettings(zstd_level=5, gzip_level=1)), [json_lines(100)])
    assert decoded(make(theirs), words) == json_lines(100)


def test_dictionary_is_used_where_both_agreed_on_it(dictionary: Dictionary) -> None:
    settings = CodecSettings(dictionary=dictionary)
    agreed = {"dict": str(dictionary.number)}
    message = json_lines(1, 99)
    words = encoded(make("zstd", agreed, settings), [message])
    assert len(words) < len(encoded(make("zstd", {}, settings), [message]))
    assert decoded(make("zstd", agreed, settings), words) == message
    with pytest.raises(CodecError, match="needs the dictionary"):
        decoded(make("zstd"), words)


@pytest.mark.parametrize(
    ("name", "parameters", "why"),
    [
        ("br", {}, "there is no codec 'br' (zstd, gzip)"),
        ("zstd", {"dict": "7"}, "needs the dictionary 7, and there is none here"),
        ("zstd", {"level": "7"}, "has no parameter 'level'"),
        ("gzip", {"dict": "7"}, "has no parameter 'dict'"),
    ],
)
def test_what_cannot_be_had_is_told(name: str, parameters: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make(name, parameters)
    assert why in str(raised.value)


def test_other_dictionary_is_told(dictionary: Dictionary) -> None:
    with pytest.raises(ConfigError, match=f"the one here is {dictionary.number}"):
        make("zstd", {"dict": "7"}, CodecSettings(dictionary=dictionary))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"zstd_level": 20}, "zstd has no level 20"),
        ({"zstd_level": -8}, "-8"),
        ({"gzip_level": 0}, "gzip has no"),
    ],
)
def test_level_that_there_is_not_is_told(settings: dict[str, int], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        CodecSettings(**settings)


def test_secrets_are_compressed_only_where_it_is_set() -> None:
    secret = b"GET / HTTP/1.1\r\nCookie: x\r\n\r\n" * 50
    assert len(encoded(make("zstd"), [secret])) > len(secret)
    assert len(encoded(make("zstd", settings=CodecSettings(compress_secrets=True)), [secret])) < 100
