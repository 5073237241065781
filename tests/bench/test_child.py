"""What happens in a measuring process."""

from __future__ import annotations

import subprocess
import sys

from bench import child
from bench.process import ROOT


def test_the_last_result_is_let_go_before_a_call() -> None:
    alive = 0

    class Result:
        def __init__(self) -> None:
            nonlocal alive
            alive += 1
            assert alive == 1

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    numbers = []

    def call(number: int) -> Result:
        numbers.append(number)
        return Result()

    seconds = child.times(call)
    assert len(seconds) >= child.TIMED_CALLS
    assert len(numbers) >= len(seconds) + child.WARMUP_CALLS
    assert numbers == list(range(len(numbers)))  # so the two inputs alternate


def test_a_first_call_that_takes_too_long_says_so() -> None:
    body = "from bench import child; import time\nwith child.at_most(0.1): time.sleep(30)"
    command = [sys.executable, "-c", body]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "over 0.1 s"


def test_a_first_call_in_time_goes_on() -> None:
    with child.at_most(60):
        reached = True
    assert reached
