"""Models to safetensors and back, by name."""

import pathlib
import tempfile

import numpy as np
from tinygrad import Tensor, dtypes, nn
from tinygrad.nn.state import get_parameters, get_state_dict, load_state_dict, safe_load, safe_save

random = np.random.default_rng(3)


class Block:
    def __init__(self):
        self.norm = nn.LayerNorm(6)
        self.parts = [nn.Linear(6, 6), {"out": nn.Linear(6, 2, bias=False)}]

    def __call__(self, x):
        return self.parts[1]["out"](self.parts[0](self.norm(x)).gelu())


saved, fresh = Block(), Block()
for part in get_parameters(saved):
    part.assign(Tensor(random.normal(size=part.shape).astype(np.float32)))
x = Tensor(random.normal(size=(3, 6)).astype(np.float32))
with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder) / "block.safetensors")
    safe_save(get_state_dict(saved), path)
    found = safe_load(path)
    print("names", *sorted(found))
    load_state_dict(fresh, found, verbose=False)
    print("same", (saved(x) - fresh(x)).abs().max().item(), fresh(x).sum().item())
    path = str(pathlib.Path(folder) / "kinds.safetensors")
    kinds = {
        "half": x.half(),
        "ints": Tensor([1, 2, 3], dtype=dtypes.int32),
        "flag": Tensor([True, False]),
    }
    safe_save({name: value.contiguous().realize() for name, value in kinds.items()}, path)
    again = safe_load(path)
    print(
        "kinds", float(again["half"].numpy().sum()), again["ints"].tolist(), again["flag"].tolist()
    )
    print("dtypes", again["half"].dtype == dtypes.half, again["ints"].dtype == dtypes.int)
partial = {name: value for name, value in get_state_dict(saved).items() if "norm" not in name}
load_state_dict(Block(), partial, strict=False, verbose=False)
print("prefix", *sorted(get_state_dict(saved.norm, prefix="model")))
