"""What workers measure, added up for Prometheus (``helm.measures``)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final  # Any as the workers' JSON has it

from tunproxy.control.clash.asking import Asking, RefusedError
from tunproxy.control.questions import NoAnswerError

# of what is counted in names: what holds now, where the rest only grows
GAUGES: Final = ("open", "cached", "cached_octets", "names", "fake_names")


async def measure(asking: Asking) -> dict[str, Any]:
    """Return the sums, as ``summed``; what workers that answer know, if only some do."""
    try:
        return summed(await asking.each("helm-measures"))
    except (NoAnswerError, RefusedError):
        return summed([])


def summed(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what several workers tell as one document.

    targets      flows by target
    rules        [number, text, target, flows]
    upstreams    by name: up, 1 where all say so, else 0; failures, the most in a row; seconds, mean or null
    groups       by name, how many workers use which member
    dns          counts by name; gauges by name; resolvers: by name, counts by name
    """
    rules: dict[tuple[int, str, str], int] = {}
    targets: dict[str, int] = {}
    groups: dict[str, dict[str, int]] = {}
    tests: dict[str, list[Mapping[str, Any]]] = {}
    for worker in told:
        for place, text, target, count in worker.get("rules", ()):
            rules[place, text, target] = rules.get((place, text, target), 0) + count
        _add(targets, worker.get("targets", {}))
        for name, member in worker.get("groups", {}).items():
            _add(groups.setdefault(name, {}), {member: 1} if member is not None else {})
        for name, test in worker.get("upstreams", {}).items():
            tests.setdefault(name, []).append(test)
    return {
        "targets": targets,
        "rules": [[*key, count] for key, count in rules.items()],
        "upstreams": {name: _upstream(each) for name, each in tests.items()},
        "groups": groups,
        "dns": _names([worker.get("dns", {}) for worker in told]),
    }


def _upstream(tests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    seconds = [test["seconds"] for test in tests if test["seconds"] is not None]
    return {
        "up": int(all(test["is_well"] for test in tests)),
        "failures": max(test["failures"] for test in tests),
        "seconds": sum(seconds) / len(seconds) if seconds else None,
    }


def _names(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    gauges: dict[str, int] = {}
    resolvers: dict[str, dict[str, int]] = {}
    for worker in told:
        numbers = {name: each for name, each in worker.items() if isinstance(each, int)}
        _add(gauges, {name: each for name, each in numbers.items() if name in GAUGES})
        _add(counts, {name: each for name, each in numbers.items() if name not in GAUGES})
        for name, each in worker.get("resolvers", {}).items():
            _add(resolvers.setdefault(name, {}), each)
    return {"counts": counts, "gauges": gauges, "resolvers": resolvers}


def _add(sums: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        sums[name] = sums.get(name, 0) + count
