"""What every chapter does: start (seed, threads, device, world), load or train, show, claim, record.

    c = chapter.start(chapter="04_e1_realism", profile=profile, dataset=dataset, seed=seed)
    observations, states, codes = c.encode_sample()
    c.show(plots.code_densities(...), "Each code is cut where its density has a minimum.")
    c.claim("shape is told apart", f1 > 0.9)
    c.record(f1_shape=f1)

Whatever is displayed also has a plain-text form, so that a chapter reads well in a log, in nbval and in a
bare Python prompt. A training inside a notebook shows one line that is updated in place and ends the same
whether the model was trained or found; its heartbeat goes to the kernel's own stderr, that is to the log and
never into the page.
"""
from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime
import functools
import hashlib
import html
import io
import json
import math
import numbers
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from . import files, models, plots, training, worlds
from .errors import InputError, suggest
from .files import ROOT, atomic_write, results_folder, sha256
from .worlds import World
from .worlds.arrays import ArrayWorld

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

    from .oracle import Oracle

_commit = functools.cache(files.commit)  # asked at every claim

CHUNK = 1024  # observations drawn and encoded at a time
DPI = 100     # CSS pixels an inch; pictures hold twice as many


class BrokenClaim(AssertionError):
    """A claim of a chapter does not hold in this run. A notebook shows the sentence, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"\x1b[31m{self}\x1b[0m"]


@dataclasses.dataclass
class Chapter:
    """A running chapter, made by `start`: its parameters as attributes, its world, what it does with them."""

    chapter: str
    profile: str
    dataset: str
    image_size: int
    model_name: str
    checkpoint: str
    train_steps: int
    n_observations: int
    n_generated: int
    oracle_steps: int
    seed: int
    device: str
    world: World
    generator: torch.Generator
    home: tuple[str, str] | None = None  # the world and model that the claims are about; None: any of ours
    released: bool | None = None  # whether c.model is a released checkpoint; None until it is used
    claims: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    _numbers: dict[str, float | int | None] = dataclasses.field(default_factory=dict)
    _checkpoint_path: Path | None = None
    _begun: float = dataclasses.field(default_factory=time.monotonic)

    # --- models ---------------------------------------------------------------------------------------------

    @functools.cached_property
    def model(self) -> models.VAE:
        """h and G: the checkpoint that the parameters name, or a model trained for `train_steps`."""
        path = self._checkpoint()
        self.released, self._checkpoint_path = path is not None and self.checkpoint == "auto", path
        return self.load_or_train() if path is None else self._load(path)

    def adopt(self, model: Any, path: Path | None, *, released: bool) -> None:
        """Take a model of the chapter's own kind, with `.provenance`, as `c.model`: the record says it is this one.

        Args:
            path: its checkpoint, or None where it was trained here.
            released: whether that is one of ours, so that claims are strict.
        """
        self.__dict__["model"], self._checkpoint_path, self.released = model, path, released

    def load_or_train(self, model: str | None = None, *, seed: int | None = None,
                      steps: int | None = None) -> models.VAE:
        """The released checkpoint of this world, size, model and seed; where there is none, `train`.

        With `checkpoint="train"` always the latter. A checkpoint given as a path concerns `c.model` alone.
        """
        name, seed = model or self.model_name, self.seed if seed is None else seed
        path = None if self.checkpoint == "train" else self._released(name, seed)
        return self._load(path) if path else self.train(name, seed=seed, steps=steps)

    def release(self, kind: str) -> models.VAE | None:
        """A released network of another kind (a training by other rules, as `checkpoints/README.md` tells), to look
        at beside `c.model`; None where there is none for this world, or where the run brings its own checkpoint.
        """
        path = self._released(kind, self.seed) if self.checkpoint == "auto" else None
        return self._load(path) if path else None

    def train(self, model: str | None = None, *, seed: int | None = None, steps: int | None = None,
              keep: bool = True, **options: Any) -> models.VAE:
        """Train for `steps` (default `train_steps`) with the settings of `training.short_schedule`.

        Args:
            keep: keep the run in runs/models/, from where the same call goes on or takes the result, now and
                in other chapters. False trains anew each time, which `on_step` needs to see every step.
            options: other settings, as `training.train` takes them (learning_rate, batch_size, on_step, every,
                ...). `pairs` or `options` replace the schedule's whole supervision.
        """
        name, seed = model or self.model_name, self.seed if seed is None else seed
        steps = steps or self.train_steps
        settings = training.short_schedule(self.world, name, options.get("pairs")) | options
        with _heartbeat(f"{name} learns {self.world.name}: {steps:,} steps, seed {seed}"):
            if not keep:
                return training.train(self.world, name, steps=steps, seed=seed, device=self.device,
                                      **settings)
            key = {name: value for name, value in settings.items() if not callable(value)}
            with self._folder(f"{self.world.name}_{self.image_size}_{name}_s{seed}_{steps}", key) as folder:
                return training.train(self.world, name, steps=steps, seed=seed, device=self.device,
                                      folder=folder, **settings)

    @functools.cached_property
    def oracle(self) -> Oracle:
        """The CNN that reads factors from pictures: released, or trained for `oracle_steps`."""
        from . import oracle

        if not self.world.factors:
            raise InputError(f"world {self.world.name!r} has no factor labels: an oracle cannot learn to "
                             "read them, so leave out the scores that need one.")
        path = oracle.release_path(self.world.name, self.image_size)
        if path.is_file():
            return oracle.load(path, self.world).to(self.device)
        stem = f"{self.world.name}_{self.image_size}_oracle_s{self.seed}_{self.oracle_steps}"
        told = f"the oracle learns {self.world.name}: {self.oracle_steps:,} steps"
        with _heartbeat(told), self._folder(stem, {}) as folder:
            return oracle.train(self.world, steps=self.oracle_steps, seed=self.seed, folder=folder,
                                device=self.device)

    def _checkpoint(self) -> Path | None:
        """The file to load for `c.model`; None where a model must be trained."""
        if self.checkpoint == "train":
            return None
        if self.checkpoint != "auto":
            return Path(self.checkpoint).expanduser()
        return self._released(self.model_name, self.seed)

    def _released(self, model: str, seed: int) -> Path | None:
        """The released checkpoint, if there is one and its world is ours: your `mnist.npz` is not MNIST."""
        path = training.release_path(self.world.name, self.image_size, model, seed)
        if not path.is_file():
            return None
        source = models.load(path).provenance.get("source", self.world.source)
        return path if source == self.world.source else None

    def _load(self, path: Path) -> models.VAE:
        """Load a checkpoint and see that it fits this world.

        Raises:
            InputError: it is of another world, or of images of another size or number of channels.
        """
        model = models.load(path)
        config = model.config
        found = model.provenance.get("world", self.world.name), config["image_size"], config["channels"]
        expected = self.world.name, self.image_size, self.world.channels
        if found != expected:
            told = [f"{world} at {size}x{size}, {channels} channel{'s' if channels > 1 else ''}"
                    for world, size, channels in (found, expected)]
            raise InputError(f"checkpoint {path.name} was trained on {told[0]}, but the chapter runs on "
                             f"{told[1]}: give the dataset and image_size it was made for, or "
                             "checkpoint='auto'.")
        return model.to(self.device)

    @contextlib.contextmanager
    def _folder(self, stem: str, settings: Mapping[str, Any]) -> Iterator[Path]:
        """runs/models/STEM_KEY, locked; the key changes with settings, data and code that make a model."""
        from filelock import FileLock, Timeout

        key = json.dumps({"settings": settings, "data": _fingerprint(self.dataset), "code": _code_digest()},
                         sort_keys=True)
        folder = _runs_folder() / "models" / f"{stem}_{hashlib.sha256(key.encode()).hexdigest()[:10]}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print("another run trains this very model: waiting for it", file=sys.stderr, flush=True)
            lock.acquire()
        try:
            yield folder
        finally:
            lock.release()

    # --- data -----------------------------------------------------------------------------------------------

    def generator_for(self, name: str) -> torch.Generator:
        """A fresh generator for one purpose: depends on `seed` and `name` alone, not on what ran before."""
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7]))

    def encode_sample(self, n: int | None = None, *, keep: int = 1000, model: models.VAE | None = None,
                      name: str = "sample") -> tuple[Tensor, Tensor, Tensor]:
        """Draw and encode n observations (default `n_observations`); most pictures are not kept.

        A twin's states are drawn anew each time. Of stored observations none is drawn twice: were 200 pictures
        encoded 50,000 times, every one of them would look like a mode of the density. So there are at most as
        many as the data hold, and two samples with different names overlap.

        Args:
            n: how many, at most.
            keep: the pictures of this many, the first ones, are returned; the codes of all are. 480,000
                pictures of 64x64 would take 24 GB, their codes take 19 MB.
            model: whose codes (default `c.model`).
            name: of the sample; the same name gives the same draws at every call, another name others.

        Returns:
            observations (min(n, keep), C, H, W) float32, states (n, M) int64, codes (n, d) float32, all on
            the CPU.
        """
        n, model = self.n_observations if n is None else n, model or self.model
        if n < 1:
            raise InputError(f"a sample of n = {n} observations cannot be drawn: expected at least 1.")
        world, size, generator = self.world, self.world.image_size, self.generator_for(name)
        stored = torch.randperm(world.n, generator=generator) if isinstance(world, ArrayWorld) else None
        n = n if stored is None else min(n, len(stored))
        kept = torch.empty(min(n, keep), world.channels, size, size)
        states = torch.empty(n, len(world.factors), dtype=torch.int64)
        codes = torch.empty(n, model.n_codes)
        for start in range(0, n, CHUNK):
            rows = slice(start, min(start + CHUNK, n))
            if stored is None:
                pictures, states[rows] = world.sample(rows.stop - start, generator)
            else:
                pictures = world.observation(stored[rows])
                states[rows] = torch.from_numpy(world.labels[stored[rows].numpy()])
            codes[rows] = model.encode(pictures).cpu()
            if start < len(kept):
                kept[rows] = pictures[:len(kept) - start].cpu()
        return kept, states, codes

    # --- claims and numbers ---------------------------------------------------------------------------------

    @property
    def strict(self) -> bool:
        """Whether a claim that does not hold fails the chapter, see `claim`."""
        return self._built_in and self.profile != "smoke"

    @property
    def _built_in(self) -> bool:
        """Ours to vouch for: a built-in world, the one that the claims are about, and a released model if any."""
        at_home = self.home in (None, (self.world.name, self.model_name))
        return at_home and self.world.source != "yours" and self.released is not False

    def claim(self, text: str, holds: Any, *, strict_smoke: bool = False, always: bool = False) -> None:
        """Say whether what the text claims holds in this run.

        Args:
            text: the claim, e.g. "shape's partitions are purer than those of k-means".
            holds: its truth, from this run's numbers.
            strict_smoke: as strict at the smoke scale as at any other.
            always: a theorem; strict at every scale, on any data and with any model.

        Raises:
            BrokenClaim: it does not hold where it must: at the chapter's home (else on any built-in world), with a
                released model (or none), at any scale but smoke. Elsewhere, and on your own data, it is reported,
                never raised, except for theorems.
        """
        holds = bool(holds)
        self.claims.append({"text": text, "holds": holds})
        if self._numbers:
            self._write()
        verdict, kind = ("holds", "") if holds else ("does not hold", " inc-broken")
        _display(f'<p class="inc inc-claim{kind}"><span class="inc-verdict">{verdict.capitalize()}.</span> '
                 f"{_inline(text)}</p>", f"{verdict}: {text}")
        if not holds and (always or self.strict or (strict_smoke and self._built_in)):
            raise BrokenClaim(f"claimed, and not so: {text}")

    def contract(self, name: str, value: Any, digits: int = 2) -> None:
        """One line of rounded values, the only lines that nbval compares between runs."""
        line = f"contract: {name} = {_rounded(value, digits)}"
        _display(f'<p class="inc inc-note"><code>{html.escape(line)}</code></p>', line)

    def glue(self, name: str, value: Any, fmt: str = "") -> None:
        """Keep a formatted value for the text: {glue:text}`name` prints it, NaN as a dash. Shows nothing here."""
        if _shell() is None:
            return
        from IPython.display import display

        prefix, missing = "application/papermill.record/", isinstance(value, float) and math.isnan(value)
        text = "–" if missing else format(value, fmt)
        display({f"{prefix}text/plain": repr(text)}, raw=True,  # quoted: unquoted "6,000" is read as a tuple
                metadata={"scrapbook": {"name": name, "mime_prefix": prefix}})

    def record(self, **values: float | int | bool | None) -> None:
        """Merge numbers into `record_path`, results/<profile>/<dataset>/<model>/s<seed>/<chapter>.json.

        A run starts from an empty record, so nothing stale survives; the file is written whole each time.
        True and False are kept as 1 and 0. None means not measurable.

        Raises:
            InputError: a value is NaN, infinite, or no single number.
        """
        self._numbers |= {name: _scalar(name, value) for name, value in values.items()}
        self._write()

    @property
    def record_path(self) -> Path:
        """Where this chapter's numbers go."""
        world = re.sub(r"[^\w.-]+", "_", self.world.name)
        return (results_folder() / self.profile / world / self.model_name / f"s{self.seed}"
                / f"{self.chapter}.json")

    def _write(self) -> None:
        record = {"chapter": self.chapter, "profile": self.profile, "dataset": self.world.name,
                  "model": self.model_name, "seed": self.seed, "numbers": self._numbers,
                  "claims": self.claims, "provenance": self._provenance()}
        with atomic_write(self.record_path) as temporary:
            temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def _provenance(self) -> dict[str, Any]:
        path = self._checkpoint_path
        provenance = self.__dict__["model"].provenance if "model" in self.__dict__ else {}
        now = datetime.datetime.now(datetime.UTC)
        return {"commit": _commit(ROOT), "date": now.isoformat(timespec="seconds"),
                "device": torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
                "threads": torch.get_num_threads(), "seconds": round(time.monotonic() - self._begun, 1),
                "peak_memory_gb": _peak_memory_gb(), "world_source": self.world.source,
                "image_size": self.image_size, "checkpoint": path.name if path else None,
                "checkpoint_sha256": sha256(path) if path else None, "released": bool(self.released),
                "train_steps": provenance.get("steps"), "n_observations": self.n_observations,
                "torch": torch.__version__.split("+")[0]}

    def progress(self, told: str) -> contextlib.AbstractContextManager[None]:
        """Around something long of your own: its stderr becomes one line that is updated in place."""
        return _heartbeat(told)

    # --- the page -------------------------------------------------------------------------------------------

    def show(self, figure: Figure, caption: str, *, name: str | None = None) -> None:
        """See `chapter.show`."""
        show(figure, caption, name=name)

    def table(self, frame: pd.DataFrame, caption: str, **options: Any) -> None:
        """See `chapter.table`."""
        table(frame, caption, **options)

    def say(self, sentence: str) -> None:
        """See `chapter.say`."""
        say(sentence)

    def on_your_own_data(self, dataset: str = "my-images.npz") -> None:
        """The command that runs this very chapter on the reader's data."""
        command = (f"papermill notebooks/{self.chapter}.ipynb mine.ipynb -p dataset {shlex.quote(dataset)} "
                   "-f notebooks/profiles/cpu.yaml")
        lead = "This chapter on your own data:"
        _display(f'<p class="inc inc-say">{lead}</p><pre class="inc">{html.escape(command)}</pre>',
                 f"{lead}\n{command}")


