"""An executed chapter as it is published: what it depends on, its stamp, its normal form, its flaws.

A *source* is a notebook of `notebooks/`, without outputs. A *page* is the same notebook with the outputs of
one run and a stamp. `page` builds it from the source's cells and the run's outputs, so prose is always the
source's: editing it changes the page and executes nothing. `depends_on` says what a run depends on, `key` is
its digest: while it stays the same, the outputs stay valid.
"""
from __future__ import annotations

import hashlib
import html
import io
import json
import os
import re
import tempfile
import tokenize
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat

from . import parameters
from .errors import InputError
from .files import ROOT, sha256
from .reach import reached

FORM = 1              # the normal form's version: raise it when `page` makes something else of a run
STAMP = "inc-stamp"   # id and tag of the cell that shows the stamp

# Modules that run, check and assemble chapters. No number depends on them: an edit here re-executes nothing.
HOUSE = ("parameters.py", "pages.py", "reach.py", "run.py", "book.py", "tables.py", "sweep.py", "gpu.py")

_LARGE = 256 * 2**20  # a data file over this is told by its size and time, not read whole


# -- what a run depends on -------------------------------------------------------------------------

def depends_on(source: Mapping, values: Mapping[str, Any], *, root: Path = ROOT) -> dict[str, str]:
    """A digest for each thing that a run's outputs depend on.

    Args:
        source: the notebook.
        values: every parameter's value, as `parameters.resolve` gives them.
        root: the project.

    Returns:
        Digests of `cells` (code, in order), `parameters`, `inc_lib` (the modules that the cells reach by imports;
        not comments, docstrings, blank lines or the HOUSE modules), `lock` (requirements.lock), `checkpoints`
        (files of `checkpoints/` whose world is named in the code or the parameters), `data` (the file or folder
        that `dataset` or `checkpoint` names) and `form`; and `records`, where the code names files of
        `results/benchmarks` (as strings, `"pixels.json"`).

    A chapter that reads few checkpoints of its world may name them in its metadata, `"inc": {"checkpoints":
    ["{dataset}_{image_size}_{model}_s*"]}`, with parameters in braces and wildcards: then no other makes it stale.
    """
    code = [cell["source"] for cell in source["cells"] if cell["cell_type"] == "code"]
    own = parameters.tagged(source["cells"])["source"]
    package = root / "inc_lib"
    modules = [(path.relative_to(package).as_posix(), _bare_file(path, path.stat().st_mtime_ns))
               for path in reached(code, package, apart=HOUSE)]
    said = "\n".join([*map(bare, code), *(text for _, text in modules)])
    records = [(path.name, sha256(path)) for path in sorted((root / "results" / "benchmarks").glob("*.*"))
               if any(f"{mark}{path.name}{mark}" in said for mark in "\"'")]
    lock = root / "requirements.lock"
    pins = [line.split("#")[0].strip() for line in lock.read_text().splitlines()] if lock.exists() else []
    named = "\n".join([*code, *map(str, values.values())])
    own_files = [stem.format(**values) for stem in source.get("metadata", {}).get("inc", {}).get("checkpoints", [])]
    return {
        "cells": _digest([bare(cell) for cell in code if cell != own]),
        "parameters": _digest(dict(values)),
        "inc_lib": _digest(modules),
        "lock": _digest([pin for pin in pins if pin]),
        "checkpoints": _digest([(path.name, sha256(path)) for path in sorted((root / "checkpoints").glob("*"))
                                if path.is_file() and (any(fnmatchcase(path.stem, own) for own in own_files)
                                                       if own_files else path.name.split("_")[0] in named)]),
        "data": _digest([_manifest(Path(values[name])) for name in ("dataset", "checkpoint")
                         if values.get(name) and Path(values[name]).exists()]),
        "form": str(FORM),
    } | ({"records": _digest(records)} if records else {})


def key(digests: Mapping[str, str]) -> str:
    """One digest over all that a run depends on."""
    return _digest(dict(digests))


def bare(code: str) -> str:
    """Python source without comments, docstrings, blank lines and trailing space: what can change a result.

    Worked out on the text by the positions of the tokens, so that it is the same under every Python version.
    Source that cannot be tokenized (a cell with a shell magic, say) is returned as it is.

    >>> bare('def f():\\n    "Doubles."\\n    return 2  # two\\n')
    'def f():\\n    return 2'
    """
    lines = code.split("\n")
    spans, statement = [], True  # statement: the next token begins one
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(code).readline))
    except (tokenize.TokenError, SyntaxError):
        return code
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        alone = statement and token.type == tokenize.STRING and after and after.type == tokenize.NEWLINE
        if token.type == tokenize.COMMENT or alone:
            spans.append((token.start, token.end))
        if token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT):
            statement = True
        elif token.type not in (tokenize.NL, tokenize.COMMENT, tokenize.ENCODING):
            statement = False
    for (first, start), (last, end) in reversed(spans):
        lines[first - 1:last] = [lines[first - 1][:start] + lines[last - 1][end:]]
    return "\n".join(line.rstrip() for line in lines if line.strip())


