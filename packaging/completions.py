"""Write what completes `tunproxy` in bash, zsh and fish, as files for a package: completions.py DIRECTORY.

The scripts are typer's. They ask the program itself what could stand next, so they know its options, and need
no change when these do.
"""

import sys
from pathlib import Path

from typer._completion_shared import get_completion_script

from tunproxy.cli.main import COMPLETION

# where Debian's shells look for what packages bring
FILES = {
    "bash": "usr/share/bash-completion/completions/tunproxy",
    "zsh": "usr/share/zsh/vendor-completions/_tunproxy",
    "fish": "usr/share/fish/vendor_completions.d/tunproxy.fish",
}


# zsh reads the file when it first completes, and calls what it defines only if the file itself does so
_ZSH_END = "compdef _tunproxy_completion tunproxy"
_ZSH_END_AUTOLOADED = """\
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _tunproxy_completion "$@"
else
  compdef _tunproxy_completion tunproxy
fi"""


def write_completions(root: Path) -> None:
    """Write one file for each shell to where it looks below root."""
    for shell, place in FILES.items():
        script = get_completion_script(prog_name="tunproxy", complete_var=COMPLETION, shell=shell)
        if shell == "zsh":
            script = script.replace(_ZSH_END, _ZSH_END_AUTOLOADED)
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script.strip() + "\n")


if __name__ == "__main__":
    write_completions(Path(sys.argv[1]))
