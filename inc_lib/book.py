"""From executed chapters to a book: gate, build, release.

    python -m inc_lib.book build runs/cpu      render the book from a run
    python -m inc_lib.book build               render the book from the committed chapters
    python -m inc_lib.book gate --publish      may the committed chapters be published?
    python -m inc_lib.book release runs/cpu    replace them and results/ by a run that passed the gate
    python -m inc_lib.book left cpu            what is still to be executed, and about how long it takes

Needs neither torch nor a kernel: the pages are executed already, Sphinx only renders them. The book is built
from a copy of `book/` below `runs/site`, so nothing here touches a tracked file except `release`.
"""
from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import pages
from .errors import InputError
from .files import ROOT, atomic_write, commit, results_folder, sha256
from .tables import results_markdown

STATUS_MARK = "<!-- status-table -->"
RESULTS_MARK = "<!-- results-tables -->"


# -- which chapters, and what is to do -------------------------------------------------------------

def sources(root: Path = ROOT) -> list[Path]:
    """The chapters' notebooks, in reading order."""
    return sorted((root / "notebooks").glob("[0-9]*.ipynb"))


def write_keys(profile: str, *, root: Path = ROOT) -> list[str]:
    """Write each chapter's content key to `runs/PROFILE/keys/NAME.key`, touching only what changed.

    The one input of a chapter's rule in the Snakefile: times of checked-out files mean nothing, a key file is
    newer than an output exactly when something that the output depends on changed.

    Returns:
        The chapters' names.
    """
    for path in sources(root):
        source = pages.load(path)
        key = pages.key(pages.depends_on(source, _expected(path, source, profile, root), root=root)) + "\n"
        file = root / "runs" / profile / "keys" / f"{path.stem}.key"
        if not file.exists() or file.read_text() != key:
            with atomic_write(file) as temporary:
                temporary.write_text(key)
    return [path.stem for path in sources(root)]


def left(profile: str, *, root: Path = ROOT) -> str:
    """What is still to be executed at a profile, in words."""
    folder = root / "runs" / profile
    waiting = [key.stem for key in sorted((folder / "keys").glob("*.key"))
               if not (output := folder / f"{key.stem}.ipynb").exists()
               or output.stat().st_mtime_ns < key.stat().st_mtime_ns]
    if not waiting:
        return f"every chapter is executed at profile {profile}"
    seconds = [pages.last_seconds(chapter, profile, root=root) for chapter in waiting]
    known = [second for second in seconds if second is not None]
    about = ""
    if known:  # a chapter never run before is taken to be as long as the others on average
        about = f", about {pages.duration(sum(known) / len(known) * len(seconds))}"
    return (f"{len(waiting)} of {len(sources(root))} chapters left at profile {profile}{about}: "
            + ", ".join(waiting))


def _expected(path: Path, source, profile: str, root: Path) -> dict:
    try:
        return pages.expected(source, profile, root=root)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from error


# -- the gate --------------------------------------------------------------------------------------

def gate(folder: Path, *, publish: bool, results: Path, root: Path = ROOT) -> dict[str, list[str]]:
    """Why the chapters in `folder` must not be shown, by chapter; empty when all are fit.

    Args:
        folder: executed chapters.
        publish: also refuse the smoke scale.
        results: the folder that the chapters recorded their numbers in.
        root: the project.
    """
    found: dict[str, list[str]] = {}
    names = [path.stem for path in sources(root)]
    for path in sources(root):
        if not (folder / path.name).exists():
            found[path.stem] = ["it has not been executed"]
            continue
        page, source = pages.load(folder / path.name), pages.load(path)
        try:
            sentences = pages.problems(page, source, root=root)
        except InputError as error:
            sentences = [str(error)]
        stamp = pages.stamp_of(page) or {}
        if publish and stamp.get("profile") == "smoke":
            sentences.append("it was run at the smoke scale")
        for name, digest in stamp.get("results", {}).items():
            file = results / name
            if not file.exists() or sha256(file) != digest:
                sentences.append(f"its record {name} is missing or not of this run")
        if sentences:
            found[path.stem] = sentences
    for path in sorted(folder.glob("*.ipynb")):
        if path.stem not in names:
            found[path.stem] = ["there is no such notebook: delete this page"]
    return found


def _refuse(folder: Path, found: dict[str, list[str]], remedy: str) -> InputError:
    lines = [f"{chapter}: {'; '.join(sentences)}" for chapter, sentences in found.items()]
    return InputError(f"{len(found)} of the chapters in {_shown(folder)} did not pass the gate; {remedy}.\n  "
                      + "\n  ".join(lines))


def _results_of(folder: Path, root: Path) -> Path:
    """Where the chapters of a folder recorded their numbers: the released ones in results/."""
    released = folder.resolve() == (root / "book" / "chapters").resolve()
    return root / "results" if released else results_folder()


# -- building --------------------------------------------------------------------------------------

