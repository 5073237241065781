"""What devices lack: for each the tests that need not pass on it, and why.

The tests run on the device that GRADLET_DEVICE names. A test is named by the end of its id, which
may stop at the file or at the test's name to mean all of it.
"""

from __future__ import annotations

LACKS: dict[str, dict[str, str]] = {
    "numpy": {
        "test_a_few_units_in_the_last_place[float32-cosh]": "NumPy's float32 exp is a unit worse",
    },
    "torch:cpu": {
        "test_float64_is_rounded_to_float16_once": "PyTorch rounds to float32 on the way",
    },
    "webgpu": {
        "test_memory_that_was_shared_is_left_alone": "NumPy cannot work in its memory",
        "test_who_looks_at_a_cache_keeps_what_it_was": "NumPy cannot work in its memory",
        "test_dlpack_of_dtypes_that_numpy_lacks": "PyTorch cannot work in its memory",
        **{
            f"test_axes[{out}-in_dims4]": "a sum in another order is off by 1.2e-6"
            for out in (0, 1, -1)
        },
    },
}


def reason(device: str, test: str) -> str | None:
    """Why a test, by its id, need not pass on a device; None if it must."""
    for name, why in LACKS.get(device, {}).items():
        if test.endswith(name) or test.partition("[")[0].endswith(name) or f"{name}::" in test:
            return why
    return None