def start(*, chapter: str, profile: str = "smoke", dataset: str = "shapes3d-twin", image_size: int = 64,
          model: str = "ada-gvae", checkpoint: str = "auto", train_steps: int = 60,
          n_observations: int = 3000, n_generated: int = 64, oracle_steps: int = 60, seed: int = 0,
          device: str = "auto", world: Any = None, home: tuple[str, str] | None = None,
          **unknown: Any) -> Chapter:
    """Begin a chapter: check its parameters, set threads, device and seed, load the world, say what runs.

    Args:
        chapter: the notebook's name without its suffix, e.g. "04_e1_realism".
        profile: name of the scale, recorded with every number.
        dataset: a world by name, or a path to your own data.
        image_size: pixels on a side, 32 or 64.
        model: "ada-gvae", "beta-tcvae" or "comp-wae".
        checkpoint: "auto" (the released one, else train), "train" (always train), or a path.
        train_steps, n_observations, n_generated, oracle_steps: the scale.
        seed: of everything random, through generators; torch's global one is seeded too, for cells a reader
            adds.
        device: "auto", "cpu" or "cuda".
        world: what observations come from where they are no images: anything with `name`, `source`, `factors` and
            `describe()`. It replaces what `dataset` and `image_size` say, and `model` is any name.
        home: the world and the model that the chapter's claims are about, where they are about one: on another the
            page says of each whether it holds there, and goes on.

    Raises:
        InputError: a parameter is unknown or cannot be used, or the dataset cannot be read.
    """
    given = {"profile": profile, "dataset": dataset, "image_size": image_size, "model": model,
             "checkpoint": checkpoint, "train_steps": train_steps, "n_observations": n_observations,
             "n_generated": n_generated, "oracle_steps": oracle_steps, "seed": seed, "device": device}
    for name in unknown:
        raise suggest("parameter", name, given)
    for name, value in given.items():
        if name in ("image_size", "train_steps", "n_observations", "n_generated", "oracle_steps", "seed"):
            least = 0 if name == "seed" else 1
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
                raise InputError(f"parameter {name} = {value!r} cannot be used: expected a whole number of "
                                 f"at least {least}.")
        elif not isinstance(value, str | os.PathLike) or not str(value):
            raise InputError(f"parameter {name} = {value!r} cannot be used: expected text.")
        else:
            given[name] = str(value)
    if world is None and model not in models.MODELS:
        raise suggest("model", model, models.MODELS)
    device = given["device"] = training.pick_device(device)
    if given["checkpoint"] not in ("auto", "train") and not Path(given["checkpoint"]).expanduser().is_file():
        raise InputError(f"checkpoint {checkpoint} does not exist: expected 'auto', 'train' or the path of a "
                         ".safetensors file.")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or min(_cores(), 8)))
    torch.manual_seed(seed)
    if world is None:
        world = worlds.load(given["dataset"], image_size=image_size, device=device)
    else:
        given["image_size"] = getattr(world, "image_size", 0)
    given["model_name"] = given.pop("model")
    running = Chapter(chapter=chapter, world=world, generator=torch.Generator().manual_seed(seed), home=home,
                      **given)
    told = f"{world.describe()} Model {model}, seed {seed}, profile {profile}, on {device}."
    if profile == "smoke":
        told += " The smoke scale checks that everything runs; its numbers are no results."
    _display(f'{_STYLE}<p class="inc inc-note">{_inline(told)}</p>', told)
    return running