def build(folder: Path, *, root: Path = ROOT) -> Path:
    """Render the book from executed chapters; returns the page to open.

    Prose is taken from the notebooks as they are now. Chapters in `book/chapters` that are merely older than
    the code are rendered, and marked so on the status page; any other flaw, and a stale chapter of a run, is
    refused.

    Raises:
        InputError: a chapter did not pass the gate, the contents list other chapters, or Sphinx warned.
    """
    results = _results_of(folder, root)
    released = results == root / "results"
    found = gate(folder, publish=False, results=results, root=root)
    if released:
        found = {chapter: kept for chapter, sentences in found.items()
                 if (kept := [sentence for sentence in sentences if not sentence.startswith("it is stale")])}
    if found:
        raise _refuse(folder, found, "run `make book` (or `make release` for the committed ones)")
    site = assemble(folder, results=results, root=root)
    log = root / "runs" / "site" / "build.log"
    print(f"rendering {len(sources(root))} chapters, {len(list(site.rglob('*.md')))} pages ...", flush=True)
    with open(log, "w", encoding="utf-8") as file:
        command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(site),
                   "--path-output", str(site.parent), "--all", "-W", "-n", "--keep-going"]
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                env={**os.environ, "PYTHONUTF8": "1"}).returncode
    if status:
        text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(encoding="utf-8", errors="replace"))
        told = [line.replace(f"{site}/", "") for line in text.splitlines()
                if re.search(r"WARNING|ERROR|rror:", line)]
        raise InputError(f"Sphinx was not content with the book (log: {_shown(log)}):\n  "
                         + "\n  ".join(told[:20] or text.splitlines()[-5:]))
    return site.parent / "_build" / "html" / "index.html"


def assemble(folder: Path, *, results: Path, root: Path = ROOT) -> Path:
    """Copy `book/` to `runs/site/source`, with the executed chapters and the generated tables in it."""
    site = root / "runs" / "site" / "source"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(root / "book", site, ignore=shutil.ignore_patterns("chapters", "_build", "__pycache__"))
    (site / "chapters").mkdir()
    known = times(root)
    for path in sources(root):
        ran = pages.load(folder / path.name)
        stamp = pages.stamp_of(ran)
        changed = pages.stale(stamp, pages.load(path), root=root)
        if not {"cells", "parameters"} & set(changed):
            ran = pages.page(pages.load(path), ran, stamp, known.get(path.stem))
        (site / "chapters" / path.name).write_text(pages.dumps(ran), encoding="utf-8")
    _check_contents(site / "_toc.yml", [path.stem for path in sources(root)])
    tables = {STATUS_MARK: status_table(site / "chapters", root=root),
              RESULTS_MARK: results_markdown(results)}
    for page in site.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        filled = text
        for mark, table in tables.items():
            filled = filled.replace(mark, table)
        if filled != text:
            page.write_text(filled, encoding="utf-8")
    return site


def _check_contents(contents: Path, chapters: list[str]) -> None:
    listed = re.findall(r"^\s*-?\s*file:\s*chapters/([\w.-]+?)(?:\.ipynb)?\s*$", contents.read_text(), re.M)
    if absent := sorted(set(listed) - set(chapters)):
        raise InputError(f"book/_toc.yml lists {', '.join(absent)}, but notebooks/ has no such chapter: "
                         "remove the line or add the notebook.")
    if unlisted := sorted(set(chapters) - set(listed)):
        raise InputError(f"book/_toc.yml does not list {', '.join(unlisted)}: "
                         f"add `- file: chapters/{unlisted[0]}`.")


def status_table(folder: Path, *, root: Path = ROOT) -> str:
    """Markdown: for each chapter what ran it, on what, at which cost, and whether it is up to date."""
    known = times(root)
    head = ("Chapter", "Profile", "Device", "Seconds", "Peak memory", "Date", "Commit", "Up to date",
            "Other profiles")
    rows = [f"| {' | '.join(head)} |", "|---|---|---|--:|--:|---|---|---|---|"]
    for path in sources(root):
        page = pages.load(folder / path.name)
        stamp = pages.stamp_of(page)
        changed = pages.stale(stamp, pages.load(path), root=root)
        others = [f"{profile} {pages.duration(entry['seconds'])}"
                  for profile, entry in known.get(path.stem, {}).items() if profile != stamp["profile"]]
        cells = (f"[{pages.title(page)}](chapters/{path.name})", stamp["profile"], stamp["device"],
                 f"{stamp['seconds']:,.0f}", f"{stamp['memory_mb']:,} MB", stamp["date"][:10],
                 f"`{stamp['commit']}`", "older than " + ", ".join(changed) if changed else "yes",
                 ", ".join(others) or "–")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def times(root: Path = ROOT) -> dict[str, dict[str, dict]]:
    """What each chapter cost at each profile: as released, and newer where a valid run lies in `runs/`."""
    file = root / "results" / "times.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    for path in sources(root):
        source = pages.load(path)
        for page in sorted((root / "runs").glob(f"*/{path.name}")):
            stamp = pages.stamp_of(pages.load(page))
            if stamp and stamp["profile"] == page.parent.name and not pages.stale(stamp, source, root=root):
                known.setdefault(path.stem, {})[stamp["profile"]] = {
                    name: stamp[name] for name in ("seconds", "memory_mb", "device", "commit", "date")}
    return known


