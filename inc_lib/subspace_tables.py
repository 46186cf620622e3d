"""What `benchmarks/subspaces.py` has recorded, as tables."""
from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .errors import InputError, suggest
from .files import ROOT

WAYS = {"paper": "the paper's procedure", "paper, these dimensions": "the same, on our codes",
        "subspaces": "all steps", "one code": "one code a factor", "cut alone": "no equal-mass division",
        "quantiles alone": "no valleys, equal mass only", "any row": "no conditional draw",
        "uncorrected": "not corrected", "corrected by picture": "corrected picture by picture",
        "watched": "each picture read again and corrected", "not the surest": "the typical half, sure or not",
        "all rows": "all rows",
        "not the most faithful": "faithful or not", "no copies": "copies left as they are",
        "in context": "angle and shape together (below)", "in context, corrected": "the same, corrected",
        "in context, not the surest": "the same, the typical half, sure or not",
        "in context, all rows": "the same, all rows"}
CUTS = {"subspaces": "peaks of the joint density", "angle": "density along the angle", "hdbscan": "HDBSCAN",
        "mean shift": "mean shift", "mixture": "Gaussian mixture by BIC", "quantiles alone": "no cut"}
MODULO = ", modulo symmetry"  # told of a factor whose mistakes cannot be seen
ANGLE = "orientation" + MODULO
SPOKEN = {  # numbers that the text of chapter 16 speaks of: network -> name in the text -> variant, column
    "ada-gvae-threshold_s0": {
        "told_star_scale": ("subspaces", "scale"), "told_star_scale_one": ("one code", "scale"),
        "told_star_scale_theirs": ("paper, these dimensions", "scale")},
    "beta-tcvae_s0": {
        "told_grid_hue": ("subspaces", "wall hue"), "told_grid_hue_one": ("one code", "wall hue"),
        "told_grid_kept": ("subspaces", "kept"), "told_grid_lost": ("any row", "kept"),
        "told_grid_hue_lost": ("any row", "wall hue")},
    "ada-gvae_s0": {
        "told_s0_angle": ("subspaces", "orientation"), "told_s0_angle_raw": ("uncorrected", "orientation"),
        "told_s0_paper": ("paper", "orientation")},
    "ada-gvae_s3": {
        "told_s3_paper": ("paper", "orientation"), "told_s3_angle": ("subspaces", "orientation"),
        "told_s3_cut": ("cut alone", "orientation"), "told_s3_scale": ("subspaces", "scale"),
        "told_s3_scale_raw": ("uncorrected", "scale"), "told_s3_scale_picture": ("corrected by picture", "scale")},
    "mpi3d-comp-wae_s0": {
        "told_mpi_paper": ("paper", "horizontal axis"), "told_mpi_ours": ("subspaces", "horizontal axis"),
        "told_mpi_cut": ("cut alone", "horizontal axis"), "told_mpi_shape_paper": ("paper", "object shape"),
        "told_mpi_shape": ("subspaces", "object shape"),
        "told_mpi_size_unfaithful": ("not the most faithful", "object size"),
        "told_mpi_size_paper": ("paper", "object size"), "told_mpi_size": ("subspaces", "object size"),
        "told_mpi_up_paper": ("paper", "vertical axis"), "told_mpi_up": ("subspaces", "vertical axis"),
        "told_mpi_up_watched": ("watched", "vertical axis")},
    "mpi3d-comp-wae_s1": {
        "told_second_paper": ("paper", "object shape"), "told_second": ("subspaces", "object shape"),
        "told_second_lone": ("no copies", "object shape"), "told_second_size": ("subspaces", "object size"),
        "told_second_across": ("subspaces", "horizontal axis"), "told_second_up": ("subspaces", "vertical axis"),
        "told_second_up_watched": ("watched", "vertical axis")},
    "dsprites-comp-wae_s0": {
        "sprites_x_paper": ("paper", "position x"), "sprites_x": ("subspaces", "position x"),
        "sprites_shape_paper": ("paper", "shape"), "sprites_shape_alone": ("subspaces", "shape"),
        "sprites_shape": ("in context", "shape"), "sprites_angle_paper": ("paper", ANGLE),
        "sprites_angle_alone": ("subspaces", ANGLE), "sprites_angle": ("in context", ANGLE),
        "sprites_angle_corrected": ("in context, corrected", ANGLE),
        "sprites_angle_all": ("in context, all rows", ANGLE),
        "sprites_angle_typical": ("in context, not the surest", ANGLE),
        "sprites_angle_strict": ("in context", "orientation"), "sprites_kept": ("in context", "kept")}}
RECORDED = ROOT / "results" / "benchmarks" / "subspaces.json"


def recorded(path: str | Path | None = None) -> list[str]:
    """The networks that were measured; [] where nothing was."""
    path = Path(path or RECORDED)
    return list(json.loads(path.read_text())["networks"]) if path.is_file() else []


