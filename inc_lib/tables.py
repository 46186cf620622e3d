"""Recorded numbers -> the Markdown tables of the page "The paper against ours".

Reads `<folder>/<profile>/<dataset>/<model>/s<seed>/<chapter>.json`, as `chapter.record` writes them, and
prints mean and spread over seeds beside the figures of the paper, with the command that reruns each column.

    python -m inc_lib.tables results            # the tables, on stdout
    python -m inc_lib.tables results --short    # the paper's Tables 1 to 3, as the README shows them

Three rules, which tests hold it to: a twin's number never stands under the published set's name; a number
stands with its estimator; records of the smoke profile are checks that the code runs and are not shown.
"""
from __future__ import annotations

import argparse
import json
import math
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .errors import InputError
from .files import ROOT

# 3DShapes, in the dataset's order.
FACTORS = ("floor hue", "wall hue", "object hue", "scale", "shape", "orientation")

# The paper's figures, all on the published 3DShapes, in the order of FACTORS; None where it gives none.
_NONE = (None, None, None)
PAPER_E1 = (0.73, 0.64, 0.46, 0.95, 0.96, 0.98)
PAPER_E3 = {"kde": {"purity": (*_NONE, 0.99, 1.0, 0.99), "nmi": (*_NONE, 0.97, 1.0, 0.99)},
            "kmeans": {"purity": (*_NONE, 0.87, 0.75, 1.0), "nmi": (*_NONE, 0.92, 0.80, 1.0)},
            "gmm": {"purity": _NONE * 2, "nmi": _NONE * 2}}
PAPER_E4 = {"encoded_single": (0.43, 0.39, 0.52, 0.88, 0.98, 0.98),
            "encoded_mda": (0.73, 0.64, 0.46, 0.95, 0.96, 0.98),
            "AS_single": (0.36, 0.44, 0.20, 0.74, 0.91, 0.81),
            "AS_mda": (0.68, 0.56, 0.38, 0.74, 0.95, 0.79)}

# Table 1 in full: the published set and the model that the paper shows; generated clusters, then its oracle. Factors in
# the order of our worlds.
PAPER_TABLE1 = {
    ("dsprites", "comp-wae"): ((0.42, 0.95, 0.12, 0.62, 0.70), (0.99, 0.99, 0.92, 0.65, 0.70)),
    ("shapes3d", "ada-gvae"): (PAPER_E1, (1.0,) * 6),
    ("mpi3d", "comp-wae"): ((1.0, 0.49, 0.98, 1.0, 1.0, 0.28, 0.85), (1.0, 0.98, 0.99, 1.0, 1.0, 0.90, 0.99)),
}
# Student's t, two-sided 95 %, for 1, 2, ... degrees of freedom; the book is built without scipy.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)

MODELS = {"ada-gvae": "Ada-GVAE", "ada-gvae-threshold": "Ada-GVAE by threshold", "comp-wae": "Comp-WAE",
          "beta-tcvae": "beta-TCVAE"}
GAMES = {"dls": "DLS-Clustering", "dls-bent": "DLS-Clustering told of bending (ours)"}
METHODS = {"kde": "KDE", "kmeans": "k-means", "gmm": "GMM"}
CONDITIONS = {"encoded_single": "encoded $z$, one dimension", "encoded_mda": "encoded $z$, MDA",
              "AS_single": "$z$ from partitions (AS), one dimension",
              "AS_mda": "$z$ from partitions (AS), MDA"}
ESTIMATORS = {"boosting": "gradient boosting", "forest": "random forest", "lasso": "Lasso"}
PUBLISHED = "paper, published 3DShapes"
SCALES = ("gpu", "cpu")  # printed in this order; any other profile after them; smoke never


