"""The shape of the program itself: who imports whom, who reads the environment, how long files are.

    base < ir < {grad, schedule, lower} < render < runtime < engine < tensor < transforms < jit < nn
        < compat

Each folder may import those to its left; the three in braces do not import each other. The files
directly in `gradlet/` stand above all folders.
"""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gradlet"
RANKS = {
    "base": 0,
    "ir": 1,
    "grad": 2,
    "schedule": 2,
    "lower": 2,
    "render": 3,
    "runtime": 4,
    "engine": 5,
    "tensor": 6,
    "transforms": 7,
    "jit": 8,
    "nn": 9,
    "compat": 10,
}
TOP = ""
MAY_IMPORT_IN_FUNCTIONS = {"runtime", "nn", TOP}
ONLY_READER_OF_ENVIRONMENT = "gradlet.base.settings"
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
HEAVY = {"torch", "matplotlib", "rich", "sklearn", "llvmlite", "scipy", "pandas", "wgpu"}


def module_name(path: Path) -> str:
    """gradlet/ir/node.py -> gradlet.ir.node; gradlet/ir/__init__.py -> gradlet.ir."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
SOURCES = {name: path.read_text(encoding="utf-8") for name, path in FILES.items()}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}


class Import(NamedTuple):
    """One imported module.

    Attributes:
        module: its full name, such as gradlet.ir.node.
        line: where the import stands.
        in_function: it runs only when a function is called.
        for_types: it stands under `if TYPE_CHECKING`.
    """

    module: str
    line: int
    in_function: bool
    for_types: bool


def folder_of(module: str) -> str:
    """The folder of gradlet/ in which a module lives, or TOP."""
    parts = module.split(".")
    inner = len(parts) > 2 or (PACKAGE / parts[-1]).is_dir()
    return parts[1] if inner and len(parts) > 1 else TOP


def targets(statement: ast.Import | ast.ImportFrom, module: str) -> Iterator[str]:
    """Full names of what a statement imports: modules where it names modules."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
        return
    base = statement.module or ""
    if statement.level:
        is_package = FILES[module].name == "__init__.py"
        parts = module.split(".")
        kept = len(parts) - statement.level + is_package
        base = ".".join([*parts[:kept], *([base] if base else [])])
    for alias in statement.names:
        inner = f"{base}.{alias.name}"
        yield inner if inner in FILES else base


def imports(module: str) -> Iterator[Import]:
    """Every import in a module, wherever it stands."""
    pending: list[tuple[ast.AST, bool, bool]] = [(TREES[module], False, False)]
    while pending:
        node, in_function, for_types = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            for target in targets(node, module):
                yield Import(target, node.lineno, in_function, for_types)
        in_function |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for_types |= isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        pending += [(child, in_function, for_types) for child in ast.iter_child_nodes(node)]


def own_imports(module: str) -> Iterator[Import]:
    """The imports of gradlet's own modules."""
    return (found for found in imports(module) if found.module.split(".")[0] == "gradlet")


def may_import(importer: str, imported: str) -> bool:
    """Whether code in one folder may import another folder."""
    if importer in (imported, TOP):
        return True
    return imported != TOP and RANKS[imported] < RANKS[importer]


def test_every_folder_has_a_place_in_the_order() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    assert folders == set(RANKS)


def test_imports_point_one_way() -> None:
    wrong = [
        f"{module}:{found.line} imports {found.module}"
        for module in FILES
        for found in own_imports(module)
        if not may_import(folder_of(module), folder_of(found.module))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("ir", "base", True),
        ("base", "ir", False),
        ("grad", "schedule", False),
        ("lower", "schedule", False),
        ("render", "lower", True),
        ("nn", "tensor", True),
        ("tensor", "nn", False),
        ("nn", TOP, False),
        (TOP, "nn", True),
    ],
)
def test_the_order_itself(importer: str, imported: str, allowed: bool) -> None:
    assert may_import(importer, imported) is allowed


def test_no_module_waits_for_itself() -> None:
    """Imports that run when modules load form no cycle; nor do those for types across folders."""
    graph: dict[str, set[str]] = {module: set() for module in FILES}
    for module in FILES:
        for found in own_imports(module):
            within_folder = folder_of(found.module) == folder_of(module)
            if not found.in_function and not (found.for_types and within_folder):
                graph[module].add(found.module)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail("modules import each other: " + " <- ".join(error.args[1]))


def test_functions_import_only_where_dependencies_are_optional() -> None:
    wrong = [
        f"{module}:{found.line} imports {found.module} inside a function"
        for module in FILES
        for found in imports(module)
        if found.in_function and folder_of(module) not in MAY_IMPORT_IN_FUNCTIONS
    ]
    assert not wrong, "\n".join(wrong)


def environment_reads(tree: ast.AST) -> Iterator[int]:
    """Lines that reach for the environment through the module os."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT:
            if isinstance(node.value, ast.Name) and node.value.id == "os":
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (node.lineno for alias in node.names if alias.name in ENVIRONMENT)


def test_only_settings_reads_the_environment() -> None:
    wrong = [
        f"{module}:{line}"
        for module, tree in TREES.items()
        if module != ONLY_READER_OF_ENVIRONMENT
        for line in environment_reads(tree)
    ]
    assert not wrong, f"read the environment in base/settings.py instead: {', '.join(wrong)}"
    assert list(environment_reads(TREES[ONLY_READER_OF_ENVIRONMENT]))


def test_files_and_lines_stay_short() -> None:
    wrong = []
    for module, source in SOURCES.items():
        lines = source.splitlines()
        if len(lines) > 400:
            wrong.append(f"{module} has {len(lines)} lines")
        wrong += [f"{module}:{i} is wide" for i, line in enumerate(lines, 1) if len(line) > 100]
    assert not wrong, "\n".join(wrong)


def test_no_paths_of_one_machine() -> None:
    pattern = re.compile(r"(?<![\w.])/(work|tmp|home|root)/")
    wrong = [
        f"{module}:{number}: {line.strip()}"
        for module, source in SOURCES.items()
        for number, line in enumerate(source.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def test_import_loads_nothing_heavy() -> None:
    program = "import sys, gradlet; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert not HEAVY & set(done.stdout.split())
