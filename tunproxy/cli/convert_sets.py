"""Tables of rule sets for what other programs' rules name, and the files of those that stand within."""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tunproxy.cli.convert_upstreams import comment, quoted

if TYPE_CHECKING:
    from tunproxy.rulesets.convert.report import Conversion, Outcome

ENDINGS: Final = {"yaml": ".yaml", "text": ".txt", "mrs": ".mrs", "json": ".json", "srs": ".srs"}


@dataclass(frozen=True)
class SetTables:
    """The lines of all tables, files to write beside the configuration, by name, and what became of each."""

    lines: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    account: "list[Outcome]" = field(default_factory=list)


def set_tables(result: "Conversion", output: str) -> SetTables:
    """Return what becomes of the rule sets of a conversion that is written to output."""
    from tunproxy.rules.model import Position
    from tunproxy.rulesets.convert.report import APPROXIMATED, EXACT, Outcome

    made = SetTables()
    fetched: set[str] = set()
    for source in result.sources:
        path, form, why, more = source.location, source.form, "", ""
        if source.kind == "inline":
            base = f"{_plain(Path(output).stem)}-{_plain(source.name)}"
            path, form = _free(base, ".txt", made.files), "text"
            made.files[path] = _text_of(source.items)
        elif source.kind == "file":
            path = _from_there(path, result.name, output)
        else:
            path = _free(_plain(source.name), ENDINGS.get(form, ""), fetched)
            fetched.add(path)
            is_url = source.location.startswith(("http://", "https://"))
            why = "get it, before it can be used (tunproxy rules update)" if is_url else "say where it is"
            more = f"url = {quoted(source.location)}" if is_url else f"# it was {comment(source.location)}"
        made.lines.extend(["", f"[rule-sets.{quoted(source.name)}]", f"path = {quoted(path)}"])
        made.lines.extend([more] if more else [])
        made.lines.extend([f"format = {quoted(form)}"] if form else [])
        made.lines.extend([f"behavior = {quoted(source.behavior)}"] if source.behavior else [])
        where = Position(result.name, source.line, 1)
        text = f"rule set {comment(source.name)}"
        made.account.append(Outcome(APPROXIMATED if why else EXACT, text, where, (), why))
    return made


def _from_there(path: str, file: str, output: str) -> str:
    """Return path, which counts from the folder of file, as output has to say it to mean the same."""
    there, here = Path(file).absolute().parent, Path(output).absolute().parent
    return path if there.resolve() == here.resolve() else str(there / path)


def _free(base: str, ending: str, taken: Container[str]) -> str:
    """Return a name for the file of a set that no other has."""
    name, number = f"{base}{ending}", 2
    while name in taken:
        name, number = f"{base}-{number}{ending}", number + 1
    return name


def _plain(text: str) -> str:
    """Return text as a part of a file's name: it leads nowhere else."""
    return re.sub(r"[^\w.-]", "-", text).lstrip(".") or "set"


def _text_of(items: Sequence[str]) -> bytes:
    return "".join(f"{' '.join(item.split())}\n" for item in items).encode()
