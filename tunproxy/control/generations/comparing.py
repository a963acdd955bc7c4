"""What is other between two configurations, as a unified diff, file by file; secrets are masked."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tunproxy.control.generations.contents import HIDDEN, RULE_SET, Contents, FileState
from tunproxy.control.masking import masked_lines

# our choices
CONTEXT: Final = 3  # lines around a change
MOST_LINES: Final = 5000  # of a file that is compared line by line
MOST_LETTERS: Final = 300  # of a line
MOST_SHOWN: Final = 10_000  # lines of a diff
NOWHERE: Final = "/dev/null"


@dataclass(frozen=True)
class Side:
    """One of two configurations. lost are files of its that are not kept, with what is known of them."""

    name: str
    contents: Contents
    lost: Mapping[str, str] = field(default_factory=dict)  # digests by path
    options: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, str] = field(default_factory=dict)


def compare(old: Side, new: Side, *, with_secrets: bool = False) -> list[str]:
    """Return the lines of a diff from old to new; none where nothing is other."""
    found: list[str] = []
    paths = sorted({*old.contents, *new.contents, *old.lost, *new.lost})
    for path in paths:
        found += _file(path, old, new, with_secrets=with_secrets)
    for name, first, second in (
        ("command line", old.options, new.options),
        ("group selections", old.choices, new.choices),
    ):
        lines = [_pairs(each) for each in (first, second)]
        found += _diff(f"{old.name}: {name}", f"{new.name}: {name}", *lines, *lines)
    if len(found) > MOST_SHOWN:
        found = [*found[:MOST_SHOWN], f"… and {len(found) - MOST_SHOWN:,} lines more"]
    return [_printable(line) for line in found]


def _pairs(values: Mapping[str, str]) -> list[str]:
    return [f"{key} = {value}".replace("\n", ", ") for key, value in sorted(values.items())]


def _file(path: str, old: Side, new: Side, *, with_secrets: bool) -> list[str]:
    digests = [_digest(path, side) for side in (old, new)]
    if digests[0] == digests[1]:
        return []
    first, second = old.contents.get(path), new.contents.get(path)
    names = [
        NOWHERE if _digest(path, side) is None else f"{path} ({side.name})" for side in (old, new)
    ]  # fmt: skip
    is_hidden = any(each is not None and each.kind in HIDDEN for each in (first, second))
    if path in old.lost or path in new.lost:
        return [*_head(*names), "! differs; what it held then is not kept"]
    if is_hidden and not with_secrets:
        return [*_head(*names), "! differs (--secrets shows how)"]
    texts = [_text(each) for each in (first, second)]
    if texts[0] is None or texts[1] is None:
        return [*_head(*names), "! differs, and is no text"]
    lines = [text.split("\n") for text in texts if text is not None]
    if max(map(len, lines)) > MOST_LINES:
        return [*_head(*names), _counted(*lines)]
    is_plain = with_secrets or any(each is not None and each.kind == RULE_SET for each in (first, second))
    shown = lines if is_plain else [list(masked_lines(text)) for text in texts if text is not None]
    found = _diff(*names, *lines, *shown)
    return found or [*_head(*names), "! differs in line ends or encoding"]


def _digest(path: str, side: Side) -> str | None:
    state = side.contents.get(path)
    return state.digest if state is not None else side.lost.get(path)


def _text(state: FileState | None) -> str | None:
    """Return a file as text, "" for one that is not there, None for what is none."""
    if state is None:
        return ""
    if state.data is None or b"\0" in state.data:
        return None
    try:
        return state.data.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None


def _head(old: str, new: str) -> list[str]:
    return [f"--- {old}", f"+++ {new}"]


def _diff(
    old: str,
    new: str,
    first: Sequence[str],
    second: Sequence[str],
    first_shown: Sequence[str],
    second_shown: Sequence[str],
) -> list[str]:
    """Return how first becomes second, with what is to be shown of their lines."""
    first, second = _without_end(first), _without_end(second)
    found: list[str] = []
    matcher = difflib.SequenceMatcher(None, first, second)
    for group in matcher.get_grouped_opcodes(CONTEXT):
        if not found:
            found = _head(old, new)
        _, first_start, _, second_start, _ = group[0]
        _, _, first_end, _, second_end = group[-1]
        spans = f"-{_span(first_start, first_end)} +{_span(second_start, second_end)}"
        found.append(f"@@ {spans} @@")
        for tag, a, b, c, d in group:
            if tag == "equal":
                found += [f" {line}" for line in first_shown[a:b]]
            if tag in ("delete", "replace"):
                found += [f"-{line}" for line in first_shown[a:b]]
            if tag in ("insert", "replace"):
                found += [f"+{line}" for line in second_shown[c:d]]
    return found


def _without_end(lines: Sequence[str]) -> Sequence[str]:
    """Return lines without the empty one after the last line feed."""
    return lines[:-1] if lines and not lines[-1] else lines


def _span(start: int, end: int) -> str:
    """Return a range of lines as a unified diff writes it."""
    length = end - start
    if length == 1:
        return str(start + 1)
    return f"{start + 1 if length else start},{length}"


def _counted(first: Sequence[str], second: Sequence[str]) -> str:
    before, after = Counter(first), Counter(second)
    came, went = (after - before).total(), (before - after).total()
    return f"! {came:,} lines came and {went:,} went; too many to show"


def _printable(line: str) -> str:
    """Return line without what a terminal would act on."""
    shown = "".join(letter if letter.isprintable() or letter == "\t" else "?" for letter in line)
    return shown if len(shown) <= MOST_LETTERS else f"{shown[:MOST_LETTERS]}…"
