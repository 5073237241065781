"""`python -m gradlet`: runs a tinygrad script on gradlet, or looks after the compiled kernels."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from gradlet.base.settings import kernel_folder
from gradlet.compat import install_as_tinygrad
from gradlet.runtime.cpu.cache import ObjectCache

_HELP = """usage: python -m gradlet script.py [arguments]
       python -m gradlet cache [--clear]

Runs a script in which `import tinygrad` means gradlet.
GRADLET_DEVICE chooses the device that its tensors live on.

`cache` tells how many compiled kernels are kept on disk, and where; `--clear` deletes them."""


def main(arguments: list[str]) -> int:
    """Runs the script named first with the rest as its own arguments, or does what is asked."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_HELP)
        return 0
    if arguments in (["cache"], ["cache", "--clear"]):
        return look_after_cache(clear=len(arguments) == 2)
    script = Path(arguments[0])
    if not script.is_file():
        print(f"gradlet: there is no script {str(script)!r}", file=sys.stderr)
        return 2
    install_as_tinygrad()
    sys.argv = arguments
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")
    return 0


def look_after_cache(clear: bool) -> int:
    """Tells what compiled kernels there are on disk, and deletes them if so asked."""
    cache = ObjectCache(kernel_folder())
    files = cache.files()
    total = sum(size for _, size, _ in files) / (1 << 20)
    print(f"{len(files)} compiled kernels, {total:.1f} of {cache.limit_bytes >> 20} MiB")
    print(f"in {cache.folder}; GRADLET_CACHE chooses another folder")
    if clear:
        try:
            cache.clear()
        except OSError as error:
            print(f"gradlet: cannot delete {error.filename}: {error.strerror}", file=sys.stderr)
            return 1
        print("deleted")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