@lru_cache(maxsize=512)
def _bare_file(path: Path, changed: int) -> str:  # changed: a file that was edited since is read again
    return bare(path.read_text(encoding="utf-8"))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def _manifest(path: Path) -> list:
    """A data file or folder as names and digests; large files and folders by size and time."""
    if path.is_dir():
        return [(file.relative_to(path).as_posix(), file.stat().st_size, file.stat().st_mtime_ns)
                for file in sorted(path.rglob("*")) if file.is_file()]
    size = path.stat().st_size
    return [size, path.stat().st_mtime_ns if size > _LARGE else sha256(path)]


# -- reading ---------------------------------------------------------------------------------------

def load(path: Path) -> nbformat.NotebookNode:
    """Read a notebook.

    Raises:
        InputError: it does not exist, or is no notebook.
    """
    if not path.is_file():
        here = sorted(other.name for other in path.parent.glob("*.ipynb")) if path.parent.is_dir() else []
        found = f"that folder holds {', '.join(here)}" if here else "there is no notebook beside it"
        raise InputError(f"notebook {path} does not exist: {found}.")
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError, AttributeError,
            KeyError, TypeError) as error:
        told = (str(error) or "no cells").splitlines()[0]
        raise InputError(f"{path} is not a Jupyter notebook: {told}.") from error


def stamp_of(page: Mapping) -> dict[str, Any] | None:
    """The stamp that a run left in a page, or None."""
    return page["metadata"].get("inc")


def last_seconds(chapter: str, profile: str, *, root: Path = ROOT) -> float | None:
    """How long a chapter took at a profile: by the last run here, else as released, else None."""
    last, released = root / "runs" / profile / "logs" / f"{chapter}.json", root / "results" / "times.json"
    if last.exists():
        return json.loads(last.read_text())["seconds"]
    if released.exists():
        return json.loads(released.read_text()).get(chapter, {}).get(profile, {}).get("seconds")
    return None


def title(page: Mapping) -> str:
    """The first heading."""
    for cell in page["cells"]:
        if cell["cell_type"] == "markdown" and (match := re.search(r"^# +(.+?)\s*$", cell["source"], re.M)):
            return match[1]
    return "untitled"


# -- building --------------------------------------------------------------------------------------

def page(source: Mapping, executed: Mapping, stamp: Mapping[str, Any],
         times: Mapping[str, Mapping] | None = None) -> nbformat.NotebookNode:
    """The source's cells with the outputs of `executed`, normalised, and the stamp.

    The result depends on the outputs' content alone: timings, papermill's and the kernel's metadata, progress
    on stderr, memory addresses and machine paths are gone. Building a page from a page gives the same page.

    Args:
        source: the notebook in `notebooks/`; its prose, tags and cell ids are taken.
        executed: papermill's output, or an earlier page; its outputs are taken, code cell by code cell.
        stamp: see `inc_lib.run`.
        times: the measured time per profile, {"smoke": {"seconds": 12.3}, ...}; shown beside the stamp.

    Raises:
        InputError: `executed` has other code cells than `source`.
    """
    ran = [cell for cell in executed["cells"] if cell["cell_type"] == "code"
           and parameters.INJECTED not in cell["metadata"].get("tags", [])]
    code = [cell for cell in source["cells"] if cell["cell_type"] == "code"]
    if len(ran) != len(code):
        raise InputError(f"the run has {len(ran)} code cells, its source {len(code)}: execute it again.")
    outputs = iter(ran)
    cells = []
    for cell in source["cells"]:
        name = cell.get("id") or f"cell-{len(cells)}"
        new = _cell(cell["cell_type"], name, _metadata(cell), cell["source"])
        if "attachments" in cell:
            new.attachments = cell["attachments"]
        if cell["cell_type"] == "code":
            done = next(outputs)
            new.execution_count = done["execution_count"]
            new.outputs = [_normal(output) for output in _merged(done["outputs"])]
            if parameters.TAG in new.metadata.get("tags", []):
                new.source = parameters.write(new.source, stamp["parameters"])
        cells.append(new)
        if len(cells) == 1:
            cells.append(_cell("markdown", STAMP, {"tags": [STAMP]}, stamp_line(stamp, times or {})))
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                "language_info": {"name": "python", "file_extension": ".py", "mimetype": "text/x-python",
                                  "pygments_lexer": "ipython3"},
                "inc": dict(stamp)}
    return nbformat.from_dict({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})


def dumps(page: Mapping) -> str:
    """The text that is stored: nbformat's own form (sorted keys, lines as lists), checked."""
    nbformat.validate(page)
    return nbformat.writes(page, version=nbformat.NO_CONVERT) + "\n"


def stamp_line(stamp: Mapping[str, Any], times: Mapping[str, Mapping]) -> str:
    """One visible line: where the numbers on the page come from, and what they cost."""
    others = [f"{name} {duration(entry['seconds'])}"
              for name, entry in times.items() if name != stamp["profile"]]
    parts = [f"Run of {stamp['date'][:10]}", f"profile {stamp['profile']}",
             f"{duration(stamp['seconds'])} on {stamp['device']}", f"{stamp['memory_mb']:,} MB",
             f"commit {stamp['commit']}"] + ([f"other profiles: {', '.join(others)}"] if others else [])
    return f'<p class="{STAMP}">{html.escape("; ".join(parts))}</p>'


