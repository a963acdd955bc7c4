"""Tables of groups for what other programs call theirs, and what became of each."""

from typing import TYPE_CHECKING, Final

from tunproxy.cli.convert_upstreams import Table, comment, quoted, written

if TYPE_CHECKING:
    from tunproxy.rulesets.convert.report import Conversion, Outcome, Outlet

NO_COMMA: Final = "no rule can have a comma in its target"
NO_MEMBER: Final = "it has no member that is in the file: fill them in"


def group_tables(result: "Conversion") -> "tuple[dict[str, list[str]], list[Outcome]]":
    """Return the lines for each group of a conversion, by name, and the account of all of them."""
    from tunproxy.rules.model import Position
    from tunproxy.rulesets.convert.report import Outcome
    from tunproxy.upstream.group import CLASH_NAMES

    known = {*CLASH_NAMES, *(outlet.name for outlet in result.outlets if "," not in outlet.name)}
    found, account = {}, []
    for outlet in result.outlets:
        if outlet.kind.startswith("group"):
            members = [result.aliases.get(member, member) for member in outlet.members]
            table = group_table(outlet, members, known)
            found[outlet.name] = table.lines
            where = Position(result.name, outlet.line, 1)
            account.append(Outcome(table.result, f"group {comment(outlet.name)}", where, (), table.why))
    return found, account


def group_table(outlet: "Outlet", members: list[str], known: set[str]) -> Table:
    """Return the table of a group; members are names of ours, of which those not known are left out."""
    from tunproxy.rulesets.convert.report import APPROXIMATED, DROPPED, EXACT

    if "," in outlet.name:
        return Table([f"# group {comment(outlet.name)} is left out: {NO_COMMA}"], DROPPED, NO_COMMA)
    kept = list(dict.fromkeys(member for member in members if member in known))
    lost = [member for member in members if member not in known]
    left_out = [f"there is no member {comment(member)!r}" for member in lost]
    left_out += [comment(each) for each in outlet.left_out]
    options = {key: value for key, value in outlet.options.items() if key != "selected" or value in kept}
    lines = [
        f"[groups.{quoted(outlet.name)}]",
        f"type = {quoted(outlet.kind.removeprefix('group').strip())}",
        f"members = [{', '.join(map(quoted, kept))}]" + ("" if kept else "  # fill in"),
        *(f"{key} = {written(value)}" for key, value in options.items()),
    ]
    if not kept:
        return Table(lines, DROPPED, "; ".join([NO_MEMBER, *left_out]))
    return Table(lines, APPROXIMATED if left_out else EXACT, "; ".join(left_out))
