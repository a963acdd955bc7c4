"""What is made at the start loads nothing; what is asked is answered by workers as they are."""

import subprocess
import sys


def test_start_loads_no_aiohttp() -> None:
    program = (
        "import sys, tunproxy.control.clash.service, tunproxy.control.helm.answers\n"
        "print('aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
