"""Running one chapter: parameters are checked first, the page is written whole and only on success."""
from __future__ import annotations

import ast
import doctest
import json
import re
import sys
from pathlib import Path

import nbformat
import pytest

from inc_lib import pages, parameters, run
from inc_lib.errors import InputError

ROOT = Path(__file__).resolve().parent.parent

RECORD = """\
import json
from inc_lib.files import results_folder
path = results_folder() / profile / "01_a.json"
path.parent.mkdir(parents=True, exist_ok=True)
_ = path.write_text(json.dumps({"steps": train_steps}))"""

NOISE = """\
import os, pathlib, sys, time
print("contract: steps =", train_steps)
print("progress", file=sys.stderr)
print("half a line, ", end="", flush=True); time.sleep(0); print("the other half")
print("10%\\r100%")
print("written to", pathlib.Path(os.environ["INC_HOME"]) / "runs" / "x.npz")
object()"""


# -- parameters ------------------------------------------------------------------------------------

def declared() -> dict[str, parameters.Parameter]:
    return parameters.read('name: str = "a"\nsteps: int = 3  # three\nrate: float = 1\nfast: bool = False\n'
                           "sizes: list[int] = [1, 2]\npath: str | None = None\nplain = 0.5")


def test_parameters_are_read_with_their_types():
    read = declared()
    assert {name: p.type_name for name, p in read.items()} == {
        "name": "str", "steps": "int", "rate": "float", "fast": "bool", "sizes": "list",
        "path": "str or None", "plain": "float"}
    assert [p.default for p in read.values()] == ["a", 3, 1, False, [1, 2], None, 0.5]


@pytest.mark.parametrize(("name", "text", "value"), [
    ("name", "123", "123"), ("steps", "-4", -4), ("rate", "1e-3", 0.001), ("rate", "2", 2.0),
    ("fast", "True", True), ("fast", "false", False), ("sizes", "[3]", [3]), ("path", "None", None),
    ("path", "my.npz", "my.npz")])
def test_text_is_read_by_the_declared_type(name, text, value):
    parsed = declared()[name].parse(text)
    assert parsed == value and type(parsed) is type(value)


@pytest.mark.parametrize(("name", "text"), [("steps", "3.5"), ("steps", "many"), ("rate", "fast"),
                                            ("fast", "1"), ("sizes", "3"), ("sizes", "[")])
def test_text_of_another_type_is_refused(name, text):
    with pytest.raises(InputError, match=f"parameter '{name}' takes .*found '"):
        declared()[name].parse(text)


@pytest.mark.parametrize(("source", "told"), [
    ("x: int = y", "line 1 .* is not `name: type = literal`"), ("import os", "line 1"),
    ("x: int", "line 1"), ("x: int = True", "holds True"),
    ("a = 1\nx: int = 'one'", "line 2 .*'x' is annotated int but holds 'one'"),
    ("x: Path = 'a'", "annotated 'Path'"), ("x = (1, 2)", "holds a tuple"), ("x = = 1", "not Python"),
    ("x, y = 1, 2", "line 1")])
def test_a_cell_that_is_no_list_of_parameters_is_refused(source, told):
    with pytest.raises(InputError, match=told):
        parameters.read(source)


def test_values_come_from_default_then_profile_then_hand():
    profile = {"steps": 7, "rate": 0.5, "oracle_steps": 9}
    values = parameters.resolve(declared(), profile=profile, given={"rate": "2"})
    assert (values["steps"], values["rate"], values["name"]) == (7, 2.0, "a")
    assert "oracle_steps" not in values  # a profile's key that this chapter does not have


def test_a_number_that_yaml_reads_as_text_is_explained(tmp_path):
    (tmp_path / "p.yaml").write_text("train_steps: 1e3\n")
    steps = parameters.read("train_steps: int = 1")
    with pytest.raises(InputError, match=r"takes int, found '1e3' \(str\): in YAML write 0.001, not 1e-3"):
        parameters.resolve(steps, profile=parameters.profile_values("p", tmp_path), given={})


