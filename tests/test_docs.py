"""What the documents say is true: the tour passes every stage, the links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gradlet import Tensor
from gradlet.base import dtypes
from gradlet.runtime.device import get_device
from tests.engine.test_random_graphs import assert_edges_agree, elementwise_program, results

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
HEADINGS = [
    "1. Graph",
    "2. Kernels",
    "3. Loops",
    "4. Linear program",
    "5. LLVM IR",
    "6. Machine code",
    "7. Numbers",
]
LINKS = [
    (page, link)
    for page in sorted(DOCS.rglob("*.md"))
    for link in sorted(set(re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))))
]


@pytest.fixture(scope="module")
def tour() -> str:
    done = subprocess.run(
        [sys.executable, DOCS / "tour.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tour_goes_through_every_stage_twice(tour: str) -> None:
    shown = re.findall(r"^\d\. .*", tour, re.MULTILINE)
    assert shown == HEADINGS * 2
    assert tour.endswith("Both agree with NumPy.\n")


def test_tour_shows_what_each_stage_makes(tour: str) -> None:
    for text in (
        "%1 = add %0 3 : int64[]",
        "p0[] = (p1[] + 3)",
        "add((p1[i0, r2] * p2[r2, i1]) for r2 in 48)",
        "fmul contract",
    ):
        assert text in tour


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{p.name}:{link}" for p, link in LINKS])
def test_links_lead_somewhere(page: Path, link: str) -> None:
    assert (page.parent / link).exists()


# In the text, a name in backquotes behind a link names something in that file.
NAMED = [
    (page, link, name)
    for page in sorted(DOCS.rglob("*.md"))
    for name, link in re.findall(r"\[`(\w+)`\]\(([^)#:]+\.py)\)", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("page", "link", "name"), NAMED, ids=[n[2] for n in NAMED])
def test_names_stand_in_the_files_they_link_to(page: Path, link: str, name: str) -> None:
    text = (page.parent / link).read_text(encoding="utf-8")
    assert re.search(rf"^(    )?((def|class) {name}\b|{name}\b.*=)", text, re.MULTILINE)


SNIPPETS = [
    (page, number, snippet)
    for page in sorted(DOCS.rglob("*.md"))
    for number, snippet in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    )
]


@pytest.mark.parametrize(
    ("page", "number", "snippet"), SNIPPETS, ids=[f"{p.stem}-{n}" for p, n, _ in SNIPPETS]
)
def test_snippets_of_the_pages_run(page: Path, number: int, snippet: str) -> None:
    exec(compile(snippet, f"{page.name}, snippet {number}", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("device", ["exact", "scalar"])
def test_the_devices_that_a_page_writes_are_whole(device: str) -> None:
    """They compute every op at the edges of every dtype."""
    written = [s for page, _, s in SNIPPETS if page.stem == "devices" and f'"{device}"' in s]
    exec(written[-1], {"__name__": "__main__"})
    for dtype in dtypes.ALL:
        program = elementwise_program(dtype)
        assert_edges_agree(program, results(program, get_device(device)))


def test_the_index_leads_to_every_page() -> None:
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    linked = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#:]+)\)", text)}
    assert linked >= {page for page in DOCS.rglob("*.md") if page.name != "README.md"}


def test_every_name_of_tensor_is_on_one_page() -> None:
    """In a table; a method in place goes with the method that it is the form of."""
    listed = [
        name
        for page in sorted((DOCS / "tensor").glob("*.md"))
        for line in page.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
        for name in re.findall(r"`(\w+)`", line)
    ]
    assert sorted(listed) == sorted(set(listed)), "a name is on two pages"
    names = {name for name in dir(Tensor) if not name.startswith("_")} | {"default_dtype"}
    in_place = {name for name in names if name.endswith("_") and name[:-1] in names}
    assert set(listed) - in_place == names - in_place


def test_what_there_is_not_is_not_there() -> None:
    section = (DOCS / "coming.md").read_text(encoding="utf-8").split("## What there is not\n")[1]
    names = set(re.findall(r"`(\w+)`", section))
    assert len(names) > 20 and not [name for name in names if hasattr(Tensor, name)]
