"""Runs cases against programs, each in namespaces of its own; what a case says becomes a verdict in words."""

import json
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.abuse import (  # noqa: F401 - each adds its cases to the list
    cases_attack,
    cases_closing,
    cases_datagram,
    cases_flood,
    cases_ip,
    cases_opening,
    cases_receiving,
    cases_sending,
)
from tests.bench.abuse.case import CASES, Case
from tests.bench.abuse.peers import PEERS, Peer, find, serves, start
from tests.bench.abuse.rig import Absent, Failed, Rig

LACKS = {
    "six": "IPv6",
    "udp": "UDP",
    "hosts": "more than one host",
    "resets": "resets: the library does not offer them",
    "mapping": "UDP but as one stream per target",
    "empty": "an empty datagram, which would end a stream",
}
PASS, FAIL, NONE = "pass", "fail", "none"
GROUPS = ("opening", "receiving", "sending", "closing", "attack", "IP", "datagrams", "floods")
LONGEST_RUN = 240.0  # seconds per program; what comes after that is not tried
Result = dict[str, str]


def chosen(text: str) -> list[Case]:
    """Return the cases whose group or name has one of the texts, which commas part; floods last.

    A text that begins with - leaves out what has the rest of it.
    """
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    wanted = [word for word in words if not word.startswith("-")] or [""]
    unwanted = [word[1:] for word in words if word.startswith("-")]

    def is_chosen(one: Case) -> bool:
        label = f"{one.group} {one.name}".lower()
        return any(word in label for word in wanted) and not any(word in label for word in unwanted)

    return sorted(filter(is_chosen, CASES), key=lambda one: GROUPS.index(one.group))


def try_case(rig: Rig, case: Case) -> Result:
    """Return {"verdict", "did", "seconds"}; a case that failed is tried again as often as it allows."""
    started = time.monotonic()
    verdict, did = FAIL, ""
    if lacking := [word for word in case.needs.split() if word in rig.lacks]:
        return {"verdict": NONE, "did": f"not made to carry {LACKS[lacking[0]]}", "seconds": "0"}
    for _ in range(case.tries):
        rig.notes.clear()
        try:
            case.check(rig)
            verdict, did = PASS, "; ".join(rig.notes)
        except Failed as failure:
            verdict, did = FAIL, str(failure)
        except Absent as absent:
            verdict, did = NONE, str(absent)
        except (OSError, TimeoutError) as error:
            verdict, did = FAIL, f"the target saw {error}"
        finally:
            rig.end_case()
        if verdict != FAIL or not rig.is_alive():
            break
    if not rig.is_alive():
        verdict, did = FAIL, f"the process died ({did or 'after it'})"
    elif verdict == FAIL and not serves(rig, tries=4):
        rig.is_broken = True
        did += "; and afterwards nobody is served, until it is started again"
    return {"verdict": verdict, "did": did, "seconds": f"{time.monotonic() - started:.1f}"}


def run_peer(peer: Peer, binary: str, cases: list[Case], scratch: Path) -> dict[str, Result]:
    """Run cases against one program; a program that died is started again for the next."""
    results: dict[str, Result] = {}
    until = time.monotonic() + LONGEST_RUN
    left = list(cases)
    while left:
        rig = Rig(scratch)
        try:
            start(rig, peer, binary)
            while left and rig.is_alive() and not rig.is_broken and time.monotonic() < until:
                case = left.pop(0)
                results[case.name] = try_case(rig, case)
                say(
                    f"{peer.name:16} {case.name:55} {results[case.name]['verdict']:5} "
                    f"{results[case.name]['seconds']:>5} s  {results[case.name]['did']}"
                )
        finally:
            rig.close()
        if time.monotonic() > until:
            break
    return results


def run_all(
    names: list[str], given: dict[str, str], text: str, out: Path | None
) -> dict[str, dict[str, Result]]:
    """Run every program that is there; write what is known after each."""
    results: dict[str, dict[str, Result]] = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="tunproxy-abuse-") as folder:
            scratch = Path(folder)
            scratch.chmod(0o755)
            binary = find(name, given, scratch)
            if binary is None:
                say(f"left out {name}: {PEERS[name].binary} is not here (say where with --bin)")
                continue
            try:
                results[name] = run_peer(PEERS[name], binary, chosen(text), scratch)
            except RuntimeError as error:
                say(f"left out {name}: {error}")
        if out is not None:
            out.write_text(json.dumps(results, indent=1))
    return results


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