def duration(seconds: float) -> str:
    """Seconds in words: '12 s', '3 min 05 s', '2 h 10 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def _cell(kind: str, name: str, metadata: dict, source: str) -> nbformat.NotebookNode:
    return nbformat.from_dict({"cell_type": kind, "id": name, "metadata": metadata,
                               "source": source.rstrip()})


def _metadata(cell: Mapping) -> dict:
    """A cell's metadata without what an execution leaves there."""
    return {name: value for name, value in cell["metadata"].items()
            if name not in ("papermill", "execution", "ExecuteTime", "collapsed", "scrolled")}


def _merged(outputs: list) -> list:
    """Without stderr; neighbouring stdout joined, since a kernel splits it by the clock."""
    merged: list = []
    for output in outputs:
        if output["output_type"] == "stream" and output["name"] == "stderr":
            continue
        if output["output_type"] == "stream" and merged and merged[-1]["output_type"] == "stream":
            merged[-1] = {**merged[-1], "text": merged[-1]["text"] + output["text"]}
        else:
            merged.append(dict(output))
    return merged


def _normal(output: Mapping) -> nbformat.NotebookNode:
    """An output with the machine's traces removed from its text; pictures are left alone."""
    output = dict(output)
    if output["output_type"] == "stream":
        # what a screen shows at the end: the last of a line's overwritten versions
        lines = [line.rstrip("\r").split("\r")[-1] for line in output["text"].split("\n")]
        output["text"] = _plain("\n".join(lines))
    if "data" in output:
        output["data"] = {kind: _plain(data) if kind.startswith("text/") and isinstance(data, str) else data
                          for kind, data in output["data"].items()}
    return nbformat.from_dict(output)


def _plain(text: str) -> str:
    """Text without paths of this machine and memory addresses."""
    places = {str(ROOT): ".", tempfile.gettempdir(): "…", str(Path.home()): "~"}
    if os.environ.get("INC_DATA"):
        places[os.environ["INC_DATA"].rstrip("/")] = "INC_DATA"
    for place in sorted(places, key=len, reverse=True):
        if len(place) > 1:
            text = re.sub(re.escape(place) + r"(?![\w.-])", places[place], text)
    return re.sub(r"\bat 0x[0-9a-f]{6,}", "at 0x…", text)


# -- judging ---------------------------------------------------------------------------------------

MACHINE_PATH = re.compile(r"(?<![\w.~])/(?:root|home|Users|work|tmp|private|mnt|opt)/\w"
                          r"|\b[A-Z]:\\{1,2}Users\\")


def problems(page: Mapping, source: Mapping, *, root: Path = ROOT) -> list[str]:
    """Why a page must not be shown: unexecuted, failed, not from a run of ours, machine's traces, or stale.

    Args:
        page: the executed chapter.
        source: its notebook as it is now.
        root: the project.

    Returns:
        One clause each; empty when the page is fit. Scale and records are judged by `inc_lib.book.gate`.
    """
    stamp = stamp_of(page)
    code = [cell for cell in page["cells"] if cell["cell_type"] == "code"]
    found = []
    if stamp is None:
        found.append("it carries no stamp: execute it with inc_lib.run")
    if unexecuted := sum(not cell["execution_count"] for cell in code if cell["source"].strip()):
        found.append(f"{unexecuted} of {len(code)} code cells are unexecuted")
    for number, cell in enumerate(code, 1):
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                found.append(f"code cell {number} failed with {output['ename']}")
            bundle = output.get("data", {"text": output.get("text", "")})
            for text in [data for kind, data in bundle.items() if kind.startswith("text")]:
                if match := MACHINE_PATH.search(text):
                    found.append(f"code cell {number} shows a path of the machine: "
                                 f"{text[match.start():][:40]!r}")
            if output.get("name") == "stderr":
                found.append(f"code cell {number} holds stderr")
    if stamp is not None and (changed := stale(stamp, source, root=root)):
        found.append(f"it is stale: {', '.join(changed)} changed since its run")
    return found


def stale(stamp: Mapping[str, Any], source: Mapping, *, root: Path = ROOT) -> list[str]:
    """What changed since the stamped run at its profile: names of `depends_on`; empty when it is valid."""
    now = depends_on(source, expected(source, stamp["profile"], root=root), root=root)
    then = stamp["depends_on"]
    return [name for name in {**now, **then} if now.get(name) != then.get(name)]


def expected(source: Mapping, profile: str, given: Mapping[str, Any] | None = None, *,
             root: Path = ROOT) -> dict[str, Any]:
    """The parameters a chapter runs with at a profile: checked, see `parameters.resolve`."""
    declared = parameters.read(parameters.tagged(source["cells"])["source"])
    scale = parameters.profile_values(profile, root / "notebooks" / "profiles")
    return parameters.resolve(declared, profile=scale, given=given or {})