@pytest.mark.parametrize(("text", "told"), [("train_stps: 3\n", "did you mean 'train_steps'"),
                                            ("- 3\n", "holds list"), ("a: [\n", "is not YAML")])
def test_a_profile_that_cannot_be_used_is_refused(tmp_path, text, told):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(InputError, match=told):
        parameters.profile_values(str(tmp_path / "p.yaml"), tmp_path)


def test_a_profile_may_set_what_only_one_chapter_has(project):
    project.write("01_a", parameters="n_repeats: int = 16")
    profiles = project.root / "notebooks" / "profiles"
    (profiles / "cpu.yaml").write_text("n_repeats: 64\n")
    assert parameters.profile_values("cpu", profiles) == {"n_repeats": 64}
    (profiles / "cpu.yaml").write_text("n_repeat: 64\n")
    with pytest.raises(InputError, match="did you mean 'n_repeats'"):
        parameters.profile_values("cpu", profiles)


def test_the_profiles_hold_known_names_and_name_themselves():
    folder = ROOT / "notebooks" / "profiles"
    assert parameters.profile_names(folder) == ["smoke", "cpu", "gpu"]
    for name in parameters.profile_names(folder):
        assert parameters.profile_values(name, folder)["profile"] == name


def test_values_are_written_into_the_cell_beside_their_comments():
    source = ('name: str = "é"   # a name\nsteps: int = 3    # how many\nsizes: list = [1,\n   2]\n'
              "rate = 1e-3  # kept")
    written = parameters.write(source, {"name": 'a "b"', "steps": 480000, "sizes": [3]})
    assert written == ('name: str = "a \\"b\\""  # a name\nsteps: int = 480000  # how many\n'
                       "sizes: list = [3]\nrate = 1e-3  # kept")
    assert {name: p.default for name, p in parameters.read(written).items()} == {
        "name": 'a "b"', "steps": 480000, "sizes": [3], "rate": 0.001}


@pytest.mark.parametrize("module", [parameters, pages])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0


# -- what is refused before a kernel starts --------------------------------------------------------

@pytest.mark.parametrize(("words", "told"), [
    (["-p", "train_stps", "3"], "unknown parameter 'train_stps': did you mean 'train_steps'? "
                                "Valid: profile, dataset, train_steps, rate, fast."),
    (["-p", "train_steps", "many"], "parameter 'train_steps' takes int, found 'many'"),
    (["-p", "fast", "yes"], "parameter 'fast' takes bool, found 'yes'"),
    (["--profile", "gpuu"], "unknown profile 'gpuu': did you mean 'gpu'? Valid: smoke, cpu, gpu."),
    (["--profile", "absent.yaml"], "profile absent.yaml does not exist"),
    (["-o", "requirements.lock/out.ipynb"], "cannot be made"),
])
def test_a_mistake_costs_a_sentence_and_no_kernel(project, words, told):
    done = project.run(project.write("01_a", "1 + 1"), *words)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and told in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(project.root.rglob("*.txt"))


@pytest.mark.parametrize(("name", "text", "told"), [
    ("02_b.ipynb", None, "does not exist: that folder holds 01_a.ipynb"),
    ("elsewhere/b.ipynb", None, "does not exist: there is no notebook beside it"),
    ("02_b.ipynb", "no json", "is not a Jupyter notebook"),
    ("02_b.ipynb", '{"cells": 3}', "is not a Jupyter notebook"),
    ("02_b.ipynb", "\x80", "is not a Jupyter notebook"),
])
def test_a_notebook_that_cannot_be_read_is_refused(project, name, text, told):
    project.write("01_a")
    path = project.root / "notebooks" / name
    if text is not None:
        path.write_text(text, encoding="latin-1")
    done = project.run(path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False) and told in done.stderr


@pytest.mark.parametrize(("tags", "told"), [([], "has 0 code cells tagged 'parameters'"),
                                            (["parameters"], "has 2 code cells tagged 'parameters'")])
def test_exactly_one_cell_holds_the_parameters(project, tags, told):
    path = project.write("01_a", "x = 1")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.metadata.tags = tags
    nbformat.write(notebook, path)
    done = project.run(path)
    assert done.returncode == 2 and f"01_a.ipynb: the notebook {told}" in done.stderr


