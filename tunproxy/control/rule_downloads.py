"""Files of rule sets, from where the configuration says: downloaded, looked at, put in place of the old ones.

What cannot be used stays away: a file that is broken, cut off, or mostly no rules, such as the page of a
captive portal. The old file is there until the new one is whole, so that a tunproxy that runs takes either.
"""

import contextlib
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from typing import Final
from urllib.parse import urlsplit

from tunproxy.control.config.schema import Config, RuleSetConfig
from tunproxy.control.config.sets import SetCache, Sets
from tunproxy.control.writing import replace_file
from tunproxy.errors import ConfigError, TunproxyError
from tunproxy.progress import Progress
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.files import MAX_FILE

# our choices
PATIENCE: Final = 30.0  # seconds without an octet
LONGEST: Final = 900.0  # seconds that one download may take
PART: Final = 1 << 16  # octets between two looks at the clock
NOT_MODIFIED: Final = 304


class DownloadError(TunproxyError):
    """A file cannot be downloaded, or not be used."""


@dataclass(frozen=True)
class Update:
    """What became of a file: its size in octets, whether it is new, and how many entries cannot be read."""

    octets: int
    is_new: bool
    skipped: int = 0


def chosen(config: Config, names: Sequence[str]) -> Mapping[str, RuleSetConfig]:
    """Return the rule sets called names, or all that have a URL; raises ConfigError."""
    for name in names:
        if name not in config.rule_sets:
            known = ", ".join(config.rule_sets) or "none"
            raise ConfigError(f"there is no rule set {name!r} (there are: {known})")
        if not config.rule_sets[name].url:
            raise ConfigError(f"[rule-sets.{name}] has no url to update it from")
    found = {
        name: each for name, each in config.rule_sets.items() if name in names or (not names and each.url)
    }
    if not found:
        raise ConfigError('no rule set has a url (write url = "https://…" in [rule-sets.NAME])')
    return found


def update(name: str, config: RuleSetConfig, progress: Progress) -> Update:
    """Bring the file of one rule set up to date.

    A server that says that nothing has changed since the file's date is believed. Raises DownloadError where
    it cannot be had or used, ConfigError where it cannot be written.
    """
    progress.begins(f"downloading {name}")
    try:
        found = _fetch(name, config, progress)
    except urllib.error.HTTPError as error:
        error.close()  # which is the answer as well
        if error.code == NOT_MODIFIED:
            return Update(os.stat(config.path).st_size, is_new=False)
        raise _failed(name, config, f"the server says {error.code} {error.reason}".rstrip()) from None
    except urllib.error.URLError as error:
        raise _failed(name, config, _words(error.reason)) from None
    except (OSError, HTTPException, ValueError) as error:
        raise _failed(name, config, _words(error)) from None
    data, date = found
    progress.begins(f"reading {name}")
    skipped = _looked_at(name, config, data)
    is_new = _octets(config.path) != data
    if is_new:
        replace_file(config.path, data)
    if date:
        with contextlib.suppress(OSError):  # then it is asked for whole again
            os.utime(config.path, (time.time(), date))
    return Update(len(data), is_new, skipped)


def _fetch(name: str, config: RuleSetConfig, progress: Progress) -> tuple[bytes, float]:
    """Return what a URL leads to, and of when it is, 0 where nobody says; raises what urllib raises."""
    parts = urlsplit(config.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("it is no URL of http or https")
    headers = {"User-Agent": "tunproxy"}
    with contextlib.suppress(OSError):
        headers["If-Modified-Since"] = formatdate(os.stat(config.path).st_mtime, usegmt=True)
    ends_at = time.monotonic() + LONGEST
    with _opener().open(urllib.request.Request(config.url, headers=headers), timeout=PATIENCE) as answer:
        assert isinstance(answer, HTTPResponse)
        length = answer.length  # what is left, None where nobody says
        if length is not None and length > MAX_FILE:
            raise ValueError(f"the file has more than {MAX_FILE} octets")
        progress.begins(f"downloading {name}", length)  # the URL may have a secret in it
        data = bytearray()
        while part := answer.read(PART):
            data += part
            progress.advance(len(part))
            if len(data) > MAX_FILE:
                raise ValueError(f"the file has more than {MAX_FILE} octets")
            if time.monotonic() > ends_at:
                raise TimeoutError(f"not done within {LONGEST:g} s")
        if length is not None and len(data) != length:
            raise ValueError(f"it was cut off after {len(data)} of {length} octets")
        return bytes(data), _date(answer.headers.get("Last-Modified", ""))


def _opener() -> urllib.request.OpenerDirector:
    """Return what speaks HTTP, through the proxy that the environment names, and nothing else: no file:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _looked_at(name: str, config: RuleSetConfig, data: bytes) -> int:
    """Return how many entries cannot be read; raises DownloadError where the file is not to be used."""
    try:
        content = Sets({name: config}, {config.path: data}, SetCache()).check(name)
    except RuleError as error:
        raise _failed(name, config, f"what came cannot be used: {error.message}") from None
    if content is None:
        return 0
    if content.tries:  # packed: whoever has put them there, they are rules
        return len(content.skipped)
    names = (content.exact, content.suffix, content.below, content.wildcard, content.keyword, content.regex)
    entries = sum(len(each) for each in names) + len(content.ranges) + len(content.conditions)
    skipped = content.skipped
    if not entries and not skipped:
        raise _failed(name, config, "what came cannot be used: there is nothing in it")
    if len(skipped) >= entries:
        raise _failed(
            name, config, f"what came cannot be used: {len(skipped)} entries are none ({skipped[0][1]})"
        )
    return len(skipped)


def _octets(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _date(text: str) -> float:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _failed(name: str, config: RuleSetConfig, why: str) -> DownloadError:
    stays = "; the old file stays" if os.path.exists(config.path) else ""
    return DownloadError(f"rule set {name}: {why}{stays}")


def _words(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror).lower()
    return str(error) or type(error).__name__
