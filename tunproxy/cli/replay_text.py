"""What a replay has found, as a person reads it: a few lines for each way that flows would change."""

from typing import Final

from tunproxy.cli.status_text import counted, printable, size
from tunproxy.control.history.changes import MOST_NAMES, Changes, Group

_BECAUSE: Final = {
    "plugin": "a plugin or a mode, before any rule",
    "nobody": "nobody: they were over before that",
}


def describe_replay(changes: Changes, *, every: bool = False) -> str:
    """Return the groups that change, or every one, and what cannot be said."""
    lines = []
    for group in changes.groups(every=every):
        lines += [*_group(group), ""]
    words = f"{changes.changed:,} of {counted(changes.flows, 'flow')} would go elsewhere"
    lines.append(words if changes.flows else "there is no flow to ask the rules about")
    lines += [
        f"{counted(count, 'flow')} cannot be said: the {what} is unknown"
        for what, count in changes.unknown.most_common()
    ]
    lines += [
        f"{counted(count, 'flow')} not compared, decided by {_BECAUSE.get(who, who)}"
        for who, count in changes.skipped.most_common()
    ]
    return "\n".join(map(printable, lines))


def _group(group: Group) -> list[str]:
    way = f"{group.before} → {group.after}" if group.before != group.after else f"{group.before}, as before"
    carried = f"{size(group.up)} up, {size(group.down)} down"
    names = ", ".join(f"{host} ({count:,})" for host, count in group.hosts.most_common(MOST_NAMES))
    more = len(group.hosts) - MOST_NAMES
    rules = [f"{rule}: {count:,}" for rule, count in group.rules.most_common(MOST_NAMES)]
    return [
        f"{way}: {counted(group.flows, 'flow')}, {carried}",
        f"    to  {names}{f' and {more:,} more' if more > 0 else ''}",
        *(f"    {'by' if at == 0 else '  '}  {rule}" for at, rule in enumerate(rules)),
    ]
