"""The results as Markdown: a table of verdicts, and what was done instead in words below it."""

from tests.bench.abuse.run import CASES, GROUPS, PASS, Result

MARK = {"pass": "✓", "fail": "✗", "none": "·"}


def markdown(results: dict[str, dict[str, Result]]) -> str:
    """Return one row per case, one column per program, the sums, and each failure in words.

    ✓ does as the rule asks, ✗ does not, · does not offer it and need not.
    """
    names = list(results)
    cases = [
        c for group in GROUPS for c in CASES if c.group == group and any(c.name in results[n] for n in names)
    ]
    lines = ["| case | rule | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    group = ""
    for case in cases:
        if case.group != group:
            group = case.group
            lines.append(f"| **{group}** | |" + " |" * len(names))
        marks = [MARK[results[n][case.name]["verdict"]] if case.name in results[n] else "" for n in names]
        lines.append(f"| {case.name} | {case.rule} | " + " | ".join(marks) + " |")
    sums = [score(results[name], [case.name for case in cases]) for name in names]
    lines.append("| **together** | | " + " | ".join(sums) + " |")
    lines += ["", "What was done instead:", ""]
    for case in cases:
        ways: dict[str, list[str]] = {}
        for name in names:
            result = results[name].get(case.name)
            if result and result["verdict"] != PASS and not result["did"].startswith("not made"):
                ways.setdefault(result["did"], []).append(name)
        if ways:
            told = "; ".join(f"{', '.join(who)}: {did}" for did, who in ways.items())
            lines.append(f"- *{case.name}*: {told}.")
    return "\n".join(lines)


def summary(results: dict[str, dict[str, Result]]) -> str:
    """Return one row per group of cases: how many of those that apply each program passes."""
    names = list(results)
    lines = ["| cases | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for group in (*GROUPS, ""):
        members = [case.name for case in CASES if group in ("", case.group)]
        scores = [score(results[name], members) for name in names]
        lines.append(f"| {group or '**together**'} | " + " | ".join(scores) + " |")
    return "\n".join(lines)


def score(found: dict[str, Result], members: list[str]) -> str:
    """Return "passed of judged"."""
    verdicts = [found[name]["verdict"] for name in members if name in found]
    return f"{verdicts.count(PASS)} of {len(verdicts) - verdicts.count('none')}"
