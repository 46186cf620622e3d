"""From executed chapters to a book: what a run depends on, what is refused, released and rendered."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from inc_lib import book, pages
from inc_lib.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "title: Tiny\nauthor: us\nonly_build_toc_files: true\nexecute:\n  execute_notebooks: 'off'\n"
CONTENTS = "format: jb-book\nroot: intro\nchapters:\n  - file: chapters/01_a\n  - file: status\n"

BEGIN = "from inc_lib import actions\nworld = 'dsprites-twin'"


def execute(project, name: str, profile: str = "cpu", folder: str | None = None, **stamped) -> Path:
    """A page as `inc_lib.run` writes it, without a kernel: each cell printed its source."""
    source = pages.load(project.root / "notebooks" / f"{name}.ipynb")
    values = pages.expected(source, profile, root=project.root)
    executed = nbformat.from_dict(json.loads(json.dumps(source)))
    for number, cell in enumerate((cell for cell in executed.cells if cell.cell_type == "code"), 1):
        cell.execution_count = number
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=f"ran {cell.source}\n")]
    depends_on = pages.depends_on(source, values, root=project.root)
    stamp = {"chapter": name, "profile": profile, "parameters": values, "date": "2026-11-22T10:00:00+00:00",
             "commit": "abc", "depends_on": depends_on, "key": pages.key(depends_on), "seconds": 125.0,
             "device": "a processor with 2 cores", "memory_mb": 1234, "results": {}, **stamped}
    path = project.root / (folder or f"runs/{profile}") / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(pages.dumps(pages.page(source, executed, stamp)))
    return path


def why_stale(project, page: Path) -> list[str]:
    source = pages.load(project.root / "notebooks" / page.name)
    return pages.stale(pages.stamp_of(pages.load(page)), source, root=project.root)


@pytest.fixture
def chapter(project) -> Path:
    """The page of chapter 01_a, executed at the cpu profile."""
    project.write("01_a", BEGIN, "print(train_steps)  # how many")
    for name in ("shapes3d-twin_64_ada-gvae_s0", "dsprites-twin_64_ada-gvae_s0", "mpi3d-twin_64_ada-gvae_s0"):
        (project.root / "checkpoints" / f"{name}.safetensors").write_bytes(name.encode())
    return execute(project, "01_a")


# -- what a run depends on -------------------------------------------------------------------------

def test_prose_comments_and_layout_execute_nothing(project, chapter):
    project.write("01_a", f"\n{BEGIN}  # another world", "\n# why\nprint(train_steps)",
                  prose="Another story.")
    longer = '"""A longer\n\nstory."""\n# noted\n\n\nx = 1  # one\n'
    (project.root / "inc_lib" / "actions.py").write_text(longer)
    (project.root / "inc_lib" / "book.py").write_text("changed = True\n")
    (project.root / "requirements.lock").write_text("# other words\n\nnumpy==2.0.0\n")
    (project.root / "checkpoints" / "mpi3d-twin_64_ada-gvae_s0.safetensors").write_bytes(b"not of concern")
    assert why_stale(project, chapter) == []
    page = pages.load(chapter)
    merged = pages.page(pages.load(project.root / "notebooks" / "01_a.ipynb"), page, pages.stamp_of(page))
    assert "Another story." in merged.cells[0].source and "# another world" in merged.cells[4].source
    assert [cell.get("outputs") for cell in merged.cells] == [cell.get("outputs") for cell in page.cells]


@pytest.mark.parametrize(("path", "text", "told"), [
    ("inc_lib/actions.py", "x = 2\n", "inc_lib"),
    ("requirements.lock", "numpy==2.0.1\n", "lock"),
    ("notebooks/profiles/cpu.yaml", "train_steps: 1\n", "parameters"),
    ("checkpoints/shapes3d-twin_64_ada-gvae_s0.safetensors", "anew", "checkpoints"),
    ("checkpoints/dsprites-twin_64_beta-tcvae_s0.json", "{}", "checkpoints")])
def test_what_can_change_a_number_makes_a_chapter_stale(project, chapter, path, text, told):
    (project.root / path).parent.mkdir(exist_ok=True)
    (project.root / path).write_text(text)
    assert why_stale(project, chapter) == [told]


def test_only_modules_that_a_chapter_reaches_by_imports_make_it_stale(project):
    package = project.root / "inc_lib"
    (package / "worlds").mkdir()
    for name, code in {"__init__": "", "actions": "def f():\n    from .worlds import scenes\n",
                       "far": "import inc_lib.deep", "deep": "x = 1", "asked": "x = 1",
                       "worlds/__init__": "", "worlds/scenes": "x = 1",
                       "worlds/crowds": "x = 1", "book": "from . import run"}.items():
        (package / f"{name}.py").write_text(code)
    project.write("01_a", "from inc_lib import actions, book\nimport inc_lib.far as far",
                  'subprocess.run([sys.executable, "-m", "inc_lib.asked"])')
    chapter = execute(project, "01_a")
    for name in ("worlds/crowds", "new", "run", "book"):
        (package / f"{name}.py").write_text("x = 2")
        assert why_stale(project, chapter) == [], name
    for name in ("__init__", "actions", "worlds/__init__", "worlds/scenes", "far", "deep", "asked"):
        before = (package / f"{name}.py").read_text()
        (package / f"{name}.py").write_text(before + "\ny = 2\n")
        assert why_stale(project, chapter) == ["inc_lib"], name
        (package / f"{name}.py").write_text(before)
    project.write("02_magic", "%run something")
    chapter = execute(project, "02_magic")
    (package / "new.py").write_text("x = 3")
    assert why_stale(project, chapter) == ["inc_lib"]


def test_a_chapter_may_name_the_checkpoints_it_reads(project):
    about = {"inc": {"checkpoints": ["{dataset}_64_ada-gvae_s*"]}}
    project.write("01_a", "world = 'dsprites-twin'", metadata=about)
    kept = project.root / "checkpoints"
    chapter = execute(project, "01_a")
    (kept / "shapes3d-twin_64_oracle.safetensors").write_bytes(b"new")
    (kept / "dsprites-twin_64_ada-gvae_s0.safetensors").write_bytes(b"new")
    assert why_stale(project, chapter) == []
    (kept / "shapes3d-twin_64_ada-gvae_s1.safetensors").write_bytes(b"new")
    assert why_stale(project, chapter) == ["checkpoints"]


def test_records_of_benchmarks_that_the_code_names_make_a_chapter_stale(project):
    records = project.root / "results" / "benchmarks"
    records.mkdir(parents=True)
    package = project.root / "inc_lib"
    (package / "__init__.py").write_text('"""Of `other.json`."""\n')
    (package / "scores.py").write_text('LEDGER = ROOT / "results" / "benchmarks" / "pixels.json"  # not "other.json"\n')
    for name in ("pixels", "other", "prior"):
        (records / f"{name}.json").write_text("{}")
    project.write("01_a", "from inc_lib import scores", "read('prior.json')")
    chapter = execute(project, "01_a")
    (records / "other.json").write_text("[1]")
    assert why_stale(project, chapter) == []
    for name in ("pixels", "prior"):
        before = (records / f"{name}.json").read_text()
        (records / f"{name}.json").write_text("[1]")
        assert why_stale(project, chapter) == ["records"], name
        (records / f"{name}.json").write_text(before)
    assert why_stale(project, chapter) == []
    for name in ("pixels", "prior"):
        (records / f"{name}.json").unlink()
    assert why_stale(project, chapter) == ["records"]


def test_code_makes_a_chapter_stale(project, chapter):
    project.write("01_a", BEGIN, "print(train_steps + 1)")
    assert why_stale(project, chapter) == ["cells"]


def test_data_that_a_parameter_names_is_part_of_the_key(project):
    data = project.root / "mine"
    data.mkdir()
    source = pages.load(project.write("01_a", "x = 1"))
    values = pages.expected(source, "cpu", {"dataset": str(data)}, root=project.root)

    def key():
        return pages.depends_on(source, values, root=project.root)["data"]

    empty = key()
    (data / "a.png").write_bytes(b"a")
    assert key() != empty


def test_bare_code_keeps_strings_that_are_values():
    code = ('def f(x):\n    """Doc."""\n    s = "# no comment"\n    return x  # why\n\n\n'
            '"""Two\nlines."""\n\'x\'\n')
    assert pages.bare(code) == 'def f(x):\n    s = "# no comment"\n    return x'
    assert pages.bare("%matplotlib inline\nx = (") == "%matplotlib inline\nx = ("


# -- pages -----------------------------------------------------------------------------------------

def test_a_page_of_a_page_is_the_same_page(project, chapter):
    page, source = pages.load(chapter), pages.load(project.root / "notebooks" / "01_a.ipynb")
    again = pages.page(source, page, pages.stamp_of(page))
    assert pages.dumps(again) == chapter.read_text()


def test_papermills_injected_cell_is_dropped(project, chapter):
    page, source = pages.load(chapter), pages.load(project.root / "notebooks" / "01_a.ipynb")
    injected = nbformat.v4.new_code_cell("train_steps = 3", metadata={"tags": ["injected-parameters"]})
    page.cells.insert(3, injected)
    assert pages.dumps(pages.page(source, page, pages.stamp_of(page))) == chapter.read_text()


def test_outputs_of_other_cells_are_not_taken(project, chapter):
    project.write("01_a", "x = 1")
    page, source = pages.load(chapter), pages.load(project.root / "notebooks" / "01_a.ipynb")
    with pytest.raises(InputError, match="the run has 3 code cells, its source 2: execute it again"):
        pages.page(source, page, pages.stamp_of(page))


def test_glued_numbers_and_pictures_are_left_as_they_are(project, chapter):
    page, source = pages.load(chapter), pages.load(project.root / "notebooks" / "01_a.ipynb")
    glued = {"application/papermill.record/text/plain": "'0.98'"}
    page.cells[-1].outputs = [
        nbformat.v4.new_output("display_data", glued, metadata={"scrapbook": {"name": "f1"}}),
        nbformat.v4.new_output("display_data", {"image/png": "/tmp/abc="})]
    kept = pages.page(source, page, pages.stamp_of(page)).cells[-1].outputs
    assert kept == page.cells[-1].outputs


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
                                                (185, "3 min 05 s"), (7800, "2 h 10 min")])
def test_durations_in_words(seconds, words):
    assert pages.duration(seconds) == words


# -- the gate --------------------------------------------------------------------------------------

def judge(project, folder: str, *, publish: bool = True) -> dict[str, list[str]]:
    return book.gate(project.root / folder, publish=publish, results=project.root / "runs" / "results",
                     root=project.root)


def test_a_good_run_passes(project, chapter):
    assert judge(project, "runs/cpu") == {}


def print_into(page, text: str, name: str = "stdout") -> None:
    page.cells[-1].outputs.append(nbformat.v4.new_output("stream", name=name, text=text))


def spoil(chapter: Path, change) -> None:
    page = pages.load(chapter)
    change(page)
    chapter.write_text(nbformat.writes(page))


@pytest.mark.parametrize(("change", "told"), [
    (lambda page: page.metadata.pop("inc"), "it carries no stamp"),
    (lambda page: page.cells[-1].update(execution_count=None), "1 of 3 code cells are unexecuted"),
    (lambda page: page.cells[-1].outputs.append(nbformat.v4.new_output(
        "error", ename="ValueError", evalue="x", traceback=[])), "code cell 3 failed with ValueError"),
    (lambda page: print_into(page, "x", "stderr"), "code cell 3 holds stderr"),
    (lambda page: print_into(page, "in /home/me"), "code cell 3 shows a path of the machine: '/home/me"),
    (lambda page: page.cells[-1].outputs.append(nbformat.v4.new_output(
        "display_data", {"text/html": "<b>/Users/me/x.npz</b>"})), "code cell 3 shows a path of the machine"),
    (lambda page: page.metadata.inc.update(profile="smoke"), "it was run at the smoke scale"),
    (lambda page: page.metadata.inc.update(profile="gone"), "unknown profile 'gone'"),
    (lambda page: page.metadata.inc.update(results={"cpu/x.json": "0"}), "its record cpu/x.json is missing"),
])
def test_a_page_with_a_flaw_is_refused(project, chapter, change, told):
    spoil(chapter, change)
    found = judge(project, "runs/cpu")
    assert set(found) == {"01_a"} and told in "; ".join(found["01_a"])


@pytest.mark.parametrize("text", ["https://example.org/home/x", "a/work/b", "root/leaf", "~/home/data"])
def test_an_address_is_no_path_of_the_machine(text):
    assert not pages.MACHINE_PATH.search(text)


def test_a_smoke_run_may_be_rendered_but_not_published(project):
    project.write("01_a", "x = 1")
    execute(project, "01_a", "smoke")
    assert judge(project, "runs/smoke", publish=False) == {}
    assert judge(project, "runs/smoke") == {"01_a": ["it was run at the smoke scale"]}


def test_missing_and_orphaned_pages_are_refused(project, chapter):
    project.write("02_b", "x = 1")
    (project.root / "notebooks" / "01_a.ipynb").unlink()
    found = judge(project, "runs/cpu")
    assert found == {"02_b": ["it has not been executed"],
                     "01_a": ["there is no such notebook: delete this page"]}


def test_the_command_says_what_and_why(project, chapter):
    done = project.book("gate", "runs/cpu", "--publish")
    assert (done.returncode, done.stdout) == (0, "1 chapters in runs/cpu passed\n")
    project.write("01_a", BEGIN, "changed()")
    done = project.book("gate", "runs/cpu", "--publish")
    assert done.returncode == 1 and "  01_a: it is stale: cells changed since its run" in done.stderr


# -- release ---------------------------------------------------------------------------------------

def recorded(project, profile: str = "cpu", seed: int = 0, folder: str = "runs/results") -> dict[str, str]:
    """A record, and what a stamp says of it."""
    name = f"{profile}/shapes3d-twin/ada-gvae/s{seed}/01_a.json"
    path = project.root / folder / name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"seed": seed}))
    return {name: pages.sha256(path)}


def test_release_takes_pages_records_times_and_nothing_else(project):
    project.write("01_a", "x = 1", parameters='profile: str = "smoke"\nseed: int = 0')
    execute(project, "01_a", results=recorded(project))
    execute(project, "01_a", "smoke", seconds=12.3)
    stray = project.root / "runs" / "results" / "cpu" / "mine" / "01_a.json"
    stray.parent.mkdir()
    stray.write_text("{}")
    done = project.book("release", "runs/cpu")
    assert done.returncode == 0, done.stderr
    assert sorted(path.relative_to(project.root / "results").as_posix()
                  for path in (project.root / "results").rglob("*.json")) == [
        "cpu/shapes3d-twin/ada-gvae/s0/01_a.json", "times.json"]
    times = json.loads((project.root / "results" / "times.json").read_text())
    seconds = {profile: entry["seconds"] for profile, entry in times["01_a"].items()}
    assert seconds == {"cpu": 125.0, "smoke": 12.3}
    page = pages.load(project.root / "book" / "chapters" / "01_a.ipynb")
    assert "2 min 05 s on a processor with 2 cores" in page.cells[1].source
    assert "other profiles: smoke 12 s" in page.cells[1].source
    assert project.book("gate", "--publish").returncode == 0


def test_release_takes_other_seeds_of_the_same_run(project):
    parameters = 'profile: str = "smoke"\nseed: int = 0\ntrain_steps: int = 3'
    source = pages.load(project.write("01_a", "x = 1", parameters=parameters))
    execute(project, "01_a")
    for seed, steps in ((1, 6000), (2, 5)):  # the second is of another scale
        values = pages.expected(source, "cpu", {"seed": seed, "train_steps": steps}, root=project.root)
        page = execute(project, "01_a", folder="runs/own", parameters=values,
                       depends_on=pages.depends_on(source, values, root=project.root),
                       results=recorded(project, seed=seed, folder="runs/own/results"))
        page.rename(page.with_name(f"01_a-cpu-seed={seed}.ipynb"))
    assert project.book("release", "runs/cpu").returncode == 0
    assert [path.parent.name for path in (project.root / "results").rglob("01_a.json")] == ["s1"]


def test_a_refused_release_changes_nothing(project, chapter):
    (project.root / "inc_lib" / "actions.py").write_text("x = 3\n")
    done = project.book("release", "runs/cpu")
    assert done.returncode == 1 and "01_a: it is stale: inc_lib changed" in done.stderr
    assert not (project.root / "results").exists() and not (project.root / "book" / "chapters").exists()
    assert "runs/gpu does not exist" in project.book("release", "runs/gpu").stderr


def test_release_stamps_the_commit_that_holds_what_ran(project, chapter):
    def git(*words):
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(["git", *who, *words], cwd=project.root, check=True, capture_output=True,
                              text=True).stdout.strip()

    git("init", "-q")
    git("add", "inc_lib", "requirements.lock", "checkpoints")
    git("commit", "-qm", "first")
    done = project.book("release", "runs/cpu")  # the notebooks are not committed yet
    assert done.returncode == 1 and "differ from the last commit: commit them" in done.stderr
    git("add", "notebooks")
    git("commit", "-qm", "second")
    assert project.book("release", "runs/cpu").returncode == 0
    stamp = pages.stamp_of(pages.load(project.root / "book" / "chapters" / "01_a.ipynb"))
    assert stamp["commit"] == git("rev-parse", "--short=9", "HEAD")


# -- the book --------------------------------------------------------------------------------------

@pytest.fixture
def tiny_book(project, chapter) -> Path:
    folder = project.root / "book"
    (folder / "_config.yml").write_text(CONFIG)
    (folder / "_toc.yml").write_text(CONTENTS)
    (folder / "intro.md").write_text("# Tiny\n\nHello.\n")
    (folder / "status.md").write_text(f"# Status\n\n{book.STATUS_MARK}\n")
    return folder


def test_the_book_is_built_from_a_copy(project, chapter, tiny_book):
    before = sorted(tiny_book.rglob("*"))
    project.write("01_a", BEGIN, "print(train_steps)  # how many", prose="Told anew.")
    done = project.book("build", "runs/cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "the book is ready: open runs/site/_build/html/index.html"
    html = project.root / "runs" / "site" / "_build" / "html"
    chapter_html = (html / "chapters" / "01_a.html").read_text()
    assert "Told anew." in chapter_html and "ran print(train_steps)" in chapter_html
    status = (html / "status.html").read_text()
    assert "Chapter 01_a" in status and "1,234 MB" in status and "125" in status
    assert sorted(tiny_book.rglob("*")) == before


def test_a_warning_of_sphinx_fails_the_build_and_is_told(project, chapter, tiny_book):
    (tiny_book / "intro.md").write_text("# Tiny\n\n[gone](nowhere.md)\n")
    done = project.book("build", "runs/cpu")
    assert done.returncode == 1 and "intro.md" in done.stderr and "nowhere.md" in done.stderr
    assert "runs/site/build.log" in done.stderr and "Traceback" not in done.stderr


def test_a_run_with_a_flaw_is_not_built(project, chapter, tiny_book):
    spoil(chapter, lambda page: page.cells[-1].update(execution_count=None))
    done = project.book("build", "runs/cpu")
    assert done.returncode == 1 and "01_a: 1 of 3 code cells are unexecuted" in done.stderr
    assert not (project.root / "runs" / "site").exists()


def test_committed_chapters_that_are_merely_older_are_marked_so(project, chapter, tiny_book):
    execute(project, "01_a", folder="book/chapters")
    (project.root / "inc_lib" / "actions.py").write_text("x = 3\n")
    site = book.assemble(tiny_book / "chapters", results=project.root / "results", root=project.root)
    assert "| older than inc_lib |" in (site / "status.md").read_text()


@pytest.mark.parametrize(("contents", "told"), [
    (CONTENTS.replace("01_a", "09_z"), "lists 09_z, but notebooks/ has no such chapter"),
    (CONTENTS.replace("  - file: chapters/01_a\n", ""), "does not list 01_a: add `- file: chapters/01_a`")])
def test_contents_and_notebooks_must_agree(project, chapter, tiny_book, contents, told):
    (tiny_book / "_toc.yml").write_text(contents)
    with pytest.raises(InputError, match=told):
        book.assemble(chapter.parent, results=project.root / "results", root=project.root)


# -- the orchestrator ------------------------------------------------------------------------------

def test_key_files_are_touched_only_when_the_key_changes(project, chapter):
    assert book.write_keys("cpu", root=project.root) == ["01_a"]
    key = project.root / "runs" / "cpu" / "keys" / "01_a.key"
    first = key.stat().st_mtime_ns
    book.write_keys("cpu", root=project.root)
    assert key.stat().st_mtime_ns == first
    (project.root / "inc_lib" / "actions.py").write_text("x = 3\n")
    book.write_keys("cpu", root=project.root)
    assert key.stat().st_mtime_ns > first


def test_what_is_left_is_told_with_the_time_it_took_before(project):
    for name in ("01_a", "02_b", "03_c"):
        project.write(name, "x = 1")
    (project.root / "results").mkdir()
    (project.root / "results" / "times.json").write_text(json.dumps({"02_b": {"cpu": {"seconds": 90.0}}}))
    book.write_keys("cpu", root=project.root)
    execute(project, "01_a")
    told = "2 of 3 chapters left at profile cpu, about 3 min 00 s: 02_b, 03_c"
    assert book.left("cpu", root=project.root) == told
    for name in ("02_b", "03_c"):
        execute(project, name)
    assert book.left("cpu", root=project.root) == "every chapter is executed at profile cpu"


def snakemake(project, profile: str = "smoke") -> subprocess.CompletedProcess:
    flow = ROOT / "workflow"
    return project.command(sys.executable, "-m", "snakemake", "--snakefile", flow / "Snakefile",
                           "--profile", flow / "profiles" / "local", "--config", f"profile={profile}")


def ran(done: subprocess.CompletedProcess) -> list[str]:
    return [line.split(":")[0] for line in done.stdout.splitlines() if ": done in " in line]


def test_only_what_depends_on_a_change_is_executed(project):
    project.write("01_a", "print(1)")
    project.write("02_b", "print(2)")
    first = snakemake(project)
    assert first.returncode == 0, first.stderr
    assert sorted(ran(first)) == ["01_a", "02_b"] and "2 of 2 chapters left" in first.stderr
    project.write("01_a", "print(1)", prose="Other prose.")
    assert ran(snakemake(project)) == []
    project.write("02_b", "print(3)")
    assert ran(snakemake(project)) == ["02_b"]
    assert judge(project, "runs/smoke", publish=False) == {}


def test_one_failing_chapter_does_not_keep_the_others_from_running(project):
    project.write("01_a", "1 / 0")
    project.write("02_b", "print(2)")
    done = snakemake(project)
    assert done.returncode == 1 and ran(done) == ["02_b"]
    assert "error: 01_a failed in code cell 2 (`1 / 0`)" in done.stderr
    assert "error: not every chapter was executed; 1 of 2 chapters left" in done.stderr
    assert not (project.root / "runs" / "smoke" / "01_a.ipynb").exists()
    assert "ZeroDivisionError" in (project.root / "runs" / "smoke" / "logs" / "01_a.ipynb").read_text()


def test_an_unknown_profile_is_one_sentence(project):
    project.write("01_a", "print(1)")
    done = snakemake(project, "smok")
    assert done.returncode == 1
    assert "error: 01_a.ipynb: unknown profile 'smok': did you mean 'smoke'?" in done.stderr
