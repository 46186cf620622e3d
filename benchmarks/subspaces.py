"""The paper's procedure beside actions on subspaces, each of its steps left out in turn, on every released network.

    python benchmarks/subspaces.py                     # all networks, 3 repeats
    python benchmarks/subspaces.py --only ada-gvae_s3  # one network; the others stay as the file has them

On a core shared with other work a repeat took 4 to 10 minutes where factors share codes, 1 to 2 otherwise. Writes
results/benchmarks/subspaces.json after each repeat. A repeat draws its own observations, its own codes to
act on and its own images; the network is the same, so that the spread over repeats is that of the procedure, not
that of training. The oracle reads the images.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from inc_lib import actions, chapter, contexts, reading_back, scoring, subspaces, suite
from inc_lib.files import ROOT, atomic_write, commit

NETWORKS = {  # world, kind, seed
    "ada-gvae_s0": ("shapes3d-twin", "ada-gvae", 0), "ada-gvae_s3": ("shapes3d-twin", "ada-gvae", 3),
    "ada-gvae-threshold_s0": ("shapes3d-twin", "ada-gvae-threshold", 0),
    "beta-tcvae_s0": ("shapes3d-twin", "beta-tcvae", 0), "comp-wae_s0": ("shapes3d-twin", "comp-wae", 0),
    "mpi3d-comp-wae_s0": ("mpi3d-twin", "comp-wae", 0), "mpi3d-comp-wae_s1": ("mpi3d-twin", "comp-wae", 1),
    "dsprites-comp-wae_s0": ("dsprites-twin", "comp-wae", 0)}
FOOTPRINT = 400  # codes acted on to see what stays
CORRECTED = 6000  # codes that actions draw from
METHODS = ("angle", "hdbscan", "mean shift", "mixture")  # compared on shapes3d-twin alone: they take long
PATH = ROOT / "results" / "benchmarks" / "subspaces.json"


def variants(network, states, codes, pictures, world, methods):
    """name -> a function that finds the actions. The first is the paper's procedure, the second ours."""
    factors = world.factors
    owned = subspaces.find_dimensions(states, codes, factors)
    groups = [own for _, own in subspaces.subspaces(owned)]
    by_place, by_picture = (reading_back.drawn_where_read(network, codes[:CORRECTED], groups, neighbours=k)
                            for k in (100, 1))
    faults = reading_back.faults(network, codes[:CORRECTED], pictures, groups)
    ours = {"dimensions": owned, "draws": by_place, "faults": faults}

    def find(**options):
        return lambda: subspaces.find_subspace_actions(states, codes, factors, **{**ours, **options})

    cuts = actions.find_partitions(codes)
    found = {"paper": lambda: actions.find_actions(states, codes, cuts, factors), "subspaces": find(),
             "cut alone": find(resolution=None), "quantiles alone": find(method="whole"),
             "uncorrected": find(draws=codes[:CORRECTED]), "corrected by picture": find(draws=by_picture),
             "not the surest": find(sure=1), "all rows": find(sure=1, typical=1)}
    found["watched"] = lambda: watched(network, find()(), find(draws=codes[:CORRECTED])())
    if bool(faults.any()):
        found["not the most faithful"] = find(faults=None)
    if any(set(one.dimensions) != set(other.dimensions)
           for one, other in zip(found["subspaces"]().actions, find(copies=False)().actions, strict=True)):
        found["no copies"] = find(copies=False)
    if any(contexts.context_of(world, i) is not None for i in range(len(factors))):
        def in_context(**options):
            return lambda: contexts.in_context(world, states, codes, find()(), **options)

        found |= {"in context": in_context(), "in context, corrected": in_context(draws=by_place),
                  "in context, not the surest": in_context(sure=1),
                  "in context, all rows": in_context(sure=1, typical=1)}
    if all(len(own) < 2 for own in groups):
        return found  # each factor has a code to itself: the rest changes nothing
    found |= {"paper, these dimensions": lambda: actions.find_actions(states, codes, cuts, factors, dimensions=owned),
              "one code": find(dimensions=[own[:1] for own in owned]), "any row": find(keep=False)}
    for method in methods:
        found |= {method: find(method=method), f"{method} alone": find(method=method, resolution=None)}
    return found


class Watched:
    """An action that looks at what it did: the code is moved by what its picture, read again, lacks of the middle of
    the attribute's codes."""

    def __init__(self, network, action, encoded):
        self.network, self.action, self.middle = network, action, encoded.rows.median(dim=0).values
        self.factor, self.attribute, self.dimensions = action.factor, action.attribute, action.dimensions
        self.present = action.present

    def act(self, codes, generator=None):
        acted, own = self.action.act(codes, generator), list(self.dimensions)
        acted[:, own] += self.middle - reading_back.read_back(self.network, acted)[:, own]
        return acted


def watched(network, found, encoded):
    """The actions of an action set, each of which corrects itself; `encoded` draws codes as they were encoded."""
    own = {(action.factor, action.attribute): action for action in encoded.actions}
    return dataclasses.replace(found, actions=tuple(
        Watched(network, action, own[action.factor, action.attribute]) if not action.companions else action
        for action in found.actions))