# --- what is displayed --------------------------------------------------------------------------------------

# In a notebook editor there is no style sheet of ours: enough of it to follow the editor's theme.
_STYLE = """<style>
:is([data-jp-theme-light="false"], .vscode-dark) figure.inc img.only-dark { display: block !important; }
:is([data-jp-theme-light="false"], .vscode-dark) figure.inc img.only-light { display: none !important; }
figure.inc { margin: 1em 0; } figure.inc figcaption { font-size: 0.9em; opacity: 0.8; }
p.inc-claim { padding: 0.4em 0.8em; border-left: 4px solid #2a7f62; }
p.inc-claim.inc-broken { border-left-color: #c2571a; }
</style>"""


def show(figure: Figure, caption: str, *, name: str | None = None) -> None:
    """Display a figure once, for light and for dark pages, with its alt text and caption.

    Args:
        figure: from `plots`; its `.alt` becomes the alternative text.
        caption: what the figure shows, as a claim; may hold `code`, *emphasis*, **strong** and $math$.
        name: anchor `fig-NAME` for links to it.
    """
    alt = getattr(figure, "alt", "")
    if not alt:
        raise InputError("a figure without alt text cannot be shown: make it with inc_lib.plots, or set "
                         "figure.alt to a sentence that gives its data.")
    figure.draw_without_rendering()  # places everything once, for both
    figure.set_layout_engine("none")
    box = figure.get_tightbbox().padded(0.02)
    pictures = []
    for theme, recolour in (("only-light", plots.light), ("only-dark", plots.dark)):
        source, width, height = _picture(recolour(figure), box)
        hidden = ' style="display:none"' if theme == "only-dark" else ""
        pictures.append(f'<img class="{theme}"{hidden} src="{source}" width="{width}" height="{height}" '
                        f'alt="{html.escape(alt)}">')
    plots.light(figure)
    wide = " inc-wide" if getattr(figure, "wide", False) else ""
    scrolls = ' tabindex="0"' if wide else ""  # so that a keyboard can scroll it
    anchor = f' id="fig-{html.escape(name)}"' if name else ""
    _display(f'<figure class="inc{wide}"{anchor}><div class="inc-pictures"{scrolls}>{"".join(pictures)}</div>'
             f"<figcaption>{_inline(caption)}</figcaption></figure>", f"Figure: {caption} [{alt}]")