# -- a run -----------------------------------------------------------------------------------------

def test_a_run_leaves_a_page_a_stamp_and_a_log(project):
    notebook = project.write("01_a", NOISE, RECORD)
    before = notebook.read_bytes()
    done = project.run(notebook, "--profile", "cpu")
    assert done.returncode == 0, done.stderr
    path = project.root / "runs" / "cpu" / "01_a.ipynb"
    assert re.fullmatch(r"01_a: done in .*, peak \d+ MB: .*runs/cpu/01_a.ipynb\n", done.stdout)
    assert notebook.read_bytes() == before

    page = pages.load(path)
    assert [cell.id for cell in page.cells] == ["cell-0", pages.STAMP, *(f"cell-{n}" for n in range(1, 6))]
    assert "train_steps: int = 6000           # steps" in page.cells[2].source
    stdout, result = page.cells[4].outputs
    assert stdout.text == ("contract: steps = 6000\nhalf a line, the other half\n100%\n"
                           "written to ./runs/x.npz\n")
    assert result.data["text/plain"] == "<object at 0x…>"
    assert set(page.metadata) == {"inc", "kernelspec", "language_info"}
    assert all(set(cell.metadata) <= {"tags"} for cell in page.cells)

    stamp = pages.stamp_of(page)
    assert stamp["parameters"] == {"profile": "cpu", "dataset": "shapes3d-twin", "train_steps": 6000,
                                   "rate": 0.1, "fast": False}
    assert (stamp["chapter"], stamp["profile"], stamp["commit"]) == ("01_a", "cpu", "unknown")
    assert stamp["key"] == pages.key(stamp["depends_on"]) and set(stamp["results"]) == {"cpu/01_a.json"}
    assert 20 < stamp["memory_mb"] < 4000 and stamp["seconds"] > 0 and "core" in stamp["device"]
    for shown in ("profile cpu", stamp["date"][:10], f"{stamp['memory_mb']} MB", stamp["device"]):
        assert shown in page.cells[1].source
    assert (project.root / "runs" / "results" / "cpu" / "01_a.json").exists()

    logs = path.parent / "logs"
    assert "progress" in (logs / "01_a.txt").read_text()
    assert json.loads((logs / "01_a.json").read_text()) == stamp
    assert pages.problems(page, pages.load(notebook), root=project.root) == []


def test_what_another_run_records_at_another_profile_meanwhile_is_not_ours(project):
    other = RECORD.replace("/ profile /", "/ 'gpu' /")
    done = project.run(project.write("01_a", RECORD, other), "--profile", "cpu")
    assert done.returncode == 0, done.stderr
    assert (project.root / "runs" / "results" / "gpu" / "01_a.json").exists()
    stamp = pages.stamp_of(pages.load(project.root / "runs" / "cpu" / "01_a.ipynb"))
    assert set(stamp["results"]) == {"cpu/01_a.json"}


def test_two_runs_give_the_same_page_but_for_the_stamp(project):
    notebook = project.write("01_a", NOISE.replace("INC_HOME", "HOME"))
    texts = []
    for name in ("one", "two"):
        output = project.root / f"{name}.ipynb"
        assert project.run(notebook, "-o", output).returncode == 0
        page = pages.load(output)
        del page.metadata["inc"], page.cells[1]
        texts.append(pages.dumps(page))
    assert texts[0] == texts[1]


def test_a_run_with_parameters_of_your_own_leaves_the_books_run_alone(project):
    notebook = project.write("01_a", RECORD)
    (project.root / "mine.npz").write_bytes(b"data")
    done = project.run(notebook, "-p", "dataset", "mine.npz", "-p", "train_steps", "7")
    assert done.returncode == 0, done.stderr
    output = project.root / "runs" / "own" / "01_a-smoke-dataset=mine.npz-train_steps=7.ipynb"
    assert pages.stamp_of(pages.load(output))["parameters"]["train_steps"] == 7
    assert (output.parent / "results" / "smoke" / "01_a.json").exists()
    assert not (project.root / "runs" / "smoke").exists() and not (project.root / "runs" / "results").exists()


