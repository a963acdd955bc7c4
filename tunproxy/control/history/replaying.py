"""Runs a replay: the ring or a capture in, what would change out. Nothing is asked that runs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final  # Any: documents, as JSON has them

from tunproxy.control.config.sources import Sources, read_sources
from tunproxy.control.history.capture_file import CaptureFile
from tunproxy.control.history.captured import DNS_PORT, CapturedFlows
from tunproxy.control.history.changes import Changes
from tunproxy.control.history.query import Filter, Ring
from tunproxy.control.history.replay import Replay
from tunproxy.control.policy import build_policy, load_plugins, wants_names
from tunproxy.control.rule_files import is_configuration
from tunproxy.control.settings import PolicyOptions
from tunproxy.progress import Progress

MOST_CHANGES: Final = 100_000  # our choice: flows that are listed one by one

Document = dict[str, Any]


@dataclass
class Outcome:
    """What a replay has found; changed lists flows one by one where that was wanted."""

    changes: Changes
    changed: list[Document] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Judged:
    """Rules to ask, and whether names are answered by us where they are in force."""

    replay: Replay
    answers_names: bool

    @classmethod
    def by(cls, rules: str, config: str = "") -> "Judged":
        """Return the rules of a file, or of a configuration. Raises ConfigError with all that is wrong.

        config is the configuration whose upstreams, groups, rule sets and plugins the rules mean; the one
        that would be used where it is "".
        """
        if rules and is_configuration(rules):
            sources = read_sources(PolicyOptions(config=rules), keeps_good=True)
        else:
            sources = read_sources(PolicyOptions(config=config, rules=rules), keeps_good=True)
        return cls._of(sources)

    @classmethod
    def _of(cls, sources: Sources) -> "Judged":
        policy = build_policy(sources, load_plugins(sources))
        return cls(Replay(policy.parts), wants_names(sources, policy.parts.compiled))


def replay_ring(
    after: Judged, path: Path, wanted: Filter, progress: Progress, *, lists: bool = False
) -> Outcome:
    """Ask rules about what was recorded. Raises ConfigError."""
    outcome = Outcome(Changes(after.replay))
    with Ring(path) as ring:
        count = ring.count(wanted)
        _run(outcome, progress.each(ring.entries(wanted), "asking the rules", count), lists=lists)
        missed, reasons = ring.gaps(wanted.since)
    if missed:
        outcome.notes.append(f"{missed:,} flows were not recorded: {', '.join(reasons)}")
    return outcome


def replay_capture(
    after: Judged, before: Judged, path: Path, progress: Progress, *, lists: bool = False
) -> Outcome:
    """Ask rules about the flows in a capture; before are the rules as they are. Raises ConfigError."""
    outcome = Outcome(Changes(after.replay, before.replay))
    with CaptureFile(path) as capture:
        flows = CapturedFlows(capture)
        progress.begins("reading the capture", capture.size)
        entries = _of_capture(flows, capture, progress)
        if after.answers_names:
            entries = (each for each in entries if each["target_port"] != DNS_PORT)  # we answer these
        _run(outcome, entries, lists=lists)
        if capture.cut_after >= 0:
            packets = "packet" if capture.cut_after == 1 else "packets"
            outcome.notes.append(f"{path} is cut off after {capture.cut_after:,} {packets}")
        if not flows.packets:
            outcome.notes.append(f"{path} has no IP packet")
    return outcome


def _of_capture(flows: CapturedFlows, capture: CaptureFile, progress: Progress) -> Iterator[Document]:
    seen = 0
    for entry in flows.entries():
        at = capture.at()
        progress.advance(at - seen)
        seen = at
        yield entry


def _run(outcome: Outcome, entries: Iterator[Document], *, lists: bool) -> None:
    for entry in entries:
        found = outcome.changes.take(entry)
        if lists and found is not None and len(outcome.changed) < MOST_CHANGES:
            outcome.changed.append(found)