def ablation(network: str, path: str | Path | None = None) -> tuple[pd.DataFrame, dict]:
    """Each variant that `benchmarks/subspaces.py` measured on a network: mean and spread over its repeats.

    Args:
        network: e.g. "ada-gvae_s0".
        path: of the record (default: ours).

    Returns:
        A table (variants; columns: factors that vary, some of them once more modulo symmetry, "kept" and "repeats"),
        macro-F1 as "0.98 ± 0.01", "kept" the share of pictures in which another factor reads as before, averaged over
        the factors acted on; and the record.
    """
    path = Path(path or RECORDED)
    if not path.is_file():
        raise InputError(f"{path} does not exist: make it with python benchmarks/subspaces.py.")
    networks = json.loads(path.read_text())["networks"]
    if network not in networks:
        raise suggest("network", network, networks)
    record, rows = networks[network], {}
    varying = [size > 1 for size in record.get("attributes", [2] * len(record["factors"]))]
    names = [name for name, varies in zip(record["factors"], varying, strict=True) if varies]
    forgiving = list(record["variants"]["paper"][0].get("modulo_symmetry", {}))
    for name, repeats in record["variants"].items():
        scores = np.array([repeat["macro_f1"] for repeat in repeats])
        kept = [np.mean([share for share in repeat["kept"] if share is not None] or [math.nan]) for repeat in repeats]
        lenient = [_spread([repeat["modulo_symmetry"][factor] for repeat in repeats]) for factor in forgiving]
        rows[name] = [_spread(column) for column in scores.T[varying]] + [*lenient, _spread(kept), len(repeats)]
    return pd.DataFrame(rows, index=[*names, *(f + MODULO for f in forgiving), "kept", "repeats"]).T, record


def cell(network: str, variant: str, column: str, path: str | Path | None = None) -> str:
    """One number of `ablation`, for the text: "0.98 ± 0.01"; a dash where it was not measured."""
    if network not in recorded(path):
        return "–"
    table, _ = ablation(network, path)
    return str(table.loc[variant, column]) if variant in table.index and column in table.columns else "–"


def rebuilt(network: str, factor: str, path: str | Path | None = None) -> str:
    """macro-F1 of a factor read from reconstructions, without any action; a dash where it was not measured."""
    if network not in recorded(path):
        return "–"
    record = ablation(network, path)[1]
    return f"{record['reconstructed'][record['factors'].index(factor)]:.2f}" if factor in record["factors"] else "–"


def ceiling(network: str, factor: str, path: str | Path | None = None) -> str:
    """macro-F1 of the oracle on real pictures, modulo symmetry where that differs; a dash where it was not measured."""
    held = ablation(network, path)[1].get("oracle", {}) if network in recorded(path) else {}
    scores = [score for score in held.get(factor, {}).values() if score is not None]
    return f"{scores[-1]:.2f}" if scores else "–"


def natural(network: str, factor: str, path: str | Path | None = None) -> str:
    """Number of parts that a factor's own code falls into without labels; a dash where it was not measured."""
    if network not in recorded(path):
        return "–"
    return str(ablation(network, path)[1].get("natural", {}).get(factor, "–"))


def about(network: str, key: str, path: str | Path | None = None) -> str:
    """What the record says of a network, e.g. of "repeats" or "steps" (of its training); a dash where it does not."""
    held = ablation(network, path)[1] if network in recorded(path) else {}
    return f"{held[key]:,}" if key in held else "–"


def told(path: str | Path | None = None) -> dict[str, str]:
    """Every number that the text of chapter 16 speaks of, by its name there; a dash for each that was not measured."""
    sprites, robot, grid = "dsprites-comp-wae_s0", "mpi3d-comp-wae_s0", "beta-tcvae_s0"
    numbers = {name: cell(network, *at, path) for network, names in SPOKEN.items() for name, at in names.items()}
    for short, network in (("mpi", robot), ("sprites", sprites)):
        numbers |= {f"{short}_{key}": about(network, key, path) for key in ("steps", "repeats")}
    numbers |= {f"rebuilt_{factor.replace(' ', '_')}": rebuilt(robot, factor, path)
                for factor in ("object shape", "object size", "horizontal axis", "vertical axis")}
    numbers |= {f"rebuilt_grid_{factor}": rebuilt(grid, factor, path) for factor in ("scale", "shape", "orientation")}
    return numbers | {"natural_mpi": natural(robot, "horizontal axis", path),
                      "mpi_up_ceiling": ceiling(robot, "vertical axis", path),
                      "sprites_rebuilt": rebuilt(sprites, "orientation", path),
                      "sprites_ceiling": ceiling(sprites, "orientation", path)}


def steps(table: pd.DataFrame) -> pd.DataFrame:
    """Of `ablation`, the rows that leave out one step each, in words."""
    return table.loc[[way for way in WAYS if way in table.index]].rename(WAYS)


def cuts(record: dict) -> pd.DataFrame:
    """Of a network's record, each way of cutting a subspace: alone, and followed by parts of equal mass.

    Returns:
        Rows (way, "alone" or "then equal masses"); columns: macro-F1 of each factor that has several codes, or shares
        its own, and the number of cells of each subspace, in the first repeat.
    """
    used = [code for own in record["dimensions"] for code in own]
    mixed = [i for i, own in enumerate(record["dimensions"]) if len(own) > 1 or any(used.count(d) > 1 for d in own)]
    rows = {}
    for way, told in CUTS.items():
        for after, name in (("alone", "cut alone" if way == "subspaces" else f"{way} alone"),
                            ("then equal masses", way)):
            if name in record["variants"]:
                scores = np.array([repeat["macro_f1"] for repeat in record["variants"][name]])
                cells = record["variants"][name][0]["cells"]
                rows[told, after] = [_spread(scores[:, i]) for i in mixed] + [
                    "; ".join(f"{n} on {at}" for at, n in cells.items() if "," in at)]
    return pd.DataFrame(rows, index=[*(record["factors"][i] for i in mixed), "cells"]).T


def _spread(values: ArrayLike) -> str:
    """Mean, and standard deviation where there are several."""
    values = np.asarray(values, dtype=np.float64)
    told = f"{values.mean():.2f}"
    return told if len(values) < 2 else f"{told} ± {values.std(ddof=1):.2f}"