# -- releasing -------------------------------------------------------------------------------------

def release(folder: Path, *, root: Path = ROOT) -> list[str]:
    """Replace `book/chapters` and the records in `results/` by those of a run that passed the gate.

    Returns:
        The files written or deleted, relative to the project.

    Raises:
        InputError: a chapter did not pass. Nothing was changed.
    """
    if not folder.is_dir():
        raise InputError(f"{_shown(folder)} does not exist: execute the chapters first with `make book`.")
    results = results_folder()
    if found := gate(folder, publish=True, results=results, root=root):
        raise _refuse(folder, found, "nothing was released")
    current = commit(root)
    if current.endswith("+"):
        raise InputError("inc_lib, notebooks, checkpoints or requirements.lock differ from the last commit: "
                         "commit them, then release again (nothing is executed anew for it).")
    known = times(root)
    texts = {root / "results" / "times.json": json.dumps(known, indent=1, sort_keys=True) + "\n"}
    for path in sources(root):
        ran = pages.load(folder / path.name)
        stamp = pages.stamp_of(ran) | {"commit": current}  # its content is what ran: nothing is stale
        texts[root / "book" / "chapters" / path.name] = pages.dumps(
            pages.page(pages.load(path), ran, stamp, known.get(path.stem)))
        for name in stamp["results"]:
            texts[root / "results" / name] = (results / name).read_text(encoding="utf-8")
    for path, text in [*texts.items(), *_other_seeds(folder.name, root).items()]:
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [path.relative_to(root).as_posix() for path in texts]


def _other_seeds(profile: str, root: Path) -> dict[Path, str]:
    """Records of runs in `runs/own` that differ from the book's in seed, model, world of ours or number of models,
    and are not stale.

    `python -m inc_lib.run notebooks/04_e1_realism.ipynb --profile cpu -p seed 1` makes one: the tables show
    mean and spread over such runs.
    """
    own = root / "runs" / "own"
    texts = {}
    ours = ("seed", "model", "dataset", "image_size", "n_models", "objective")
    stamps = [stamp for file in sorted(own.glob("*.ipynb")) if (stamp := pages.stamp_of(pages.load(file)))]
    for path in sources(root):
        source = pages.load(path)
        for stamp in stamps:
            if stamp["chapter"] != path.stem or stamp["profile"] != profile or _yours(stamp, own):
                continue
            free = {name: value for name, value in stamp["parameters"].items() if name in ours}
            values = pages.expected(source, profile, root=root) | free
            if pages.depends_on(source, values, root=root) == stamp["depends_on"]:
                texts |= {root / "results" / name: (own / "results" / name).read_text(encoding="utf-8")
                          for name in stamp["results"]}
    return texts


def _yours(stamp: dict, own: Path) -> bool:
    """Whether a run measured a reader's own data, whose numbers are theirs."""
    records = [json.loads((own / "results" / name).read_text(encoding="utf-8")) for name in stamp["results"]
               if (own / "results" / name).is_file()]
    return any(record.get("provenance", {}).get("world_source") == "yours" for record in records)


# -- command line ----------------------------------------------------------------------------------

def _shown(path: Path) -> str:
    """A path as short as it can be told."""
    path = path.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m inc_lib.book", description=__doc__.split("\n")[0],
                                     formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="Exit status: 0 done, 1 refused by the gate or by Sphinx.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verb = verbs.add_parser("build", help="render the book from executed chapters")
    verb.add_argument("folder", nargs="?", type=Path, help="a run such as runs/cpu (default: book/chapters)")
    verb = verbs.add_parser("gate", help="say why chapters must not be shown or published")
    verb.add_argument("folder", nargs="?", type=Path, help="a run such as runs/cpu (default: book/chapters)")
    verb.add_argument("--publish", action="store_true", help="also refuse the smoke scale")
    verb = verbs.add_parser("release", help="replace book/chapters and results/ by a run that passed")
    verb.add_argument("folder", type=Path, help="a run such as runs/cpu")
    verb = verbs.add_parser("left", help="say what is still to be executed")
    verb.add_argument("profile", help="smoke, cpu or gpu")
    options = parser.parse_args(arguments)
    try:
        if options.verb == "left":
            print(left(options.profile), flush=True)
            return 0
        folder = options.folder or ROOT / "book" / "chapters"
        if options.verb == "build":
            print(f"the book is ready: open {_shown(build(folder))}")
        elif options.verb == "release":
            changed = release(folder)
            print(f"released {len(changed)} files: see `git diff --stat`, commit book/chapters and results")
        elif found := gate(folder, publish=options.publish, results=_results_of(folder, ROOT)):
            raise _refuse(folder, found, "run `make book` (or `make release` for the committed ones)")
        else:
            print(f"{len(sources())} chapters in {_shown(folder)} passed")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
