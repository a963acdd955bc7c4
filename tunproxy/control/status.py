"""The document that ``status --json`` prints: what the workers tell, added up, and what we know ourselves.

Its keys are a promise to programs: a new one may come, none goes away or changes its meaning.

    version, mode ("up" or "exec"), name, tun, command, pid    which one this is
    uptime_seconds                                             since packets are carried
    flows       open now: tcp (all), tcp_embryos (of these, not established), tcp_time_wait, udp, icmp_echo;
                memory_bytes that they hold
    traffic     since the start: frames_in, bytes_in from the device, frames_out, bytes_out to it
    counters    since the start: flows_opened, flows_refused, …
    drops       packets dropped since the start, by reason; every reason is there
    opener      flows that a plugin's coroutine opens: pending now; opened, failed since the start
    upstream_faults, plugin_faults                             how often each was at fault
    plugins, plugin_problems                                   loaded; what is wrong with whom
    plugins_suspended                                          by name: seconds that it is not asked for yet,
                                                               last_fault: why
    policy      source (the configuration's path), generation, default, rules, rule_sets, skipped_entries,
                upstreams, is_building, and error: why the last reload failed
    workers     of each: pid, uptime_seconds, turns, descriptors, descriptor_limit, memory_bytes
    problems    what somebody should look at, in words
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final  # Any as the workers' JSON has it

from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.control.reload import Reloader
from tunproxy.version import describe
from tunproxy.wire.reasons import NAMES

SUMS: Final = ("flows", "traffic", "counters", "drops", "opener", "upstream_faults", "plugin_faults")

# our choice: at which share of its descriptors a worker is short of them
MANY_DESCRIPTORS: Final = 0.9


@dataclass(frozen=True)
class Instance:
    """What does not change while it runs. name is what ``status --tun`` takes."""

    mode: str
    name: str
    tun: str
    command: str = ""


class StatusReport:
    """Asks the workers and puts the document together."""

    def __init__(
        self, instance: Instance, workers: Sequence[Questions], reloader: Reloader | None = None
    ) -> None:
        self._instance: Final = instance
        self._workers: Final = workers
        self._reloader: Final = reloader
        self._began_at: Final = time.monotonic()

    async def document(self) -> dict[str, object]:
        """Return the document; a worker that does not answer is a problem, not an error."""
        told: list[Mapping[str, Any]] = []
        problems: list[str] = []
        for worker in self._workers:
            try:
                told.append(await worker.ask("status"))
            except NoAnswerError as error:
                problems.append(str(error))
        instance = self._instance
        document: dict[str, object] = {
            "version": describe(),
            "mode": instance.mode,
            "name": instance.name,
            "tun": instance.tun,
            "command": instance.command,
            "pid": os.getpid(),
            "uptime_seconds": round(time.monotonic() - self._began_at, 3),
        }
        sums = {key: add([_numbers(answer.get(key)) for answer in told]) for key in SUMS}
        sums["drops"] = {name: sums["drops"].get(name, 0) for name in NAMES[1:]}
        plugin_problems = {
            str(name): str(why)
            for answer in told
            for name, why in _mapping(answer.get("plugin_problems")).items()
        }
        suspended = {
            str(name): each
            for answer in told
            for name, each in _mapping(answer.get("plugins_suspended")).items()
            if isinstance(each, dict)
        }
        policy = _policy(told[0].get("policy")) if told else {}
        if self._reloader is not None and self._reloader.error:
            policy["error"] = self._reloader.error
        if policy.get("error"):
            # How many problems there are, and where the first of them is.
            problems.append(f"the policy is an old one: {': '.join(str(policy['error']).splitlines()[:2])}")
        workers = [_numbers(answer.get("worker")) for answer in told]
        return {
            **document,
            **sums,
            "plugins": sorted({str(name) for answer in told for name in _sequence(answer.get("plugins"))}),
            "plugin_problems": plugin_problems,
            "plugins_suspended": suspended,
            "policy": policy,
            "workers": workers,
            "problems": problems + _problems(sums, plugin_problems, suspended, workers),
        }


def add(many: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the sums of what has the same name, in the order in which the names come first."""
    total: dict[str, float] = {}
    for each in many:
        for name, count in each.items():
            total[name] = total.get(name, 0) + count
    return total


def _problems(
    sums: Mapping[str, Mapping[str, float]],
    plugin_problems: Mapping[str, str],
    suspended: Mapping[str, Mapping[str, Any]],
    workers: Sequence[Mapping[str, float]],
) -> list[str]:
    found = [f"plugin {name} {why}" for name, why in plugin_problems.items()]
    for name, count in sums["plugin_faults"].items():
        pause = suspended.get(name)
        found.append(f"plugin {name} failed {count} times" + (f" and {in_words(pause)}" if pause else ""))
    found += [f"upstream {name} was faulty {n} times" for name, n in sums["upstream_faults"].items()]
    if sums["drops"]["echo-forbidden"]:
        found.append("pings are not sent: the worker's group is outside of net.ipv4.ping_group_range")
    if sums["drops"]["table-full"]:
        found.append(
            f"there was no room for new flows: {sums['drops']['table-full']} packets were dropped "
            "(raise the limit of open files: ulimit -n)"
        )
    for worker in workers:
        used, limit = worker.get("descriptors", 0), worker.get("descriptor_limit", 0)
        if used > MANY_DESCRIPTORS * limit:
            found.append(f"{used} of {limit} descriptors are used (raise the limit: ulimit -n)")
    return found


def in_words(suspension: Mapping[str, Any]) -> str:
    """Return what plugins_suspended says of one, in words."""
    return f"is not asked for {suspension.get('seconds')} s: {suspension.get('last_fault')}"


def _numbers(value: object) -> dict[str, float]:
    return {
        str(name): count
        for name, count in _mapping(value).items()
        if isinstance(count, (int, float)) and not isinstance(count, bool)
    }


def _policy(value: object) -> dict[str, object]:
    """Return what a worker tells of its policy: texts, numbers, and names."""
    kinds = (str, int, list)
    return {str(key): each for key, each in _mapping(value).items() if isinstance(each, kinds)}


def _mapping(value: object) -> Mapping[object, object]:
    return value if isinstance(value, dict) else {}


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []
