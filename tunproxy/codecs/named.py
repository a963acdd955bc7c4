"""The codecs that two ends agree on by name: what a request offers, and what an answer chooses.

    CONNECT example.com:443 HTTP/1.1          HTTP/1.1 200 OK
    Tunnel-Codecs: zstd;dict=77, zstd, gzip   Tunnel-Codec: zstd

The client names what it would like, best first; the answer names one of them, as it was offered, or has no
such field: then nothing is done to the stream. After the blank line, both directions go through the codec.

    client   wishes = [Named("zstd"), Named("gzip")]           request: offer(wishes)
    server   chosen = choose(parse(field), settings)            answer: str(chosen), unless it is None
    client   chosen = confirm(wishes, answer field)
    both     codec = make(chosen.name, chosen.parameters, settings), new for each flow

``offered_by(settings)`` are the wishes that one's own settings can meet.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tunproxy.codecs.adaptive import Adaptive
from tunproxy.codecs.dictionary import Dictionary
from tunproxy.codecs.gzip import GzipPacker, GzipUnpacker
from tunproxy.codecs.zstd import ZstdPacker, ZstdUnpacker
from tunproxy.errors import ConfigError, OptionError
from tunproxy.flow.codec import Codec, CodecError

OFFER_FIELD: Final = "Tunnel-Codecs"  # of a request
CHOICE_FIELD: Final = "Tunnel-Codec"  # of its answer

# in the order in which we would rather have them
ZSTD: Final = "zstd"
GZIP: Final = "gzip"
NAMES: Final = (ZSTD, GZIP)
DICT: Final = "dict"  # a parameter of zstd: the number of the dictionary that both ends have

# our choices
MAX_OFFER: Final = 1024  # characters
MAX_WISHES: Final = 16

_WISH: Final = re.compile(r"([a-z][a-z0-9.-]{0,31})((?:\s*;\s*[a-z][a-z0-9-]{0,31}=[A-Za-z0-9._-]{1,64})*)")
_PARAMETER: Final = re.compile(r"([a-z][a-z0-9-]*)=([A-Za-z0-9._-]+)")


@dataclass(frozen=True)
class Named:
    """A codec as it stands in a field: its name, and parameters that both ends must agree on."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "".join([self.name, *(f";{key}={value}" for key, value in self.parameters.items())])


@dataclass(frozen=True)
class CodecSettings:
    """What each end decides for itself: levels, the dictionary that it has, whether secrets are compressed.

    A level is None for the usual one. Raises OptionError for a level that there is not.
    """

    zstd_level: int | None = None
    gzip_level: int | None = None
    dictionary: Dictionary | None = None
    compress_secrets: bool = False

    def __post_init__(self) -> None:
        for name, level, least, most in (
            (ZSTD, self.zstd_level, -7, 19),
            (GZIP, self.gzip_level, 1, 9),
        ):
            if level is not None and not least <= level <= most:
                raise OptionError(f"{name} has no level {level} ({least} to {most})", f"{name}_level")


def make(
    name: str, parameters: Mapping[str, str] | None = None, settings: CodecSettings | None = None
) -> Codec:
    """Return a new codec for one flow, the same at both ends; raises ConfigError for what cannot be had."""
    settings = settings or CodecSettings()
    why = _why_not(Named(name, parameters or {}), settings)
    if why:
        raise ConfigError(why)
    if name == ZSTD:
        dictionary = settings.dictionary if parameters and DICT in parameters else None
        packer = ZstdPacker(settings.zstd_level, dictionary)
        return Adaptive(packer, ZstdUnpacker(dictionary), compress_secrets=settings.compress_secrets)
    return Adaptive(
        GzipPacker(settings.gzip_level), GzipUnpacker(), compress_secrets=settings.compress_secrets
    )


def offered_by(settings: CodecSettings, names: Sequence[str] = NAMES) -> list[Named]:
    """Return what an end with these settings can offer, in the order of names, dictionary first."""
    wishes: list[Named] = []
    for name in names:
        if name == ZSTD and settings.dictionary is not None:
            wishes.append(Named(name, {DICT: str(settings.dictionary.number)}))
        wishes.append(Named(name))
    return wishes


def offer(wishes: Sequence[Named]) -> str:
    """Return the value of ``Tunnel-Codecs``, best first."""
    return ", ".join(str(wish) for wish in wishes)


def parse(value: str) -> list[Named]:
    """Return the codecs of a ``Tunnel-Codecs`` or ``Tunnel-Codec`` field; raises CodecError.

    Names that nobody here knows are no error: whoever chooses passes over them.
    """
    if len(value) > MAX_OFFER:
        raise CodecError(f"the list of codecs is longer than {MAX_OFFER} characters")
    wishes: list[Named] = []
    for text in value.split(","):
        text = text.strip()
        if not text:
            continue  # an empty element of a list is to be ignored (RFC 9110 §5.6.1)
        found = _WISH.fullmatch(text)
        if found is None:
            raise CodecError(f"{text[:40]!r} names no codec (expected a list like 'zstd, gzip')")
        parameters = dict(_PARAMETER.findall(found[2]))
        wishes.append(Named(found[1], parameters))
        if len(wishes) > MAX_WISHES:
            raise CodecError(f"the list names more than {MAX_WISHES} codecs")
    return wishes


def choose(wishes: Sequence[Named], settings: CodecSettings, allowed: Sequence[str] = NAMES) -> Named | None:
    """Return the first wish that these settings, and the names that are allowed, can meet; None for none."""
    return next((wish for wish in wishes if wish.name in allowed and not _why_not(wish, settings)), None)


def confirm(wishes: Sequence[Named], value: str) -> Named | None:
    """Return the codec that an answer chose from wishes, None for none ("" or no field at all).

    Raises CodecError where it chose what was not offered, or more than one.
    """
    chosen = parse(value)
    if not chosen:
        return None
    if len(chosen) > 1 or chosen[0] not in wishes:
        raise CodecError(f"the answer chose the codec {value[:60]!r}, which was not offered")
    return chosen[0]


def _why_not(wish: Named, settings: CodecSettings) -> str:
    """Return why a codec cannot be had, "" where it can."""
    if wish.name not in NAMES:
        return f"there is no codec {wish.name!r} ({', '.join(NAMES)})"
    for key, value in wish.parameters.items():
        if wish.name != ZSTD or key != DICT:
            return f"codec {wish.name!r} has no parameter {key!r}"
        has = settings.dictionary
        if has is None:
            return f"the codec needs the dictionary {value}, and there is none here (set dictionary)"
        if value != str(has.number):
            return f"the codec needs the dictionary {value}, and the one here is {has.number}"
    return ""