def table(frame: pd.DataFrame, caption: str, *, digits: int = 2, formats: Mapping[str, str] | None = None,
          bold: str | None = None, index: bool = True) -> None:
    """Display a DataFrame as a clean table.

    Args:
        digits: after the point, of floating numbers.
        formats: column -> format, e.g. {"seconds": ".1f"}.
        bold: "max" or "min" marks the best score of each row, ties included; whole numbers are counts and
            never marked.
        index: whether the index is shown, as the row's heading.
    """
    if bold not in (None, "max", "min"):
        raise InputError(f"bold = {bold!r} cannot be used: expected 'max', 'min' or None.")
    columns = list(range(frame.shape[1]))  # by place: names may repeat
    text = frame.astype(object).copy()
    for k in columns:
        fmt = (formats or {}).get(frame.columns[k])
        text.isetitem(k, [_cell(value, fmt, digits) for value in frame.iloc[:, k]])
    right = [all(_is_number(value) or value is None for value in frame.iloc[:, k]) for k in columns]
    kinds = ["" if numeric else ' class="inc-text"' for numeric in right]
    best = _best_cells(frame, bold, digits)
    head = [f'<th scope="col"{kinds[k]}>{_inline(str(frame.columns[k]))}</th>' for k in columns]
    if index:
        head.insert(0, f'<th scope="col" class="inc-text">{html.escape(str(frame.index.name or ""))}</th>')
    body = []
    for row, label in enumerate(frame.index):
        cells = [f'<th scope="row">{_inline(str(label))}</th>'] if index else []
        for k in columns:
            kind = ' class="inc-best"' if (row, k) in best else kinds[k]
            cells.append(f"<td{kind}>{_inline(str(text.iat[row, k]))}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    markup = (f'<table class="inc-table"><thead><tr>{"".join(head)}</tr></thead>'
              f"<tbody>{''.join(body)}</tbody></table>")
    _display(f'<figure class="inc inc-table-figure"><div class="inc-scroll">{markup}</div>'
             f"<figcaption>{_inline(caption)}</figcaption></figure>",
             f"{caption}\n{text.to_string(index=index)}")


