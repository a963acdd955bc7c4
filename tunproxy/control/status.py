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
    policy      source (the configuration's path), generation, default, rules, rules_off (switched off for
                now), rule_sets, skipped_entries, upstreams, is_building; error: why the last reload failed
    rule_mode   mode: "rule", or for as long as somebody wants it so "direct" or "global"; way: the one
                through which everything goes then, else ""
    observed    rules that only count, the first 50: rule, place (file:line), flows that each would have
                decided, octets of those that are over
    offload     of the device, by the names of the start line, "none" where it has none; "up" alone has it
    steering    who chooses the worker of a packet, in words; "" where there is one worker; "up" alone has it
    sandbox     what workers have given up besides their user: landlock, seccomp, each "on" or why not
    workers     of each: number, restarts, last_end (how the one before ended, in words), and as far as it
                answers: pid, uptime_seconds, turns, descriptors, descriptor_limit, memory_bytes,
                cpu_seconds
    resolved    whether systemd-resolved asks us: state ("taken", "absent", "no-bus", "not-wanted",
                "refused"), why, is_answering, rivals, claimed, set_again; resolvers: whom the host asked
                before
    dns_leaks   questions for names that left past us: is_counted, or why not; packets, interfaces, users
    generation  of the configuration: running, its number, 0 where it is not kept; confirm_seconds until it is
                taken back, 0 for never; "up" alone has it
    capture     what [capture] and options say of what is captured, by its keys; "up" alone has this
    kernel_direct, kernel_direct_prefixes   prefixes of the kernel-direct lane, the first 200; how many
                there are
    network     what ``up`` knows of the way out: ipv4 and ipv6 (null, or link, gateway, source), changes
                that it has seen, put_back: how often something of ours was
    kill_switch is_on; refused: packets that it has kept from leaving
    loops       flows cut because those of a proxy came back to us: cut; last: what was told of each upstream
    problems    what somebody should look at, in words
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol  # Any as the workers' JSON has it

from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.control.reload import Reloader
from tunproxy.version import describe
from tunproxy.wire.reasons import NAMES

SUMS: Final = ("flows", "traffic", "counters", "drops", "opener", "upstream_faults", "plugin_faults")

Story = Callable[[], Sequence[Mapping[str, object]]]

# our choices
MAX_TEXT: Final = 400  # letters of what a worker says
MAX_LOOPS: Final = 10
# at which share of its descriptors a worker is short of them
MANY_DESCRIPTORS: Final = 0.9


@dataclass(frozen=True)
class Instance:
    """What does not change while it runs. name is what ``status --tun`` takes."""

    mode: str
    name: str
    tun: str
    command: str = ""


class StatusPart(Protocol):
    """Something else of the supervisor's that the document tells about."""

    def document(self) -> Mapping[str, object]:
        """Return keys of the document. Never raises."""

    def problems(self) -> Sequence[str]:
        """Return what somebody should look at, a sentence each. Never raises."""


class StatusReport:
    """Asks the workers and puts the document together."""

    def __init__(
        self,
        instance: Instance,
        workers: Sequence[Questions],
        reloader: Reloader | None = None,
        parts: Sequence[StatusPart] = (),
        *,
        story: Story | None = None,
    ) -> None:
        """Parts add their own; story tells of each worker what it cannot tell itself."""
        self._instance: Final = instance
        self._workers: Final = workers
        self._reloader: Final = reloader
        self._parts: Final = parts
        self._story: Final = story
        self._began_at: Final = time.monotonic()

    async def document(self) -> dict[str, object]:
        """Return the document; a worker that does not answer is a problem, not an error."""
        told: list[Mapping[str, Any]] = []
        problems: list[str] = []
        stories = self._story() if self._story is not None else []
        workers: list[dict[str, Any]] = []
        asked = await asyncio.gather(*map(_ask, self._workers))
        for number, answer in enumerate(asked):
            story = stories[number] if number < len(stories) else {"number": number}
            if isinstance(answer, NoAnswerError):
                problems.append(str(answer) if len(asked) == 1 else f"worker {number}: {answer}")
                workers.append(dict(story))
            else:
                told.append(answer)
                workers.append({**story, **_numbers(answer.get("worker"))})
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
        loops = [_mapping(answer.get("loops")) for answer in told]
        looping = [str(each)[:MAX_TEXT] for loop in loops for each in _sequence(loop.get("last"))]
        looping = list(dict.fromkeys(looping))[:MAX_LOOPS]
        return {
            **document,
            **sums,
            "loops": {"cut": int(sum(_numbers(loop).get("cut", 0) for loop in loops)), "last": looping},
            "plugins": sorted({str(name) for answer in told for name in _sequence(answer.get("plugins"))}),
            "plugin_problems": plugin_problems,
            "plugins_suspended": suspended,
            "policy": policy,
            "observed": _observed([_sequence(answer.get("observed")) for answer in told]),
            "workers": workers,
            **{key: value for part in self._parts for key, value in part.document().items()},
            "problems": [
                *problems,
                *_problems(sums, plugin_problems, suspended, workers),
                *looping,
                *(each for part in self._parts for each in part.problems()),
            ],
        }


async def _ask(worker: Questions) -> dict[str, Any] | NoAnswerError:
    try:
        return await worker.ask("status")
    except NoAnswerError as error:
        return error


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
    workers: Sequence[Mapping[str, Any]],
) -> list[str]:
    found = [f"plugin {name} {why}" for name, why in plugin_problems.items()]
    for name, count in sums["plugin_faults"].items():
        pause = suspended.get(name)
        found.append(f"plugin {name} failed {_times(count)}" + (f" and {in_words(pause)}" if pause else ""))
    for name, count in sums["upstream_faults"].items():
        found.append(f"upstream {name} was faulty {_times(count)}, see the log")
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


def _times(count: float) -> str:
    return "once" if count == 1 else f"{count:g} times"


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


def _observed(told: Sequence[Sequence[object]]) -> list[dict[str, object]]:
    """Return the rules that only count, their numbers added up."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for rules in told:
        for rule in map(_mapping, rules):
            sums = found.setdefault(
                (str(rule.get("rule")), str(rule.get("place"))), {"flows": 0, "octets": 0}
            )
            for key, count in _numbers(rule).items():
                if key in sums:
                    sums[key] += count
    return [{"rule": rule, "place": place, **sums} for (rule, place), sums in found.items()]


def _mapping(value: object) -> Mapping[object, object]:
    return value if isinstance(value, dict) else {}


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else []
