"""Measures in fresh processes: each prints its figures as one line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LONGEST_SECONDS = 900


class ChildError(Exception):
    """A process ended without a measurement."""


def run(module: str, arguments: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    """What `python -m module arguments` reports.

    Raises:
        ChildError: it failed or ran too long; says what it last printed.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"no result after {LONGEST_SECONDS} s") from error
    if done.returncode:
        raise ChildError((done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1])
    return json.loads(done.stdout.splitlines()[-1])