def say(sentence: str) -> None:
    """Display a sentence with this run's numbers as prose, marked up as a caption."""
    _display(f'<p class="inc inc-say">{_inline(sentence)}</p>', sentence)


def _display(markup: str, plain: str) -> None:
    """HTML where it can be shown, plain text everywhere else."""
    if _shell() is None:
        print(plain)
        return
    from IPython.display import display

    display({"text/html": markup, "text/plain": plain}, raw=True)


def _shell() -> Any:
    """The running IPython shell, or None."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None else None


def _inline(text: str) -> str:
    """Escape text; `code`, **strong**, *emphasis* and $math$ (for the page's MathJax) become markup."""
    pieces = re.split(r"(`[^`]+`|\$[^$\s](?:[^$]*[^$\s])?\$)", text)
    out = []
    for piece in pieces:
        if len(piece) > 2 and piece[0] == piece[-1] == "`":
            out.append(f"<code>{html.escape(piece[1:-1])}</code>")
        elif len(piece) > 2 and piece[0] == piece[-1] == "$":
            out.append(f'<span class="math notranslate nohighlight">\\({html.escape(piece[1:-1])}\\)</span>')
        else:
            piece = re.sub(r"\*\*(\S(?:.*?\S)?)\*\*", r"<strong>\1</strong>", html.escape(piece, quote=False))
            out.append(re.sub(r"(?<![\w*])\*(\S(?:[^*]*?\S)?)\*(?![\w*])", r"<em>\1</em>", piece))
    return "".join(out)


def _picture(figure: Figure, box: Bbox) -> tuple[str, int, int]:
    """The part of a figure inside `box` (inches) as a data URI of twice its size in CSS pixels; that size.

    WebP, since every browser shows it and a chapter's pictures weigh a quarter of PNG: lossless for line art,
    visually lossless where photographs or renderings bring many colours.
    """
    from PIL import Image, features

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=2 * DPI, bbox_inches=box, pil_kwargs={"compress_level": 1})
    picture = Image.open(buffer).convert("RGBA")
    small, line_art = io.BytesIO(), picture.getcolors(4096) is not None
    if features.check("webp"):
        kind = "webp"
        picture.save(small, format=kind, lossless=line_art, quality=20 if line_art else 90, method=2)
    else:
        kind = "png"
        picture.save(small, format=kind)
    data = base64.b64encode(small.getvalue()).decode()
    return f"data:image/{kind};base64,{data}", round(picture.width / 2), round(picture.height / 2)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Number | np.number) and not isinstance(value, bool | np.bool_)


