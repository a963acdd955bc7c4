"""tunproxy passes every case of the comparison in tests/bench/abuse, which judges by the RFCs.

The cases mostly wait, so they run in three labs at once, each with a tunproxy of its own; floods are a tenth
of their size, and come last, when the others are done. What each case sends and why stands with the case.
"""

import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.bench.abuse import cases_flood
from tests.bench.abuse.case import Case
from tests.bench.abuse.peers import PEERS
from tests.bench.abuse.run import PASS, Result, chosen, run_peer

pytestmark = [
    pytest.mark.timeout(110),
    pytest.mark.skipif(
        os.geteuid() != 0 or not os.path.exists("/dev/net/tun"), reason="needs root and /dev/net/tun"
    ),
]

LABS = 3
COMMAND = f"{sys.executable} -m tunproxy"
CASES = chosen("")


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    """Run every case once, in several labs at the same time."""
    usual, floods = ([case for case in CASES if (case.group == "floods") is flood] for flood in (False, True))
    found: dict[str, Result] = {}
    errors: list[BaseException] = []

    def run(cases: list[Case]) -> None:
        with tempfile.TemporaryDirectory(prefix="tunproxy-abuse-") as folder:
            Path(folder).chmod(0o755)
            try:
                found.update(run_peer(PEERS["tunproxy"], COMMAND, cases, Path(folder)))
            except BaseException as error:
                errors.append(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cases_flood, "SCALE", 0.1)
        labs = [threading.Thread(target=run, args=(usual[lab::LABS],)) for lab in range(LABS)]
        for thread in labs:
            thread.start()
        for thread in labs:
            thread.join()
        run(floods)
    if errors:
        raise errors[0]
    return found


@pytest.mark.skipif(shutil.which("nft") is None, reason="not installed: nft")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, results: dict[str, Result]) -> None:
    assert case.name in results, "never tried: tunproxy died, or time ran out"
    result = results[case.name]
    assert result["verdict"] == PASS, f"{case.rule}: {result['did']} ({case.why})"
