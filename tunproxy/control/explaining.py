"""Explains flows for people: by the policy of a running worker, or by that of the files alone."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.control.config.sources import PolicyOptions, read_sources
from tunproxy.control.lane import LaneKeeper
from tunproxy.control.names_by_files import NamesByFiles, Resolve
from tunproxy.control.policy import Policy, RuleNames, build_policy, load_plugins, may_answer_names
from tunproxy.decide.explain import Explainer
from tunproxy.decide.question import Question, question_from
from tunproxy.decide.ruling import NameSource, Ruling
from tunproxy.decide.sniffers import sniffer_for
from tunproxy.errors import SystemChangeError
from tunproxy.flow.verdict import FlowInfo
from tunproxy.host.process import Process, describe_process, find_by_command


class _Patience:
    """Stands for whoever opens flows that wait: an explanation opens none."""

    def opener_for(self, info: FlowInfo) -> object:
        """Return something, so that the rules may say that they would wait."""
        return self


def explainer_of(
    policy: Policy,
    *,
    names: NameSource | None = None,
    resolve: Resolve | None = None,
    is_fake: Callable[[str], bool] | None = None,
    client4: bytes = bytes(4),
    client6: bytes = bytes(16),
) -> Explainer:
    """Return what explains flows by this policy."""
    parts = policy.parts
    naming = RuleNames(parts)
    ruling = Ruling(
        parts.compiled,
        parts.ways,
        parts.default,
        naming,
        names=names,
        waiters=_Patience(),
        wants_names=names is not None,
        generation=policy.generation,
    )
    sniffer = sniffer_for(parts.compiled)
    return Explainer(
        ruling,
        naming.book,
        stages=[policy.stage] if policy.stage is not None else [],
        resolve=resolve,
        owner=owner_called,
        worth_waiting=sniffer.is_worth_waiting if sniffer is not None else None,
        is_fake=is_fake,
        client4=client4,
        client6=client6,
    )


async def answer(explainer: Explainer, question: object) -> dict[str, Any]:
    """Return the record of a question that came over the control socket; raises ConfigError."""
    return await explainer.explain(question_from(question))


def explain_by_files(options: PolicyOptions, question: Question) -> dict[str, Any]:
    """Return the record by what the files say; names that they do not know are the host's resolver's to find.

    Raises ConfigError.
    """
    sources = read_sources(options, keeps_good=True)
    policy = build_policy(sources, load_plugins(sources))
    names = NamesByFiles(sources.config.dns, policy.wants_fake, _host_resolver)
    explainer = explainer_of(policy, resolve=names.resolve, is_fake=names.is_fake)
    document: Final = asyncio.run(explainer.explain(question))
    document["source"] = ", ".join(filter(None, (sources.name, sources.rules)))
    if sources.config.capture.direct_lane:
        flow = document["flow"]
        lane = LaneKeeper(sources, is_wanted=True, answers_names=may_answer_names(sources))
        lane.change()
        prefix = lane.prefix_of(str(flow["target"]), int(flow["target_port"] or 0))
        if prefix:
            document["kernel_direct"] = prefix
    return document


def owner_called(name: str) -> Process | None:
    """Return the youngest process of that name, path or pid; None where none is running."""
    try:
        pid = find_by_command(name)
        return None if pid is None else describe_process(pid, Path(f"/proc/{pid}").stat().st_uid)
    except (OSError, SystemChangeError):
        return None


async def _host_resolver(name: str) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:  # whose text begins with a number that says nothing to anybody
        raise OSError((error.strerror or str(error)).lower()) from error
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))
