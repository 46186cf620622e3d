"""Run one chapter: check its parameters, execute it with papermill, keep the result only if it succeeded.

    python -m inc_lib.run notebooks/04_e1_realism.ipynb --profile cpu
    python -m inc_lib.run notebooks/04_e1_realism.ipynb -p dataset my.npz -p seed 3

papermill writes to the log path as it goes, so a failed run can be opened there, traceback and all. The
output is written whole, and only after success: normalised, with a stamp that says what made it (see
`inc_lib.pages`).
Plain `papermill notebooks/NN.ipynb out.ipynb -f notebooks/profiles/cpu.yaml` works too, without these checks.
"""
from __future__ import annotations

import argparse
import datetime
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import nbformat

from . import pages, parameters
from .errors import InputError
from .files import ROOT, atomic_write, commit, results_folder, sha256

HEARTBEAT = 30.0  # seconds between two lines in a log
PROBE = "inc-probe"

# Executed last, never shown: what the chapter really ran on, and its own peak, which sampling can miss.
_PROBE_CODE = """\
import json as _json, os as _os, sys as _sys
_torch = _sys.modules.get("torch")
_gpu = _torch is not None and _torch.cuda.is_available() and _torch.cuda.is_initialized()
_cores = len(_os.sched_getaffinity(0)) if hasattr(_os, "sched_getaffinity") else _os.cpu_count()
try:
    import resource as _resource
    _peak = _resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss * (1 if _sys.platform == "darwin" else 1024)
except ImportError:
    _peak = 0
_device = f"CPU, {_cores} core{'s' * (_cores > 1)}"
print(_json.dumps({"device": _torch.cuda.get_device_name() if _gpu else _device,
                   "gpu_bytes": _torch.cuda.max_memory_allocated() if _gpu else 0, "peak_bytes": _peak}))
"""


class ChapterFailed(Exception):
    """A cell raised, or the kernel died. One sentence: which cell, the error's last line, the log."""


def run(notebook: Path, *, profile: str = "smoke", given: Mapping[str, Any] | None = None,
        output: Path | None = None, log: Path | None = None, root: Path = ROOT) -> Path:
    """Execute one chapter and write its page.

    Args:
        notebook: the source, without outputs; it is not changed.
        profile: a name in `notebooks/profiles`, or a YAML file.
        given: parameters given by hand; text is read by the declared type.
        output: where the page goes; by default `runs/PROFILE/NAME.ipynb`, with parameters `runs/own/...`.
        log: papermill's own output; by default `logs/NAME.ipynb` beside the output. What the cells print goes
            beside it as `.txt`, the stamp of the last success as `.json`.
        root: the project, for the content key, profiles and the default output.

    Returns:
        The page's path.

    Raises:
        InputError: the notebook, the profile or a parameter cannot be used. No kernel was started.
        ChapterFailed: a cell failed. The output is as it was before.
    """
    given = dict(given or {})
    source = pages.load(notebook)
    try:
        values = pages.expected(source, profile, given, root=root)
    except InputError as error:
        raise InputError(f"{notebook.name}: {error}") from error
    output = output or _default_output(notebook, Path(profile).stem, given, root)
    log = log or output.parent / "logs" / output.name
    depends_on = pages.depends_on(source, values, root=root)
    for folder in (output.parent, log.parent):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"folder {folder} cannot be made ({error.strerror}): choose another.") from error

    if given:  # a run of your own leaves the book's results alone
        os.environ.setdefault("INC_RESULTS", str(output.parent.resolve() / "results"))
    before = _results(notebook.stem, values.get("profile"))
    started = time.monotonic()
    executed, cost = _execute(source, values, name=notebook.stem, log=log,
                              usual=pages.last_seconds(notebook.stem, Path(profile).stem, root=root))
    stamp = {
        "chapter": notebook.stem, "profile": Path(profile).stem, "parameters": values,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(root), "depends_on": depends_on, "key": pages.key(depends_on),
        "seconds": round(time.monotonic() - started, 1), **cost,
        "results": {path: digest for path, digest in _results(notebook.stem, values.get("profile")).items()
                    if before.get(path) != digest},
    }
    with atomic_write(output) as path:
        path.write_text(pages.dumps(pages.page(source, executed, stamp)), encoding="utf-8")
    with atomic_write(log.with_suffix(".json")) as path:
        path.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    return output