def modulo_symmetry(c, network, found, states, codes, n):
    """macro-F1 of the factors of which some attributes look alike, these being no mistakes: name -> F1."""
    columns = suite.varying(c.world)
    x = suite.Examined(network, tuple(c.world.factors[i] for i in columns), columns, states, codes, found.partitioning,
                       found)
    forgiving = [i for i in columns if not c.world.tells_apart(i)]
    return {c.world.factors[i].name: suite.confusion(c, x, i, max(n * c.world.sizes[i] // 10, n))[1].macro_f1
            for i in forgiving}


def measure(network, found, judge, codes, n, seed):
    """macro-F1 of each factor, attributes without an action as 0, and the mean share of other factors kept."""
    m = len(found.factors)
    scores = [scoring.score_clusters(network, found, judge, n, factor=i, codes=codes,
                                     generator=torch.Generator().manual_seed(1000 * seed + i)) for i in range(m)]
    print_of = scoring.footprint(network, found, judge, codes[:FOOTPRINT],
                                 generator=torch.Generator().manual_seed(seed))
    worst = [float(np.nanmin(row)) if np.isfinite(row).any() else None for row in print_of.kept]
    mean = [float(np.nanmean(row)) if np.isfinite(row).any() else None for row in print_of.kept]
    return {"macro_f1": [s.macro_f1 for s in scores], "with_action": [scoring.with_action(s) for s in scores],
            "owned": [len(found.of(i)) for i in range(m)], "kept": mean, "kept_least": worst}


def run(name, world, kind, seed, repeats, n_observations, n):
    """All variants on one network: what is known after each repeat."""
    c = chapter.start(chapter="subspaces", profile="cpu", dataset=world, image_size=32, seed=seed,
                      n_observations=n_observations)
    network = c.release(kind)
    if network is None:
        print(f"{name}: no checkpoint, left out", file=sys.stderr)
        return
    factors, collected, methods = c.world.factors, {}, METHODS if world == "shapes3d-twin" else ()
    pictures, truth = c.world.sample(3000, c.generator_for("ceiling"))
    rebuilt = scoring.score_observations(c.oracle, network.decode(network.encode(pictures)), truth)
    columns = suite.varying(c.world)
    ceiling = suite.ceilings(c, suite.Examined(network, tuple(factors[i] for i in columns), columns, truth, None, None,
                                               None), 5000)
    for repeat in range(repeats):
        began = time.monotonic()
        seen, states, codes = c.encode_sample(keep=CORRECTED, model=network, name=f"benchmark {repeat}")
        for label, find in variants(network, states, codes, seen, c.world, methods).items():
            started = time.monotonic()
            found = find()
            seconds = time.monotonic() - started
            result = measure(network, found, c.oracle, codes, n, repeat)
            if forgiving := modulo_symmetry(c, network, found, states, codes, n):
                result["modulo_symmetry"] = forgiving
            result["seconds_to_find"] = round(seconds, 1)
            result["cells"] = {", ".join(map(str, a.reader.dimensions)): a.reader.partition.size
                               for a in found.actions if isinstance(getattr(a, "reader", None), subspaces.Reader)}
            collected.setdefault(label, []).append(result)
            print(name, repeat, label, [round(f, 3) for f in result["macro_f1"]],
                  [None if k is None else round(k, 2) for k in result["kept"]], file=sys.stderr, flush=True)
        print(f"{name}: repeat {repeat} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        owned = subspaces.find_dimensions(states, codes, factors)
        back = reading_back.read_back(network, codes[:4000])
        alone = {i: own[0] for living, own in subspaces.subspaces(owned) if len(living) == len(own) == 1
                 for i in living}
        yield {"world": world, "model": kind, "seed": seed, "steps": network.provenance["steps"],
               "factors": [f.name for f in factors], "attributes": [f.size for f in factors],
               "n_observations": n_observations, "n_per_attribute": n,
               "n_footprint": FOOTPRINT, "repeats": repeat + 1, "reconstructed": [s.macro_f1 for s in rebuilt],
               "oracle": {name: {way: None if np.isnan(value) else value for way, value in row.items()}
                          for name, row in ceiling.to_dict("index").items()},
               "dimensions": [list(own) for own in owned],
               "natural": {factors[i].name: reading_back.natural_resolution(codes, back, d)
                           for i, d in alone.items()},
               "variants": collected}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS, nargs="+", default=list(NETWORKS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--n-observations", type=int, default=50_000)
    parser.add_argument("--n", type=int, default=100, help="images of each attribute")
    given = parser.parse_args()
    for name in given.only:
        for result in run(name, *NETWORKS[name], given.repeats, given.n_observations, given.n):
            done = json.loads(PATH.read_text()) if PATH.is_file() else {"networks": {}}
            done["networks"][name] = result
            done["commit"] = commit(Path(ROOT))
            with atomic_write(PATH) as temporary:
                temporary.write_text(json.dumps(done, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
