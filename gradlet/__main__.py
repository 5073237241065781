"""`python -m gradlet script.py [arguments]`: runs a tinygrad script on gradlet."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from gradlet.compat import install_as_tinygrad

_HELP = """usage: python -m gradlet script.py [arguments]

Runs a script in which `import tinygrad` means gradlet.
GRADLET_DEVICE chooses the device that its tensors live on."""


def main(arguments: list[str]) -> int:
    """Runs the script named first with the rest as its own arguments."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_HELP)
        return 0
    script = Path(arguments[0])
    if not script.is_file():
        print(f"gradlet: there is no script {str(script)!r}", file=sys.stderr)
        return 2
    install_as_tinygrad()
    sys.argv = arguments
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
