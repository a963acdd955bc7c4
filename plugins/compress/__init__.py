"""Compression: the codecs ``zstd`` and ``gzip``, and a command that trains dictionaries."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tunproxy.plugin.api import (
    Codec,
    CodecType,
    Command,
    OptionError,
    OptionFile,
    hookimpl,
    named_codecs,
    zstd_dictionaries,
)


@dataclass(frozen=True, kw_only=True)
class ZstdOptions:
    """level is from -7, the quickest, to 19; dictionary is a file that both ends have."""

    level: int = 1
    dictionary: OptionFile | None = None
    compress_secrets: bool = False


@dataclass(frozen=True, kw_only=True)
class GzipOptions:
    """level is from 1, the quickest, to 9."""

    level: int = 6
    compress_secrets: bool = False


@hookimpl
def contribute_codecs() -> list[CodecType]:
    """Contribute ``zstd`` and ``gzip``."""
    return [
        CodecType("zstd", ZstdOptions, _settled(_of_zstd), compresses=True),
        CodecType("gzip", GzipOptions, _settled(_of_gzip), compresses=True),
    ]


@hookimpl
def contribute_commands() -> list[Command]:
    """Contribute ``compress``, with ``compress train``."""
    from .training import app  # only the command line needs it

    return [Command("compress", app)]


Agreed = tuple[named_codecs.Named, named_codecs.CodecSettings]


def _settled(settings_of: Callable[[Any], Agreed]) -> Callable[[Any], Codec]:
    """Return what makes codecs, and reads a dictionary once for all flows of a policy."""
    settled: dict[Any, Agreed] = {}

    def make(options: Any) -> Codec:
        found = settled.get(options)
        if found is None:
            found = settled[options] = settings_of(options)
        name, settings = found
        return named_codecs.make(name.name, name.parameters, settings)

    return make


def _of_zstd(options: ZstdOptions) -> Agreed:
    file = options.dictionary
    dictionary = None if file is None else zstd_dictionaries.Dictionary(file.data, file.path)
    settings = _settings(
        zstd_level=options.level, dictionary=dictionary, compress_secrets=options.compress_secrets
    )
    return named_codecs.offered_by(settings, ["zstd"])[0], settings


def _of_gzip(options: GzipOptions) -> Agreed:
    settings = _settings(gzip_level=options.level, compress_secrets=options.compress_secrets)
    return named_codecs.Named("gzip"), settings


def _settings(**values: Any) -> named_codecs.CodecSettings:
    """Return the settings; only the level, which is called so here, may be one that there is not."""
    try:
        return named_codecs.CodecSettings(**values)
    except OptionError as error:
        raise OptionError(str(error), "level") from error
