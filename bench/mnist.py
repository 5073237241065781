"""Times `examples/mnist.py` beside the same program for PyTorch, as whole processes, in turns.

What is timed is all that a user waits for: start, import, reading Fashion-MNIST, compiling,
training, evaluation, saving, reading back, and the picture. In each round gradlet runs twice, with
an empty cache of compiled code and with the one that this has filled, and PyTorch once. Ratios are
taken within rounds, and the median over rounds is shown.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.child import keep_to_cores
from bench.contestants import environment
from bench.process import LONGEST_SECONDS, ROOT, ChildError
from bench.table import aligned
from gradlet.base import settings
from gradlet.nn.data import images

GRADLET, CACHED, PYTORCH = "gradlet", "gradlet, kernels on disk", "PyTorch"


@dataclass
class Record:
    """Seconds of a whole process, and the accuracy (%) that it reached, one of each a round."""

    seconds: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)


def measure(rounds: int, threads: int, epochs: int, limit: int | None) -> dict[str, Record]:
    """What was measured of each contestant.

    Raises:
        ChildError: a process failed; says what it last printed.
        DataUnavailableError: Fashion-MNIST is not to be had.
    """
    keep_to_cores(threads)
    images.fashion_mnist()  # downloads it if need be
    extent = ["--epochs", str(epochs), *([] if limit is None else ["--limit", str(limit)])]
    ours = ["examples/mnist.py", "--dataset", "fashion"]
    theirs = ["-m", "bench.workloads.torch_mnist"]
    records = {name: Record() for name in (GRADLET, CACHED, PYTORCH)}
    for turn in range(rounds):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            cache = Path(folder) / "cache"
            data = shutil.copytree(data_folder(), cache / "data" / images.FASHION.folder)
            for name, record in records.items():
                print(f"round {turn + 1}, {name}", file=sys.stderr, flush=True)
                command = [*theirs, "--data", str(data)] if name == PYTORCH else ours
                command = [*command, *extent, "--out", str(Path(folder) / "out")]
                contestant = "torch" if name == PYTORCH else "gradlet"
                seconds, accuracy = timed(command, environment(contestant, cache, threads))
                record.seconds.append(seconds)
                record.accuracies.append(accuracy)
    return records


def data_folder() -> Path:
    """Where the files of Fashion-MNIST are, in the cache or where a package has put them."""
    cached = settings.cache_folder() / "data" / images.FASHION.folder
    installed = images.FASHION.installed
    return installed if installed is not None and not cached.is_dir() else cached


def timed(arguments: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds that Python with these arguments took, and the test accuracy that it printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
    )
    seconds = time.perf_counter() - start
    found = re.search(r"test accuracy ([\d.]+)%", done.stdout)
    if done.returncode or found is None:
        lines = (done.stderr.strip() or f"exit {done.returncode}").splitlines()
        raise ChildError(f"{arguments[0]}: {lines[-1]}")
    return seconds, float(found.group(1))


def table(records: dict[str, Record]) -> str:
    """Medians, a line for each contestant.

    >>> print(table({GRADLET: Record([2.0], [90]), PYTORCH: Record([5.0], [91])}))
    | whole process | seconds | PyTorch / it | test accuracy |
    |---------------|--------:|-------------:|--------------:|
    | gradlet       |    2.00 |         2.50 |        90.00% |
    | PyTorch       |    5.00 |         1.00 |        91.00% |
    """
    lines = [["whole process", "seconds", "PyTorch / it", "test accuracy"]]
    for name, record in records.items():
        pairs = zip(records[PYTORCH].seconds, record.seconds, strict=True)
        ratio = statistics.median(theirs / its for theirs, its in pairs)
        seconds, accuracy = map(statistics.median, (record.seconds, record.accuracies))
        lines.append([name, f"{seconds:.2f}", f"{ratio:.2f}", f"{accuracy:.2f}%"])
    return aligned(lines)