def _cell(value: Any, fmt: str | None, digits: int) -> str:
    """A table's cell as text: an en dash for what is missing."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return "–"
    if fmt:
        return format(value, fmt)
    if isinstance(value, float | np.floating):
        return f"{value:.{digits}f}"
    if _is_number(value):
        return f"{value:,}"
    return str(value)


def _best_cells(frame: pd.DataFrame, bold: str | None, digits: int) -> set[tuple[int, int]]:
    """(row, column) of the best number of each row, ties after rounding included."""
    found: set[tuple[int, int]] = set()
    for row in range(len(frame)) if bold else ():
        scores = ((k, value) for k, value in enumerate(frame.iloc[row].astype(object))  # not counts
                  if isinstance(value, float | np.floating) and math.isfinite(value))
        values = {k: round(float(value), digits) for k, value in scores}
        if len(values) > 1:
            target = max(values.values()) if bold == "max" else min(values.values())
            found |= {(row, k) for k, value in values.items() if value == target}
    return found


def _rounded(value: Any, digits: int) -> str:
    """A value of a contract line: numbers rounded (never "-0.00"), lists element by element."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, bool | str) or value is None:
        return str(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_rounded(part, digits) for part in value) + "]"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    return f"{round(float(value), digits) + 0.0:.{digits}f}"