def slug(name: str) -> str:
    """A factor's name as part of a key: "floor hue" -> "floor_hue"."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


_RANK = {slug(name): rank for rank, name in enumerate(FACTORS)}


@dataclass(frozen=True)
class Record:
    """One JSON file: the numbers that one run of one chapter measured."""

    path: Path
    chapter: str
    profile: str
    dataset: str
    model: str
    seed: int
    numbers: dict[str, float | None]
    provenance: dict = field(default_factory=dict)
    run_model: str = ""  # the `model` parameter of the run, where it measured a second model too

    @property
    def source(self) -> str:
        """Where the images come from: "published", "procedural twin" or "yours" (the last if unsaid)."""
        twin = "procedural twin" if self.dataset.endswith("-twin") else "yours"
        return self.provenance.get("world_source") or twin


@dataclass(frozen=True)
class Column:
    """All seeds of one chapter on the same data, model and profile: what one column of a table shows."""

    dataset: str
    source: str
    model: str
    profile: str
    records: tuple[Record, ...]

    @property
    def seeds(self) -> list[int]:
        return sorted({record.seed for record in self.records})

    @property
    def title(self) -> str:
        model = (MODELS | GAMES).get(self.model, self.model)
        return f"ours, {self.origin}, {model}, {self.profile}, {_seeds(self.n_seeds)}{self.unequal}"

    @property
    def unequal(self) -> str:
        """How long each seed was trained, where that differs: " (92,000 and 60,000 steps)"."""
        told = sorted(self.records, key=lambda record: record.seed)
        steps = [record.provenance.get("train_steps") if record.model == record.run_model else None for record in told]
        if None in steps or len(set(steps)) < 2:
            return ""
        *first, last = [f"{count:,}" for count in steps]
        return f" ({', '.join(first)} and {last} steps)"

    @property
    def n_seeds(self) -> int:
        """Over how many seeds the numbers are means: those of the records, or of one that is over several itself."""
        counts = (value for record in self.records for key, value in record.numbers.items()
                  if key.endswith("_n_seeds"))
        return max([len(self.seeds), *(int(value) for value in counts if value)])

    @property
    def origin(self) -> str:
        """How a column names its data, so that a twin is never taken for the set it imitates."""
        kind = {"procedural twin": "**twin** ", "published": "published "}.get(self.source, "")
        return f"{kind}`{self.dataset}`"

    @property
    def beside_paper(self) -> bool:
        """Whether the paper's figures say something about it: the published 3DShapes, or our twin of it.

        A file of a reader's own never stands beside the paper, whatever it is called.
        """
        known = {"published": "shapes3d", "procedural twin": "shapes3d-twin"}
        return known.get(self.source) == self.dataset

    def cell(self, *keys: str, count: bool = False, interval: bool = False) -> str:
        """Mean and spread over seeds; of several keys, the mean within a seed first.

        A seed counts if it has all the keys; an en dash says that none has. `count`: whole numbers lose
        their decimals. `interval`: the 95 % interval of the mean instead of the standard deviation.
        """
        rows = [[record.numbers.get(key) for key in keys] for record in self.records]
        values = [statistics.fmean(row) for row in rows if row and None not in row]
        if not values:
            return "–"
        text = _interval(values) if interval else _spread(values, count=count)
        return text if len(values) == len(self.seeds) else f"{text} ({_seeds(len(values))})"


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def _spread(values: list[float], *, count: bool = False) -> str:
    """Mean ± sample standard deviation; the mean alone for one value, or for counts that all agree."""
    mean, spread = statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None
    if count:
        return f"{mean:.1f}".removesuffix(".0") + (f" ± {spread:.1f}" if spread else "")
    return f"{mean:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def _interval(values: list[float]) -> str:
    """Mean and, of several seeds, its 95 % confidence interval by Student's t (normal beyond the table), cut to [0, 1],
    where all scores lie that are shown so."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return f"{mean:.2f}"
    t = STUDENT[len(values) - 2] if len(values) - 2 < len(STUDENT) else 1.96
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.2f} [{max(mean - half, 0):.2f}, {min(mean + half, 1):.2f}]"


def read_records(folder: str | Path) -> list[Record]:
    """All records under `folder`, a second model's (`beta_tcvae__mig`) under its own name.

    Raises:
        InputError: a file is not JSON, lacks a field, contradicts its path or holds what is no number.
    """
    records = []
    for path in sorted(Path(folder).glob("*/*/*/s*/*.json")):
        if not path.name.startswith("."):  # a file that is just being written
            records.extend(_read(path))
    return records