def earlier(project) -> Path:
    """The output of an earlier run, which a run that does not succeed must leave alone."""
    output = project.root / "runs" / "smoke" / "01_a.ipynb"
    output.parent.mkdir(parents=True)
    output.write_bytes(b"earlier")
    return output


def test_a_failing_cell_is_told_in_one_sentence_and_nothing_is_overwritten(project):
    output = earlier(project)
    notebook = project.write("01_a", "x = 1", "# a comment\ny = 1 / 0")
    done = project.run(notebook)
    log = output.parent / "logs" / "01_a.ipynb"
    assert done.returncode == 1 and done.stderr == (
        "error: 01_a failed in code cell 3 (`y = 1 / 0`) under 'Step 2': ZeroDivisionError: division by zero "
        f"(log: {log})\n")
    assert output.read_bytes() == b"earlier" and "ZeroDivisionError" in log.read_text()
    assert not list(output.parent.glob(".*"))


def test_a_dead_kernel_is_told_with_the_cell_and_the_memory(project):
    done = project.run(project.write("01_a", "x = 1", "import os\nos.kill(os.getpid(), 9)"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "the kernel died in code cell 3 (`import os`) under 'Step 2'; it had used" in done.stderr


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_ends_cleanly(project, name):
    """The cell interrupts the process that runs it, as Ctrl-C or a cluster would, and then waits."""
    output = earlier(project)
    notebook = project.write("01_a", f"import os, signal, threading\nos.kill(os.getppid(), signal.{name})\n"
                                     "threading.Event().wait()")
    done = project.run(notebook)
    assert done.returncode == 130
    assert done.stderr == "interrupted: 01_a.ipynb was not finished; earlier output is as it was\n"
    assert output.read_bytes() == b"earlier" and not list(output.parent.glob(".*"))


def test_plain_papermill_works_too(project):
    notebook = project.write("01_a", "print(dataset, train_steps, rate)")
    done = project.command(sys.executable, "-m", "papermill", notebook, "out.ipynb", "--no-progress-bar",
                           "-p", "dataset", "my data.npz", "-f", "notebooks/profiles/cpu.yaml")
    assert done.returncode == 0, done.stderr
    page = nbformat.read(project.root / "out.ipynb", as_version=4)
    assert page.cells[-1].outputs[0].text == "my data.npz 6000 0.1\n"


def test_help_names_the_options_and_the_exit_status(capsys):
    with pytest.raises(SystemExit, match="0"):
        run.main(["--help"])
    told = capsys.readouterr().out
    assert all(word in told for word in ("--profile", "-p NAME VALUE", "--log", "130 interrupted"))


def test_the_heartbeat_says_where_how_long_and_what_was_said_last(tmp_path):
    with run.Watch("04_e1", tmp_path / "04.txt", usual=200) as watch:
        assert watch.line(3) == "04_e1: starting, 3 s of about 3 min 20 s"
        watch.cells = [nbformat.v4.new_code_cell(metadata={"papermill": {"start_time": time}})
                       for time in ("2026", "2026", None)]
        watch.write("step 1\rstep 2, 40 a second\n\n")
        watch.flush()
        assert watch.line(65) == "04_e1: cell 2 of 3, 1 min 05 s of about 3 min 20 s | step 2, 40 a second"


def test_no_chapter_can_depend_on_the_modules_that_run_and_publish_it():
    """`pages.HOUSE` is left out of the content key; so nothing else in inc_lib may import from it."""
    house = {Path(name).stem for name in pages.HOUSE}
    for path in (ROOT / "inc_lib").rglob("*.py"):
        if path.relative_to(ROOT / "inc_lib").as_posix() in pages.HOUSE:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                imported = {*(node.module or "").split("."), *(alias.name for alias in node.names)}
                assert not (node.level or "inc_lib" in imported) or not imported & house, path.name
            elif isinstance(node, ast.Import):
                assert not any(set(alias.name.split(".")[1:]) & house for alias in node.names
                               if alias.name.startswith("inc_lib.")), path.name
