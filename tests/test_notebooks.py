"""The chapters as they are stored, and executed twice at the smoke scale: contracts must come out again."""
from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import nbformat
import pytest

from inc_lib import book, pages, parameters

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = [path.stem for path in book.sources(ROOT)]

# nbval compares every character of every output; all but contract lines are blanked first, on both sides.
ONLY_CONTRACTS = "[all but contract lines]\nregex: (?m)^(?!.*\\bcontract: ).*$\\n?\nreplace: \n"
CONTRACT = re.compile(r"\bcontract: ")


def chapter(name: str) -> nbformat.NotebookNode:
    return pages.load(ROOT / "notebooks" / f"{name}.ipynb")


def lines(source: str) -> list[str]:
    return [line for line in source.splitlines() if line.strip()]


# -- as stored -------------------------------------------------------------------------------------

def test_there_are_chapters():
    assert len(CHAPTERS) >= 8


@pytest.mark.parametrize("name", CHAPTERS)
def test_stored_without_outputs(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    command = [sys.executable, "-m", "nbstripout", "--verify", "--keep-id", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", CHAPTERS)
def test_stored_form(name):
    notebook = chapter(name)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any(parameters.INJECTED in cell.metadata.get("tags", []) for cell in notebook.cells)
    assert notebook.cells[0].cell_type == "markdown" and pages.title(notebook) != "untitled"
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@pytest.mark.parametrize("name", CHAPTERS)
def test_parameters_are_annotated_commented_and_at_the_smoke_scale(name):
    source = parameters.tagged(chapter(name).cells)["source"]
    declared = parameters.read(source)
    assert all(re.match(r"\w+: \S.* = .+  # \S|seed: int = ", line) for line in lines(source)), source
    assert pages.expected(chapter(name), "smoke") == {name: p.default for name, p in declared.items()}


@pytest.mark.parametrize("name", CHAPTERS)
def test_checkpoints_that_a_chapter_names_exist(name):
    values = pages.expected(chapter(name), "cpu")
    named = [stem.format(**values) for stem in chapter(name).metadata.get("inc", {}).get("checkpoints", [])]
    stems = {path.stem for path in (ROOT / "checkpoints").glob("*.safetensors")}
    assert all(any(fnmatchcase(stem, pattern) for stem in stems) for pattern in named), named


@pytest.mark.parametrize("name", CHAPTERS)
def test_little_code_and_much_prose(name):
    cells = chapter(name).cells
    sizes = [len(lines(cell.source)) for cell in cells if cell.cell_type == "code"]
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    assert max(sizes) <= 30 and statistics.median(sizes) <= 8, sorted(sizes)
    assert words >= 8 * sum(sizes), f"{words / sum(sizes):.1f} words to a line of code"


# -- executed --------------------------------------------------------------------------------------

def run(notebook: Path, output: Path, **chosen: str) -> subprocess.CompletedProcess:
    given = [word for name, value in chosen.items() for word in ("-p", name, value)]
    return subprocess.run([sys.executable, "-m", "inc_lib.run", notebook, "-o", output, *given], capture_output=True,
                          text=True, cwd=output.parent)


def contracted(log: Path, target: Path) -> int:
    """Write what papermill left in `log` so that nbval compares the cells with contract lines.

    Returns:
        How many cells those are.
    """
    notebook = nbformat.read(log, as_version=4)
    notebook.cells.pop()  # the runner's own
    count = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            held = any(CONTRACT.search(str(output.get("text") or output.get("data")))
                       for output in cell.outputs if output.output_type != "error")
            count += held
            if not held:
                cell.metadata["tags"] = [*cell.metadata.get("tags", []), "nbval-ignore-output"]
    nbformat.write(notebook, target)
    return count


def nbval(notebook: Path) -> subprocess.CompletedProcess:
    """Execute a notebook again under strict nbval."""
    rules = notebook.with_suffix(".cfg")
    rules.write_text(ONLY_CONTRACTS)
    empty = notebook.with_suffix(".ini")
    empty.write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-c", empty, "--rootdir", notebook.parent, "--nbval",
               "--nbval-sanitize-with", rules, "--nbval-current-env", "-p", "no:cacheprovider", notebook]
    return subprocess.run(command, capture_output=True, text=True, cwd=notebook.parent,
                          env={**os.environ, "NO_COLOR": "1"})


@pytest.mark.parametrize("name", CHAPTERS)
def test_runs_at_the_smoke_scale_and_keeps_its_contract(name, tmp_path, record_property):
    output = tmp_path / f"{name}.ipynb"
    done = run(ROOT / "notebooks" / f"{name}.ipynb", output)
    assert done.returncode == 0, done.stderr
    page = pages.load(output)
    assert pages.problems(page, chapter(name)) == []
    stamp = pages.stamp_of(page)
    record_property("chapter", f"{name}: {stamp['seconds']:.0f} s, {stamp['memory_mb']:,} MB")
    again = tmp_path / "again.ipynb"
    assert contracted(tmp_path / "logs" / output.name, again), "no contract line: nothing to compare"
    compared = nbval(again)
    assert compared.returncode == 0, compared.stdout[-6000:]


def test_chapter_2_runs_where_a_factor_never_varies(tmp_path):
    output = tmp_path / "sprites.ipynb"
    done = run(ROOT / "notebooks" / "02_atomic_actions.ipynb", output, dataset="dsprites-twin", model="comp-wae")
    assert done.returncode == 0, done.stderr
    told = [text for cell in pages.load(output).cells for out in cell.get("outputs", [])
            if "loudness" in (text := out.get("data", {}).get("text/plain", ""))]
    assert told and not any("colour" in text for text in told), "the sprites have one colour"


@pytest.mark.parametrize(("code", "passes"), [
    ("print('contract: x = 1'); print(time.time_ns())", True),
    ("print('contract: x =', time.time_ns())", False),
    ("display(HTML(f'<p><code>contract: x = {time.time_ns()}</code></p>'))", False),
    ("display(HTML('<p><code>contract: x = 1</code></p>'), HTML(f'<b>{time.time_ns()}</b>'))", True)])
def test_the_comparison_sees_contract_lines_and_nothing_else(project, code, passes):
    notebook = project.write("01_a", "import time\nfrom IPython.display import HTML, display", code,
                             "print(time.time_ns())")
    output = project.root / "out" / "01_a.ipynb"
    assert project.run(notebook, "-o", output).returncode == 0
    again = output.with_name("again.ipynb")
    assert contracted(output.parent / "logs" / output.name, again) == 1
    compared = nbval(again)
    assert (compared.returncode == 0) == passes, compared.stdout
    assert passes or "Cell outputs differ" in compared.stdout
