"""The documents' snippets, word for word, three ways.

As `from gradlet import ...`; as they stand, `from tinygrad import ...`, after
`gradlet.install_as_tinygrad()`; and as a script under `python -m gradlet`. Each snippet is
followed by checks of the values it leaves behind.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import gradlet
from gradlet import Tensor

ROOT = Path(__file__).resolve().parent.parent

TENSORS = """
from tinygrad import Tensor
a = Tensor([1,2,3]); b = Tensor.zeros(3); c = Tensor.rand(2,3); d = a+b; e = d*2; f = a @ Tensor([[1],[2],[3]]); print(e.numpy())
"""  # noqa: E501
TENSORS_CHECK = """
assert e.tolist() == [2, 4, 6] and f.tolist() == [14]
assert c.shape == (2, 3) and 0 <= c.numpy().min() and c.numpy().max() < 1
"""

GRADIENT = """
from tinygrad import Tensor
Tensor.training = True; x = Tensor([1.0,2.0,3.0]); y = (x*2).sum(); y.backward(); print(x.grad.numpy())
"""  # noqa: E501
GRADIENT_CHECK = """
assert x.grad.tolist() == [2, 2, 2]
"""

LAYERS = """
from tinygrad import Tensor
from tinygrad.nn import Linear, BatchNorm2d, optim
model = Linear(3,1); x = Tensor.rand(4,3); y_true = Tensor.rand(4,1); pred = model(x).sigmoid(); loss = ((pred - y_true)**2).mean(); loss.backward(); optim.Adam([model], lr=0.01).step()
"""  # noqa: E501
# Adam's first step is lr in the direction against the gradient.
LAYERS_CHECK = """
moved = ((model(x).sigmoid() - y_true)**2).mean()
assert pred.shape == (4, 1) and moved.item() < loss.item()
assert BatchNorm2d(3)(Tensor.rand(2,3,4,4)).shape == (2, 3, 4, 4)
"""

XOR = """
from tinygrad import Tensor
from tinygrad.nn import Linear, optim
X = Tensor([[0,0],[0,1],[1,0],[1,1]])
Y = Tensor([[0],[1],[1],[0]])
model = Linear(2,1); opt = optim.Adam([model], lr=0.1); Tensor.training = True
for epoch in range(1000): pred = model(X).sigmoid(); loss = ((pred-Y)**2).mean(); loss.backward(); opt.step(); opt.zero_grad()
print(model(Tensor([[0,0]])))
"""  # noqa: E501
# The best that one linear layer can say about XOR is one half, everywhere.
XOR_CHECK = """
assert abs(loss.item() - 0.25) < 1e-3
assert abs(pred.numpy() - 0.5).max() < 0.05
"""

SNIPPETS = {
    "tensors": (TENSORS, TENSORS_CHECK, "[2. 4. 6.]"),
    "gradient": (GRADIENT, GRADIENT_CHECK, "[2. 2. 2.]"),
    "layers": (LAYERS, LAYERS_CHECK, ""),
    "xor": (XOR, XOR_CHECK, "Tensor([["),
}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Puts back what the snippets and the stand-in modules change for the whole process."""
    modules = dict(sys.modules)
    Tensor.manual_seed(0)
    yield
    Tensor.training = False
    for name in set(sys.modules) - set(modules):
        if name.split(".")[0] == "tinygrad":
            del sys.modules[name]


def under_own_name(code: str, _: Path) -> str:
    return run_here(code.replace("from tinygrad", "from gradlet"))


def as_tinygrad(code: str, _: Path) -> str:
    gradlet.install_as_tinygrad()
    return run_here(code)


def run_here(code: str) -> str:
    printed: list[str] = []
    names = {"print": lambda *values: printed.append(" ".join(map(str, values)))}
    exec(compile(code, "snippet", "exec"), names)
    return "\n".join(printed)


def as_script(code: str, folder: Path) -> str:
    (folder / "script.py").write_text(code)
    return run_module(folder, "script.py").stdout


def run_module(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _MODULE, str(ROOT), *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


# `python -m gradlet`, which also finds a gradlet that is not installed.
_MODULE = """
import runpy, sys
sys.path.insert(0, "")
sys.path.insert(1, sys.argv.pop(1))
runpy.run_module("gradlet", run_name="__main__", alter_sys=True)
"""

WAYS: list[Callable[[str, Path], str]] = [under_own_name, as_tinygrad, as_script]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SNIPPETS)
def test_snippet(name: str, way: Callable[[str, Path], str], tmp_path: Path) -> None:
    code, checks, shown = SNIPPETS[name]
    done = "print('checked')"
    printed = way(f"{code}{checks}{done}", tmp_path)
    assert shown in printed
    assert printed.rstrip().endswith("checked")


TINY_JIT = """
from tinygrad import Tensor
from {module} import TinyJit

@TinyJit
def add(x, y): return (x + y).realize()

found = [add(Tensor([1.0, n]), Tensor([2.0, 2.0])).tolist() for n in range(4)]
assert found == [[3.0, n + 2.0] for n in range(4)]
"""


@pytest.mark.parametrize("module", ["tinygrad", "tinygrad.engine.jit"])
def test_tiny_jit_is_jit(module: str) -> None:
    gradlet.install_as_tinygrad()
    run_here(TINY_JIT.format(module=module))


def test_missing_names_are_missed_at_import(tmp_path: Path) -> None:
    gradlet.install_as_tinygrad()
    with pytest.raises(ImportError, match=r"gradlet has no tinygrad\.Nothing"):
        exec("from tinygrad import Nothing")
    with pytest.raises(ImportError, match=r"gradlet has no tinygrad\.nn\.Nothing"):
        exec("from tinygrad.nn import Nothing")


def test_tinygrad_itself_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tinygrad", np)
    with pytest.raises(ImportError, match="too late"):
        gradlet.install_as_tinygrad()


def test_scripts_get_their_arguments_and_tracebacks(tmp_path: Path) -> None:
    code = "import sys\nfrom tinygrad import Tensor\nprint(sys.argv[1:])\nTensor([1, 2]).item()\n"
    (tmp_path / "script.py").write_text(code)
    done = run_module(tmp_path, "script.py", "--epochs", "3")
    assert done.stdout.strip() == "['--epochs', '3']"
    assert 'script.py", line 4' in done.stderr
    assert done.returncode == 1


def test_help_and_missing_scripts(tmp_path: Path) -> None:
    assert "usage: python -m gradlet" in run_module(tmp_path).stdout
    missing = run_module(tmp_path, "nowhere.py")
    assert missing.returncode == 2 and "nowhere.py" in missing.stderr


def test_the_cache_is_shown_and_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLET_CACHE", str(tmp_path))
    monkeypatch.setenv("GRADLET_DEVICE", "cpu")
    (tmp_path / "other.txt").write_text("is nobody's kernel")
    assert "0 compiled kernels, 0.0 of 512 MiB" in run_module(tmp_path, "cache").stdout
    (tmp_path / "script.py").write_text(
        "from tinygrad import Tensor; print((Tensor(2) * 3).item())"
    )
    assert run_module(tmp_path, "script.py").stdout == "6\n"
    shown = run_module(tmp_path, "cache").stdout
    count = len(list((tmp_path / "kernels").glob("*.kernel")))
    assert count > 0 and shown.startswith(f"{count} compiled kernels")
    assert str(tmp_path / "kernels") in shown
    assert run_module(tmp_path, "cache", "--clear").stdout.endswith("deleted\n")
    assert not list((tmp_path / "kernels").iterdir()) and (tmp_path / "other.txt").exists()
    assert run_module(tmp_path, "script.py").stdout == "6\n"