def _execute(source: nbformat.NotebookNode, values: Mapping[str, Any], *, name: str, log: Path,
             usual: float | None) -> tuple[nbformat.NotebookNode, dict[str, Any]]:
    """papermill over a copy of the source with the values written in; returns it and what it cost."""
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import Engine, papermill_engines

    notebook = nbformat.from_dict(json.loads(json.dumps(source)))
    notebook.cells = [cell for cell in notebook.cells
                      if parameters.INJECTED not in cell.metadata.get("tags", [])]
    cell = parameters.tagged(notebook.cells)
    cell["source"] = parameters.write(cell["source"], values)  # one cell, and the page shows what ran
    notebook.cells.append(nbformat.v4.new_code_cell(_PROBE_CODE, metadata={"tags": [PROBE]}))

    class Watched(Engine):
        """papermill's own client, with the kernel's stderr and all that cells print going to the watch."""

        @classmethod
        def execute_managed_notebook(cls, nb_man, kernel_name, **_):
            watch.cells = nb_man.nb.cells
            client = PapermillNotebookClient(nb_man, kernel_name=kernel_name, timeout=None,
                                             startup_timeout=120, stdout_file=watch, stderr_file=watch,
                                             extra_arguments=["--log-level=CRITICAL"])
            client.execute(stderr=watch.file)

    papermill_engines.register("inc", Watched)
    for chatty in ("papermill", "asyncio"):  # what went wrong is told in one sentence, below
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    text = log.with_suffix(".txt")
    with _terminable(), Watch(name, text, usual=usual) as watch:
        try:
            executed = papermill.execute_notebook(notebook, log, engine_name="inc", kernel_name="python3",
                                                  progress_bar=False)
        except papermill.PapermillExecutionError as error:
            last = (str(error.evalue).strip().splitlines() or [""])[-1]
            raise ChapterFailed(f"{name} failed in {_where(notebook, error.cell_index)}: "
                                f"{error.ename}: {last} (log: {log})") from error
        except DeadKernelError as error:
            raise ChapterFailed(f"{name}: the kernel died in {_where(notebook, watch.begun - 1)}; it had "
                                f"used {watch.peak / 2**20:,.0f} MB, and a shortage of memory is the usual "
                                f"reason (log: {text})") from error
    probe = json.loads(executed.cells.pop().outputs[0]["text"])
    cost = {"device": probe["device"], "memory_mb": round(max(watch.peak, probe["peak_bytes"]) / 2**20)}
    if probe["gpu_bytes"]:
        cost["gpu_memory_mb"] = round(probe["gpu_bytes"] / 2**20)
    return executed, cost


def _where(notebook: nbformat.NotebookNode, index: int) -> str:
    """A cell in words: its number, its first line of code, the heading it stands under."""
    code = [cell.cell_type == "code" for cell in notebook.cells[:index + 1]]
    first = next((line.strip() for line in notebook.cells[index].source.splitlines()
                  if line.strip() and not line.lstrip().startswith("#")), "")
    headings = [line.lstrip("# ") for cell in notebook.cells[:index] if cell.cell_type == "markdown"
                for line in cell.source.splitlines() if line.startswith("#")]
    return f"code cell {sum(code)} (`{first}`)" + (f" under '{headings[-1]}'" if headings else "")