def _scalar(name: str, value: Any) -> float | int | None:
    """A plain number for JSON; raises InputError on anything else."""
    if value is None:
        return None
    if hasattr(value, "item") and getattr(value, "size", 1) is not None:
        count = value.numel() if hasattr(value, "numel") else value.size
        value = value.item() if count == 1 else value
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        if math.isfinite(value):
            return float(value)
        kind = "NaN" if math.isnan(value) else "infinite"
        raise InputError(f"number {name!r} is {kind}, which a record does not hold: find out why, or record "
                         "None (not measurable) and say so in the text.")
    raise InputError(f"number {name!r} is of type {type(value).__name__}: a record holds single numbers; "
                     "give each its own name.")


# --- where and on what --------------------------------------------------------------------------------------

class _Line(io.TextIOBase):
    """Takes a training's stderr: shows a line in place in the notebook, passes it on to the kernel's own."""

    def __init__(self, told: str) -> None:
        from IPython.display import display

        self.told, self.rest = told, ""
        self.handle = display(self._bundle(told), raw=True, display_id=True)
        try:
            self.real = sys.stderr.fileno()  # in a kernel: the stream that the process was started with
        except (OSError, AttributeError):
            self.real = None

    @staticmethod
    def _bundle(text: str) -> dict[str, str]:
        return {"text/html": f'<p class="inc inc-note">{html.escape(text)}</p>', "text/plain": text}

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if line.strip():
                self.handle.update(self._bundle(f"{self.told} ({line.strip()})"), raw=True)
                if self.real is not None:
                    os.write(self.real, f"\r{self.told}: {line.strip()}\n".encode())
        return len(text)

    def end(self) -> None:
        self.handle.update(self._bundle(self.told), raw=True)


@contextlib.contextmanager
def _heartbeat(told: str) -> Iterator[None]:
    """Show progress of what runs inside: in a kernel one line updated in place, elsewhere stderr as it is."""
    shell = _shell()
    if shell is None or not hasattr(shell, "kernel"):
        yield
        return
    line = _Line(told)
    with contextlib.redirect_stderr(line):
        yield
    line.end()


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _runs_folder() -> Path:
    """Where models trained by chapters are kept: `INC_RUNS`, or `runs/` (untracked) of the project."""
    return Path(os.environ.get("INC_RUNS") or ROOT / "runs").expanduser()


def _fingerprint(dataset: str) -> list[Any]:
    """What tells one state of the data from another: a world's name, or sizes and times of your files."""
    path = Path(dataset).expanduser()
    if dataset in worlds.names() or not path.exists():
        return [dataset]
    files = [file for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()]
    facts = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    return [str(path.resolve()), *facts]


@functools.cache
def _code_digest() -> str:
    """Digest of the code that a trained model depends on: models, worlds, and every module that starts a training."""
    package = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for file in sorted({*package.rglob("*.py")} - {Path(__file__).resolve()}):
        code = file.read_bytes()
        if file.parent.name in ("models", "worlds") or b"Run(" in code or b"._folder(" in code:
            digest.update(code)
    return digest.hexdigest()


def _peak_memory_gb() -> float | None:
    """The most memory this process has held, in GB (10^9 bytes); None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e9, 2)
