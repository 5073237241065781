"""What scripts use besides tensors: switches, counters, timers, text and lists."""

import os

from tinygrad import Context, Device, GlobalCounters, Tensor, dtypes, getenv
from tinygrad.helpers import (
    DEBUG,
    JIT,
    Timing,
    all_same,
    ansilen,
    argfix,
    ceildiv,
    colored,
    dedup,
    flatten,
    get_child,
    make_tuple,
    partition,
    prod,
    round_up,
    tqdm,
)

print(
    "env",
    getenv("NOT_SET_ANYWHERE"),
    getenv("NOT_SET_ANYWHERE", 2.5),
    getenv("NOT_SET_EITHER", "x"),
)
os.environ["SET_BY_THE_SCRIPT"] = "7"
print("set", getenv("SET_BY_THE_SCRIPT", 1) + 1)
print(
    "lists",
    prod((2, 3, 4)),
    *argfix(1, 2),
    *argfix((3, 4)),
    dedup([1, 2, 1]),
    flatten([[1], [2, 3]]),
)
print(
    "more",
    ceildiv(7, 2),
    round_up(7, 4),
    *make_tuple(3, 2),
    all_same([1, 1, 2]),
    partition(range(5), lambda x: x > 2),
)
print(
    "text", ansilen(colored("seven77", "red")), colored("x", None), get_child({"a": [5, 6]}, "a.1")
)
before = int(DEBUG.value)
with Context(DEBUG=before, BEAM=0, NOOPT=0):
    inside = (Tensor([1.0, 2.0]) + 1).tolist()
print("context", inside, DEBUG.value == before, bool(JIT))


@Context(TRAINING=1)
def dropped():
    return Tensor.ones(200).dropout(0.5).sum().item()


print("dropout", dropped() != 200.0, Tensor.ones(200).dropout(0.5).sum().item())
with Timing("", enabled=False) as _:
    done = [i for i in tqdm(range(3), disable=True)]
print("loop", *done)
GlobalCounters.reset()
print("counted", GlobalCounters.kernel_count)
(Tensor.rand(16, 16).realize() @ Tensor.rand(16, 16).realize()).realize()
print(
    "ran",
    GlobalCounters.kernel_count > 0,
    GlobalCounters.global_ops >= 2 * 16**3 - 16**2,
    GlobalCounters.global_mem >= 3 * 4 * 16**2,
)
x = Tensor([1.0], device=Device.DEFAULT)
print("device", x.device == Device.DEFAULT, Device.canonicalize(None) == Device.DEFAULT)
Device[Device.DEFAULT].synchronize()
print(
    "dtypes",
    dtypes.default_float == x.dtype,
    dtypes.short.itemsize,
    dtypes.is_unsigned(dtypes.uchar),
    dtypes.half in dtypes.floats,
)
