"""Run the cases against the programs, print the table, write JSON (as root).

    .venv/bin/python tests/bench/abuse [--peers NAME,…] [--cases=TEXT,…] [--bin PROGRAM=PATH]… [--json FILE]

A program is looked for on the PATH, or where --bin says: tunproxy, pasta, sing-box, mihomo, slirp4netns, and
smoltcp-python, a Python that has mitmproxy_rs. lwip is compiled here where liblwip-dev is installed.
"""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[3]))  # for tests.*; behind what is installed

from tests.bench.abuse import table
from tests.bench.abuse.peers import PEERS
from tests.bench.abuse.run import Result, run_all


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", default=",".join(PEERS), help="which programs, by name")
    parser.add_argument(
        "--cases", default="", help="only cases whose group or name contains this; -TEXT leaves out"
    )
    parser.add_argument("--bin", action="append", default=[], metavar="PROGRAM=PATH")
    parser.add_argument("--json", type=Path, help="write every result there")
    parser.add_argument(
        "--render", type=Path, nargs="*", help="only print the table of such files; later ones replace"
    )
    options = parser.parse_args()
    if options.render:
        results: dict[str, dict[str, dict[str, str]]] = {}
        for path in options.render:
            for name, found in json.loads(path.read_text()).items():
                results.setdefault(name, {}).update(found)  # a later file's results replace an earlier one's
        show(results)
        return 0
    if os.geteuid():
        print("left out the abuse comparison: it makes network namespaces (run as root)", file=sys.stderr)
        return 0
    given = dict(entry.partition("=")[::2] for entry in options.bin)
    names = [name for name in options.peers.split(",") if name]
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"unknown program {unknown[0]!r} (known: {', '.join(PEERS)})")
    results = run_all(names, given, options.cases, options.json)
    show(results)
    return 0


def show(found: dict[str, dict[str, Result]]) -> None:
    results = {name: found[name] for name in PEERS if name in found}
    print(table.summary(results), table.markdown(results), sep="\n\n")


if __name__ == "__main__":
    sys.exit(main())