def _read(path: Path) -> list[Record]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        numbers, seed = dict(data["numbers"]), int(data["seed"])
        folder = re.sub(r"[^\w.-]+", "_", data["dataset"])  # as chapter.record names it
        place = (data["profile"], folder, data["model"], f"s{seed}", data["chapter"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not a record of a chapter ({type(error).__name__}: {error}): "
                         "delete it and run the chapter again.") from error
    if place != (*path.parts[-5:-1], path.stem):
        raise InputError(f"{path} says it is {'/'.join(map(str, place))}: a record lies at "
                         "<profile>/<dataset>/<model>/s<seed>/<chapter>.json; move it back or delete it.")
    for key, value in numbers.items():
        scalar = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not scalar and value is not None:
            raise InputError(f"{path}: number {key!r} is {value!r}, expected a finite number or null; "
                             "run the chapter again.")
    split: dict[str, dict[str, float | None]] = {data["model"]: {}}
    for key, value in numbers.items():
        prefix, _, rest = key.rpartition("__")
        split.setdefault(prefix.replace("_", "-") or data["model"], {})[rest] = value
    provenance = dict(data.get("provenance") or {})
    return [Record(path, data["chapter"], data["profile"], data["dataset"], model, seed,
                   part, provenance, data["model"])
            for model, part in split.items() if part]


def columns(records: Iterable[Record], chapter: str, *, has: str = "") -> list[Column]:
    """Group a chapter's records by data, model and profile; keep groups with a key that matches `has`."""
    groups: dict[tuple[str, str, str, str], list[Record]] = {}
    for record in records:
        if record.chapter == chapter and any(re.match(has, key) for key in record.numbers):
            key = (record.dataset, record.source, record.model, record.profile)
            groups.setdefault(key, []).append(record)
    models, scales = list(MODELS), list(SCALES)

    def order(key: tuple[str, str, str, str]) -> tuple:
        dataset, source, model, profile = key
        return (dataset, source, models.index(model) if model in models else 9, model,
                scales.index(profile) if profile in scales else 9, profile)

    return [Column(*key, records=tuple(groups[key])) for key in sorted(groups, key=order)]


def factors_of(group: Iterable[Column], pattern: str) -> list[str]:
    """Factors found in keys such as `f1_<factor>` (one regex group): 3DShapes' order, then as recorded."""
    numbers = (record.numbers for column in group for record in column.records)
    found = dict.fromkeys(m[1] for keys in numbers for key in keys if (m := re.fullmatch(pattern, key)))
    return sorted(found, key=lambda name: _RANK.get(name, len(_RANK)))


def markdown_table(header: list[str], rows: list[list[str]], *, labels: int = 1) -> str:
    """A pipe table: so many label columns to the left, then numbers. Rows without any number are left out."""
    kept = [row for row in rows if any(cell != "–" for cell in row[labels:])]
    lines = [header, [":--"] * labels + ["--:"] * (len(header) - labels), *kept]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _paper(figures: tuple[float | None, ...], factor: str) -> str:
    """The paper's figure for a factor of 3DShapes, an en dash where it gives none."""
    value = figures[_RANK[factor]] if factor in _RANK else None
    return "–" if value is None else f"{value:.2f}"


def _name(factor: str) -> str:
    return factor.replace("_", " ")


def rerun(column: Column, chapter: str) -> str:
    """The papermill command that measures a column again, one seed at a time."""
    first = column.records[0]
    dataset = f"path/to/{column.dataset}" if column.source == "yours" else column.dataset
    given = {"dataset": dataset, "model": first.run_model if first.run_model in MODELS else None,
             "image_size": first.provenance.get("image_size"), "seed": str(column.seeds[0])}
    if first.run_model == "dls-bent":  # chapter 12's other objective; as many models as are released
        given |= {"objective": first.run_model, "n_models": column.n_seeds}
    lines = [["papermill", f"notebooks/{chapter}.ipynb", f"{chapter}.ipynb"],
             ["-f", f"notebooks/profiles/{column.profile}.yaml"],
             [word for name, value in given.items() if value for word in ("-p", name, str(value))]]
    rest = column.seeds[1:]
    others = f"   # and seed{'s' * (len(rest) > 1)} {', '.join(map(str, rest))}" if rest else ""
    return " \\\n    ".join(map(shlex.join, lines)) + others


def _under(group: list[Column], chapter: str) -> str:
    """What stands below a table: how to rerun each column, and on what it was measured."""
    commands = dict.fromkeys(rerun(column, chapter) for column in group)
    facts = []
    for key, length in (("device", 60), ("commit", 13), ("date", 10), ("checkpoint", 80)):
        provenances = (record.provenance for column in group for record in column.records)
        if values := sorted({str(found[key])[:length] for found in provenances if found.get(key)}):
            facts.append(f"{key} {', '.join(values)}")
    measured = f"\n\nOrigin: {'; '.join(facts)}." if facts else ""
    return "Run again:\n\n```bash\n" + "\n".join(commands) + "\n```" + measured


def _by_dataset(group: list[Column]) -> list[list[Column]]:
    origins = dict.fromkeys(column.origin for column in group)
    return [[column for column in group if column.origin == origin] for origin in origins]


def table_actions(group: list[Column]) -> str:
    header, rows = ["factor"], []
    for column in group:
        header += [f"attributes with an action: {column.title}", "partition purity (KDE)"]
    for factor in factors_of(group, r"n_actions_(.+)"):
        row = [_name(factor)]
        for column in group:
            found, of = (column.cell(f"n_{what}_{factor}", count=True) for what in ("actions", "attributes"))
            row += [found if of == "–" else f"{found} of {of}", column.cell(f"purity_kde_{factor}")]
        rows.append(row)
    return markdown_table(header, rows)


def table_e0(group: list[Column]) -> str:
    parts = ("disentanglement", "completeness", "informativeness")
    measures = [(f"DCI {part}, by {ESTIMATORS.get(estimator, estimator)}", f"dci_{part}_{estimator}")
                for estimator in factors_of(group, r"dci_disentanglement_(.+)") for part in parts]
    rows = [[label, *(c.cell(key) for c in group)] for label, key in [*measures, ("MIG", "mig")]]
    return markdown_table(["measure", *(c.title for c in group)], rows)


def table_e1(group: list[Column]) -> str:
    factors, beside = factors_of(group, r"f1_(.+)"), group[0].beside_paper
    header = ["factor"] + [PUBLISHED] * beside
    for column in group:
        header += [column.title, "oracle on real test images"]
    rows = [[_name(f)] + [_paper(PAPER_E1, f)] * beside
            + [c.cell(f"{kind}_{f}") for c in group for kind in ("f1", "oracle_f1")] for f in factors]
    mean = ["*mean over factors*"] + [f"{statistics.fmean(PAPER_E1):.2f}"] * beside
    mean += [c.cell(*(f"{kind}_{f}" for f in factors)) for c in group for kind in ("f1", "oracle_f1")]
    return markdown_table(header, [*rows, mean])


def table_e3(group: list[Column]) -> str:
    """A table for each measure: side by side they would be too wide for a phone."""
    factors, beside = factors_of(group, r"purity_(?:kde|kmeans|gmm)_(.+)"), group[0].beside_paper
    tables = []
    for measure, key in (("purity", "purity"), ("NMI", "nmi")):
        header = [f"factor: {measure}", "partitions by"] + [PUBLISHED] * beside + [c.title for c in group]
        rows = [[_name(factor), label] + [_paper(PAPER_E3[method][key], factor)] * beside
                + [c.cell(f"{key}_{method}_{factor}", interval=True) for c in group]
                for factor in factors for method, label in METHODS.items()]
        tables.append(markdown_table(header, rows, labels=2))
    return "\n\n".join(tables)


def table_bound(group: list[Column]) -> str:
    kinds = {"explicit": "explicit (Eq. 1)", "reconstructed": "reconstructed (2)", "implicit": "implicit (3)"}
    rows = [[_name(f), *(c.cell(f"bound_{kind}_f1_{f}") for c in group for kind in kinds)]
            for f in factors_of(group, r"bound_explicit_f1_(.+)")]
    header = [f"{label}: {c.title}" for c in group for label in kinds.values()]
    return markdown_table(["factor", *header], rows)


def table_e4(group: list[Column]) -> str:
    drawn = "(?!normal_|uniform_|empirical_)"  # chapter 7 compares these too, under their own keys
    factors, rows = factors_of(group, rf"e4_(?:AS|encoded)_(?:mda|single)_{drawn}(.+)"), []
    for condition, label in CONDITIONS.items():
        if group[0].beside_paper:
            rows.append([label, PUBLISHED, *(_paper(PAPER_E4[condition], f) for f in factors)])
        rows += [[label, c.title, *(c.cell(f"e4_{condition}_{f}", interval=True) for f in factors)] for c in group]
    return markdown_table(["variant", "measured", *map(_name, factors)], rows, labels=2)


def table_worlds(group: list[Column]) -> str:
    """Chapter 18: E0 to E4 of one world for every model, means and 95 % intervals over seeds; a table an experiment."""
    world, header = group[0].dataset.removesuffix("-twin"), [c.title for c in group]
    factors = _as_recorded(group)

    def rows(kind: str, told: str) -> list[list[str]]:
        return [[f"{_name(f)}{told}", *(c.cell(f"{kind}_{f}", interval=True) for c in group)] for f in factors]

    measures = {"uniqueness of co-occurrences": "uniqueness", "MIG": "mig"}
    measures |= {f"DCI {part}, by {ESTIMATORS[kind]}": f"dci_{part}_{kind}" for kind in ("boosting", "forest")
                 for part in ("disentanglement", "completeness", "informativeness")}
    parts = [markdown_table(["E0", *header], [[label, *(c.cell(key, interval=True) for c in group)]
                                              for label, key in measures.items()])]
    printed = {model: figures for (of, model), figures in PAPER_TABLE1.items()
               if of == world and any(c.source != "yours" for c in group) and len(figures[0]) == len(factors)}
    e1 = _table_one_rows(group, factors, [part for figures in printed.values() for part in figures])
    told = [text for model in printed for text in (f"paper, published {world}, {MODELS[model]}", "its oracle")]
    parts.append(markdown_table(["E1: macro-F1", *told, *(text for c in group for text in (c.title, "oracle"))], e1))
    for method, label in METHODS.items():
        parts.append(markdown_table([f"E3: NMI of partitions by {label}", *header], rows(f"nmi_{method}", "")))
    for way, label in CONDITIONS.items():
        parts.append(markdown_table([f"E4: {label}", *header], rows(f"e4_{way}", "")))
    return "\n\n".join(parts)


def _as_recorded(group: list[Column]) -> list[str]:
    """The factors with a macro-F1, in the order of their world, which is that of the records."""
    keys = dict.fromkeys(key for c in group for record in c.records for key in record.numbers)
    return [m[1] for key in keys if (m := re.fullmatch(r"f1_(?!modulo_symmetry_)(.+)", key))]


def _table_one_rows(group: list[Column], factors: list[str], figures: list[tuple[float, ...]]) -> list[list[str]]:
    """Rows of E1: the paper's figures (one for each factor), then each column's F1 and its oracle's."""
    def ours(key: str) -> list[str]:
        return [c.cell(f"{kind}_{key}", interval=True) for c in group for kind in ("f1", "oracle_f1")]

    rows = []
    for k, f in enumerate(factors):
        rows.append([_name(f), *(f"{part[k]:.2f}" for part in figures), *ours(f)])
        modulo = ours(f"modulo_symmetry_{f}")
        if any(cell != "–" for cell in modulo):
            rows.append([f"{_name(f)}, modulo symmetry", *("–" for _ in figures), *modulo])
    return rows


def table_atlas(group: list[Column]) -> str:
    """Chapter 19: the plates of every network that a page shows, in numbers; a row a network."""
    kinds = ("read as ordered", "orders carried out", "uniqueness")
    parts = []
    for c in group:
        keys = [key for record in c.records for key in record.numbers]
        networks = dict.fromkeys(m[1] for key in keys if (m := re.fullmatch(r"atlas_uniqueness_(.+)", key)))
        rows = []
        for at in networks:
            world, model = at.split("_by_")
            rows.append([f"{world.replace('_', '-')}, {MODELS.get(model.replace('_', '-'), model)}",
                         *(c.cell(f"atlas_{slug(kind)}_{at}") for kind in kinds)])
        parts.append(markdown_table([f"world and network, seen from {c.title}", *kinds], rows))
    return "\n\n".join(parts)


def table_crowds(group: list[Column]) -> str:
    """Chapter 8: walks of the policies, and of what they have to beat. The paper gives pictures, no numbers."""
    rivals, ratio = ("", "_copy", "_line", "_people"), "distance to held-out people / floor"
    measures = {ratio: "crowds_ratio{}", f"{ratio}, one normal distribution a partition": "crowds_ratio_normal{}",
                f"{ratio}, observed ends, independent": "crowds_ratio_observed{}",
                f"{ratio}, partitions split until normal": "crowds_ratio_split{}",
                f"{ratio}, given real ends": "crowds_ratio_given_ends{}",
                f"{ratio}, spread over policies": "crowds_ratio_spread{}",
                f"{ratio}, later people": "crowds_ratio_later{}",
                f"{ratio}, hidden routes": "crowds_ratio_hidden{}",
                "share that arrives": "crowds_arrival{}", "minADE of 20, m": "crowds_minade{}",
                "minADE of 20, hidden routes, m": "crowds_minade_hidden{}", "minFDE of 20, m": "crowds_minfde{}",
                "speeds, total variation": "crowds_speed{}", "turns, total variation": "crowds_turning{}",
                "durations, energy distance, s": "crowds_duration{}"}
    rows = [[label, *(c.cell(key.format(rival)) for c in group for rival in rivals)]
            for label, key in measures.items()]
    header = [title for c in group for title in (c.title, "copy", "straight line", "training people")]
    return markdown_table(["measure", *header], rows)


def table_scenes(group: list[Column]) -> str:
    """Chapter 9: scenes by composition, by the number of objects asked for. The paper gives pictures, no numbers."""
    ways = {"plain": "places alone", "each": "places and number", "beside": "number beside", "ceiling": "rendered"}
    scores = {"met": "conditions met", "count": "count right", "all": "all right"}
    rows = [[f"{label}, asked by {way}" if kind != "ceiling" else f"{label}, {way}",
             *(c.cell(f"scenes_{score}_{kind}{k}") for c in group for k in range(1, 6))]
            for score, label in scores.items() for kind, way in ways.items()]
    header = [title for c in group for title in (f"{c.title}: 1 object", "2", "3", "4", "5")]
    return markdown_table(["measure", *header], rows)


def table_pixels(group: list[Column]) -> str:
    """Chapter 13: accuracy of pixels and the IoU of the smallest class, a row a method."""
    rows = [["layers", "pixels_accuracy", "pixels_iou_small"],
            ["layers, spread over runs", "pixels_accuracy_spread", ""],
            ["k-means on colours", "pixels_kmeans", ""], ["best of three k-means", "pixels_best_kmeans", ""],
            ["places that change together", "pixels_together", ""],
            ["mean label map, told the labels", "pixels_place", "pixels_place_small"]]
    cells = [[name, *(c.cell(key) if key else "" for c in group for key in keys)] for name, *keys in rows]
    header = [title for c in group for title in (f"{c.title}: accuracy", "IoU of the smallest class")]
    return markdown_table(["method, test part", *header], cells)


# Ding and Luo (2019), Table 3: the best of five runs, chosen by purity, which takes labels.
DING_AND_LUO = {"pendigits": {"purity": 0.847, "nmi": 0.803}, "mnist": {"purity": 0.975, "nmi": 0.936},
                "fashion-mnist": {"purity": 0.693, "nmi": 0.669}}


def table_dls(group: list[Column]) -> str:
    """Chapter 12: scores of clusters, a row a method. The paper's are the best of five runs, chosen by purity."""
    scores = ("purity", "accuracy", "nmi", "ari")
    methods = {"the column's model": "", "ClusterGAN": "clustergan_", "k-means": "kmeans_", "NMF": "nmf_",
               "Gaussian mixture": "gmm_", "agglomerative (Ward)": "ward_", "spectral": "spectral_"}
    rows = [[name, *(c.cell(f"dls_{key or 'test_'}{score}") for c in group for score in scores)]
            for name, key in methods.items()]
    rows += [[name, *(c.cell(key) if score == "purity" else "" for c in group for score in scores)]
             for name, key in {"the column's model, spread over runs": "dls_purity_spread",
                               "the column's model, run chosen without labels": "dls_purity_chosen",
                               "the column's model, best run by labels": "dls_purity_best"}.items()]
    if any(c.dataset in DING_AND_LUO and c.source == "published" for c in group):
        papers = [DING_AND_LUO.get(c.dataset, {}) if c.source == "published" else {} for c in group]
        rows.append(["paper (Ding and Luo, Table 3), best of five by purity",
                     *(f"{paper[score]:.3f}" if score in paper else "–" for paper in papers for score in scores)])
    header = [title for c in group for title in (f"{c.title}: purity", "accuracy", "NMI", "ARI")]
    return markdown_table(["method, test part", *header], rows)


def table_clustered(group: list[Column]) -> str:
    """Chapter 11: scores of clusters on the test part. The paper's accuracy is Zhu et al.'s, on MNIST."""
    scores = ("purity", "accuracy", "nmi", "ari")
    rows = [["clustered generator", *(c.cell(f"clustered_test_{score}") for c in group for score in scores)]]
    more = {"its spread over runs": "accuracy_spread", "k-means": "kmeans_accuracy",
            "best other method": "best_rival_accuracy",
            "the published alternation, a few minutes, training part": "literal_accuracy"}
    rows += [[name, *(c.cell(f"clustered_{key}") if score == "accuracy" else "" for c in group for score in scores)]
             for name, key in more.items()]
    if any(c.dataset == "mnist" and c.source == "published" for c in group):
        paper = {"accuracy": "0.984"}
        rows.append(["paper (Zhu et al.)", *(paper.get(s, "–") for c in group for s in scores)])
    header = [title for c in group for title in (f"{c.title}: purity", "accuracy", "NMI", "ARI")]
    return markdown_table(["method, test part", *header], rows)


def table_composition(group: list[Column]) -> str:
    """Chapter 10: classes that were taught and classes that were not. The paper gives a picture, no numbers."""
    classes = {"taught": "taught", "near": "one change away", "far": "two changes away"}
    ways = {"plain": "asked plainly", "guidance": "with guidance", "contrast": "with contrast"}
    measures = {f"accuracy, {told}, {asked}": f"composition_{way}_{name}" for name, told in classes.items()
                for way, asked in ways.items()}
    measures |= {f"spread over networks, {told}, {asked}": f"composition_{way}_{name}_spread"
                 for name, told in list(classes.items())[1:] for way, asked in ways.items()}
    measures |= {"ceiling (the oracle on true images)": "composition_ceiling",
                 "off the product of the class's own factors": "composition_weak",
                 "minus the product of what its parents can do": "composition_strong",
                 "held-out classes that emerge after their parents": "composition_after_parents"}
    rows = [[label, *(c.cell(key) for c in group)] for label, key in measures.items()]
    return markdown_table(["measure", *(c.title for c in group)], rows)


def table_subspaces(group: list[Column]) -> str:
    """Chapter 16: the paper's procedure beside actions on subspaces; what is kept has a row of its own."""
    ways = {"paper": "the paper's procedure", "ours": "on subspaces"}
    rows = [[f"{_name(f)}, {told}", *(c.cell(f"subspaces_{way}_f1_{f}") for c in group)]
            for f in factors_of(group, r"subspaces_paper_f1_(.+)") for way, told in ways.items()]
    rows += [[f"other factors kept, {told}", *(c.cell(f"subspaces_{way}_kept") for c in group)]
             for way, told in ways.items()]
    return markdown_table(["measure", *(c.title for c in group)], rows)


def table_identification(group: list[Column]) -> str:
    """Chapter 17: partitions found without labels. The paper proposes it and gives no numbers."""
    ways = {"pixels": "pixels", "self_supervised": "self-supervised embedding", "own_encoder": "own encoder (circular)",
            "oracle": "oracle (upper bound)"}
    measures = {f"{kind}, {told}, {'whole pictures' if how == 'whole' else 'best feature'}":
                f"identification_{way}_{how}_{kind}"
                for way, told in ways.items() for how in ("whole", "feature") for kind in ("precision", "recall")}
    measures |= {"false discovery rate with shams (0.05 promised)": "identification_fdr",
                 "precision on a tangled network, significant": "identification_tangled_precision",
                 "precision on a tangled network, recognised as well": "identification_tangled_recognised",
                 "precision of words (stand-in classifier)": "identification_named_precision",
                 "recall of words (stand-in classifier)": "identification_named_recall"}
    rows = [[label, *(c.cell(key) for c in group)] for label, key in measures.items()]
    return markdown_table(["measure", *(c.title for c in group)], rows)


def table_other(group: list[Column]) -> str:
    """Chapter 14: whatever was measured on a data set that the paper does not have."""
    kinds = {"f1": "macro-F1 of generated images, read by the oracle",
             "oracle_f1": "macro-F1 of the oracle on real test images",
             "purity_kde": "purity of KDE partitions", "nmi_kde": "NMI of KDE partitions",
             "n_actions": "attributes with an action"}
    rows = [[f"{_name(f)}: {label}", *(c.cell(f"{kind}_{f}", count=kind == "n_actions") for c in group)]
            for kind, label in kinds.items() for f in factors_of(group, rf"{kind}_(.+)")]
    rows.append(["partitions, all dimensions", *(c.cell("n_partitions", count=True) for c in group)])
    return markdown_table(["measure", *(c.title for c in group)], rows)


@dataclass(frozen=True)
class Section:
    """A heading of the page: where its numbers come from, what they mean, and how they are laid out."""

    chapter: str
    title: str
    has: str  # a regex that a key of the section's records matches
    table: Callable[[list[Column]], str]
    says: str


SECTIONS = (
    Section("02_atomic_actions", "Which attributes found an action", r"n_actions_", table_actions,
            "An attribute has an action if it owns partitions of the code space. The purity is that of the "
            "partitions that the density estimate (KDE) cuts. The paper gives no such figures."),
    Section("03_e0_disentanglement", "E0: disentanglement", r"dci_|mig", table_e0,
            "DCI means nothing without its estimator: the same codes score differently under each. "
            "No figures of the paper stand beside these."),
    Section("04_e1_realism", "E1: realism of generated clusters", r"f1_", table_e1,
            "Macro-F1 of an oracle, a CNN trained on real images, that reads generated ones; $z$ is encoded, "
            "and the action takes all dimensions of the attribute (MDA). An attribute without an action "
            "counts as 0. The oracle on real test images is the ceiling."),
    Section("06_e3_partitioning", "E3: partitions without knowing their number", r"(purity|nmi)_", table_e3,
            "KDE is not told the number of attributes; k-means and GMM are given the true number. Purity "
            "rises with the number of partitions, so read it beside NMI, which does not reward fine cuts. Means "
            "and, of several seeds, 95 % intervals by Student's t."),
    Section("06_e3_partitioning", "The lower bound, measured", r"bound_", table_bound,
            "Macro-F1 of the oracle on the three kinds of clusters. Explicit clusters are real images: their "
            "score is the oracle's own."),
    Section("07_e4_sampling", "E4: where to draw from, how many dimensions to act on", r"e4_", table_e4,
            "Macro-F1 of the same oracle under the four variants of Algorithm 1. An attribute without an "
            "action counts as 0. Means and, of several seeds, 95 % intervals by Student's t."),
    Section("16_subspaces", "Past the paper: actions on subspaces", r"subspaces_", table_subspaces,
            "Macro-F1 of the oracle, 300 images an attribute (chapter 4 draws 1,000); an attribute without an action "
            "counts as 0. Beside it the share of pictures in which another factor reads as before, averaged over pairs "
            "of factors that both procedures can act on. The paper has no such actions."),
    Section("18_three_worlds", "E0 to E4 elsewhere: other worlds, other models", r"uniqueness", table_worlds,
            "All five experiments in one pass, as chapter 18 runs them. Means and, of several seeds, 95 % intervals by "
            "Student's t. Macro-F1 is read by an oracle whose own score on held-out real pictures stands beside it; an "
            "attribute without an action counts as 0. The paper's Table 1 shows one model for each published set."),
    Section("19_atlas", "An atlas: what can be ordered, and what is read", r"atlas_", table_atlas,
            "The plates of chapter 19 in numbers, by the paper's procedure: of at most 30 pictures a factor, the share "
            "that an oracle reads as ordered (modulo what cannot be seen); the same with an attribute without an "
            "action counted as 0; and the uniqueness of the codes. The paper shows such plates (its Figures 11 to 40) "
            "and gives no figures."),
    Section("08_crowds", "Crowds: walks that nobody walked", r"crowds_", table_crowds,
            "Energy distance between generated walks and held-out real ones, route by route, as a multiple of the "
            "distance between two halves of the real ones; the mean over routes and over several policies. The "
            "paper shows such walks (its Figure 7) and gives no figures."),
    Section("09_scene_composition", "Scenes: more objects than were ever seen together", r"scenes_", table_scenes,
            "Share of asked places with an object of its own within a sixteenth of the picture; pictures with as many "
            "objects as were asked for; pictures with both. Read by a detector whose own scores on rendered scenes "
            "stand below each. Training scenes hold one to three objects. The paper shows such scenes (its Figures 8 "
            "and 9) and gives no figures."),
    Section("10_combinatorial_generalisation", "Combinations that were never taught", r"composition_",
            table_composition,
            "Share of generated images of a class that an oracle for each factor reads as asked, mean over classes and "
            "networks, on a world that we draw after Okawa et al. (2023), four of whose eight classes are taught. "
            "The paper shows such images (its Figure 10) and gives no figures."),
    Section("11_clustered_generator", "Clustering by generating: the clustered generator on real images", r"clustered_",
            table_clustered,
            "Four scores of clusters against classes that no method was told, on the test part; means over runs. "
            "The paper on INC gives no such figures."),
    Section("12_dls_clustering", "Clustering by generating: DLS-Clustering on real data", r"dls_", table_dls,
            "Four scores of clusters against classes that no method was told, on the test part; means over runs. "
            "Purity of one source is never set beside another's accuracy. The paper on INC gives no such figures."),
    Section("13_per_pixel", "A label for each pixel", r"pixels_", table_pixels,
            "Accuracy of pixels on test pictures after one matching of clusters and classes for all of them, and the "
            "IoU of the smallest class, on worlds that we render; means over runs. The paper on INC has no such "
            "figures."),
    Section("17_without_labels", "Partitions found without labels", r"identification_", table_identification,
            "Partitions found to act, against what an oracle reads from acted pictures; false discovery rate 0.05, "
            "64 pairs of pictures a test. The paper proposes both ways and gives no figures."),
    Section("14_your_dataset", "Other data", r"f1_|purity_|nmi_|n_actions_|n_partitions", table_other,
            "Data that the paper does not use. What did not disentangle stands here too."),
)

NOTHING_YET = "Nothing has been measured yet in this copy."
ONLY_SMOKE = "All records are of the smoke profile, which checks that everything runs and measures nothing."
WHAT_TO_DO = "After `make book PROFILE=cpu` the tables appear here by themselves."


def results_markdown(results_folder: str | Path) -> str:
    """The body of the page "The paper against ours", as MyST Markdown with headings of level 2.

    Args:
        results_folder: holds `<profile>/<dataset>/<model>/s<seed>/<chapter>.json`. May be missing or empty.

    Raises:
        InputError: a record in it cannot be read.
    """
    records = read_records(results_folder)
    shown = [record for record in records if record.profile != "smoke"]
    if not shown:
        return f"```{{note}}\n{ONLY_SMOKE if records else NOTHING_YET} {WHAT_TO_DO}\n```"
    parts = []
    for section in SECTIONS:
        if group := columns(shown, section.chapter, has=section.has):
            parts.append(f"## {section.title}\n\n{section.says}")
            parts += [f"{section.table(one)}\n\n{_under(one, section.chapter)}" for one in _by_dataset(group)]
    return "\n\n".join(parts)


def short_markdown(results_folder: str | Path) -> str:
    """The paper's Tables 1 to 3 as the README shows them: the paper's figures beside ours, and what reruns ours.

    Table 1 has a part for each published set, with the model that the paper shows there, and beside its procedure our
    actions on subspaces; 2 and 3 are of 3DShapes. Means and, of several seeds, 95 % intervals.
    """
    shown = [record for record in read_records(results_folder) if record.profile != "smoke"]

    def parts(chapter: str, has: str, world: str, model: str) -> list[Column]:
        known = {world: "published", f"{world}-twin": "procedural twin"}
        return [one for one in columns(shown, chapter, has=has)
                if one.model == model and known.get(one.dataset) == one.source]

    texts = []
    for (world, model), figures in PAPER_TABLE1.items():
        wide = parts("18_three_worlds", r"f1_", world, model)  # has more seeds than chapter 4, where it was run
        chapter = "18_three_worlds" if wide else "04_e1_realism"
        for column in wide or parts(chapter, r"f1_", world, model):
            past = next((c for c in parts("16_subspaces", r"subspaces_ours_f1_", world, model)
                         if c.dataset == column.dataset), None)
            lines = [rerun(column, chapter), *([rerun(past, "16_subspaces")] if past else [])]
            texts.append(f"**Table 1 (E1)**, macro-F1 of generated clusters, {column.origin}\n\n"
                         f"{_table_one(column, figures, past)}\n\n```bash\n" + "\n".join(lines) + "\n```")
    for number, chapter, has, table in ((2, "06_e3_partitioning", r"(purity|nmi)_", table_e3),
                                        (3, "07_e4_sampling", r"e4_", table_e4)):
        for column in parts(chapter, has, "shapes3d", "ada-gvae"):
            texts.append(f"**Table {number} (E{number + 1})**, {column.origin}\n\n{table([column])}\n\n"
                         f"```bash\n{rerun(column, chapter)}\n```")
    return "\n\n".join(texts) or f"{NOTHING_YET} {WHAT_TO_DO}"


def _table_one(column: Column, figures: tuple[tuple[float, ...], tuple[float, ...]], past: Column | None) -> str:
    """Table 1 of one world: what the paper has, generated and its oracle, then what we have by its procedure; and
    past it, where chapter 16 measured the same world and model (`past`)."""
    header = ["factor", f"paper, published {column.dataset.removesuffix('-twin')}", "its oracle", column.title,
              "our oracle"]
    factors = _as_recorded([column])
    rows = _table_one_rows([column], factors, list(figures))
    if past:
        header.append(f"past the paper, on subspaces, {_seeds(len(past.seeds))}{past.unequal}")
        keys = {_name(f): f for f in factors}
        keys |= {f"{_name(f)}, modulo symmetry": f"modulo_symmetry_{f}" for f in factors}
        for row in rows:
            row.append(past.cell(f"subspaces_ours_f1_{keys[row[0]]}", interval=True))
    return markdown_table(header, rows)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; exit status 2 and one sentence where the records cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m inc_lib.tables",
                                     description="Recorded numbers as Markdown tables, beside the paper's.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "results",
                        help="folder of records (default: %(default)s)")
    parser.add_argument("--short", action="store_true", help="only the tables of the README")
    options = parser.parse_args(arguments)
    try:
        print((short_markdown if options.short else results_markdown)(options.folder))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