class Watch(threading.Thread):
    """Sees a kernel at work: prints a heartbeat, samples memory, keeps what is printed.

    On a terminal the heartbeat is a progress bar; in a log a plain line at least every 30 s. The kernel's
    stderr and what cells print go to one file, whose last line is part of the heartbeat: so the rate and the
    remaining time of a training loop are seen while it runs.

    Args:
        name: the chapter.
        path: where the printed text goes.
        usual: seconds that this chapter took last time, or None.
    """

    def __init__(self, name: str, path: Path, *, usual: float | None = None):
        super().__init__(daemon=True)
        self.chapter, self.path, self.usual = name, path, usual
        self.file: TextIO
        self.cells: list = []
        self.peak = 0  # bytes, resident, summed over the kernel and its children
        self._over = threading.Event()

    @property
    def begun(self) -> int:
        """How many cells have begun; the last of them is the one at work."""
        return sum(bool(cell.metadata.get("papermill", {}).get("start_time")) for cell in self.cells)

    @property
    def said(self) -> str:
        """The last line that was printed."""
        with open(self.path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 2000))
            lines = file.read().decode(errors="replace").replace("\r", "\n").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def write(self, text: str) -> None:
        self.file.write(text)

    def flush(self) -> None:
        self.file.flush()

    def run(self) -> None:
        from tqdm import tqdm

        terminal = sys.stderr.isatty()
        start = spoken = shown = time.monotonic()
        usual = f", {pages.duration(self.usual)} last time" if self.usual else ""
        with tqdm(desc=self.chapter + usual, unit="cell", disable=not terminal, leave=False) as bar:
            while not self._over.wait(0.5):
                self._sample()
                now = time.monotonic()
                if terminal and now - shown >= 1:
                    shown, bar.total, bar.n = now, len(self.cells) or None, max(0, self.begun - 1)
                    bar.set_postfix_str(self.said[:60])
                elif not terminal and now - spoken >= HEARTBEAT:
                    spoken = now
                    print(self.line(now - start), file=sys.stderr, flush=True)

    def line(self, seconds: float) -> str:
        """The heartbeat in a log, `seconds` after the start."""
        of = f" of about {pages.duration(self.usual)}" if self.usual else ""
        said = f" | {said[:80]}" if (said := self.said) else ""
        at = f"cell {self.begun} of {len(self.cells)}" if self.begun else "starting"
        return f"{self.chapter}: {at}, {pages.duration(seconds)}{of}{said}"

    def _sample(self) -> None:
        import psutil

        total = 0
        for process in psutil.Process().children(recursive=True):
            try:
                total += process.memory_info().rss
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue  # it ended between the listing and the look
        self.peak = max(self.peak, total)

    def __enter__(self) -> Watch:
        self.path.write_bytes(b"")
        self.file = open(self.path, "a", encoding="utf-8")  # closed in __exit__
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self.join()
        self.file.close()


@contextmanager
def _terminable() -> Iterator[None]:
    """A polite kill (a cluster's, a container's) ends like Ctrl-C: the kernel is shut down as well."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# -- what a stamp says -----------------------------------------------------------------------------

def _results(chapter: str, profile: str | None) -> dict[str, str]:
    """What the chapter has recorded at a profile (None: at any): path below the results folder -> digest.

    Another run of the chapter may record at the same time, at another profile: that is not ours.
    """
    folder = results_folder()
    return {path.relative_to(folder).as_posix(): sha256(path)
            for path in sorted((folder / (profile or "")).rglob(f"{chapter}.json"))}


def _default_output(notebook: Path, profile: str, given: Mapping[str, Any], root: Path) -> Path:
    """runs/PROFILE/NAME.ipynb, which the book is built from; with parameters given by hand runs/own/..."""
    if not given:
        return root / "runs" / profile / notebook.name
    words = "-".join(f"{name}={Path(str(value)).name}" for name, value in given.items())
    safe = "".join(letter if letter.isalnum() or letter in "-=._" else "_" for letter in words)[:100]
    return root / "runs" / "own" / f"{notebook.stem}-{profile}-{safe}.ipynb"


# -- command line ----------------------------------------------------------------------------------

def main(arguments: Sequence[str] | None = None) -> int:
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs deaf to Ctrl-C
    parser = argparse.ArgumentParser(
        prog="python -m inc_lib.run", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Execute one chapter: check its parameters, run it, write its page only on success.",
        epilog="A chapter's parameters: papermill --help-notebook notebooks/NN_NAME.ipynb\n"
               "Exit status: 0 done, 1 a cell failed, 2 a mistake in what was given, 130 interrupted.\n\n"
               "examples:\n"
               "  python -m inc_lib.run notebooks/04_e1_realism.ipynb --profile cpu\n"
               "  python -m inc_lib.run notebooks/14_your_dataset.ipynb -p dataset faces.h5 -p seed 1\n")
    parser.add_argument("notebook", type=Path, help="a chapter in notebooks/, or another one of that form")
    parser.add_argument("--profile", default="smoke", metavar="NAME",
                        help="the scale: smoke (default), cpu, gpu, or a YAML file of `name: value` lines")
    parser.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                        help="set one parameter; may be repeated")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE",
                        help="where the page goes (default: runs/PROFILE/NAME.ipynb, with -p runs/own/...)")
    parser.add_argument("--log", type=Path, metavar="FILE",
                        help="papermill's own output, kept on failure (default: logs/ beside the output)")
    options = parser.parse_args(arguments)
    try:
        path = run(options.notebook, profile=options.profile, given=dict(options.parameter),
                   output=options.output, log=options.log)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ChapterFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted: {options.notebook.name} was not finished; earlier output is as it was",
              file=sys.stderr)
        return 130
    stamp = pages.stamp_of(pages.load(path))
    print(f"{stamp['chapter']}: done in {pages.duration(stamp['seconds'])}, "
          f"peak {stamp['memory_mb']:,} MB: {path}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
