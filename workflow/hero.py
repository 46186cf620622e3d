"""The picture at the head of the README: what atomic actions make of nine pictures they have never seen.

    python workflow/hero.py        writes book/_static/hero.png from the released checkpoint
"""

from __future__ import annotations

import torch

from inc_lib import actions, models, plots, worlds
from inc_lib.files import ROOT, atomic_write
from inc_lib.training import release_path

SAMPLES, ENCODED = 9, 50_000
ROWS = {"floor hue": 2, "wall hue": 2, "object hue": 2, "scale": 2, "shape": 4, "orientation": 2}  # of each factor


def main() -> None:
    world = worlds.load("shapes3d-twin", image_size=32)
    model = models.load(release_path(world.name, 32, "ada-gvae", 0))
    generator = torch.Generator().manual_seed(4)
    codes, states = [], world.states(ENCODED, generator)
    for part in states.split(1024):
        codes.append(model.encode(world.render(part)))
    codes = torch.cat(codes)
    partitioning = actions.find_partitions(codes)
    found = actions.find_actions(states, codes, partitioning, world.factors)
    before = world.sample(SAMPLES, generator)[0]
    rows, names = [], []
    for index, factor in enumerate(world.factors):
        owned = found.of(index)
        count = min(ROWS.get(factor.name, 0), len(owned))
        for k in range(count):
            action = owned[round(k * (len(owned) - 1) / max(count - 1, 1))]
            rows.append(model.decode(action.act(model.encode(before), generator)))
            names.append(f"{factor.name}: {plots.attribute_names(factor)[action.attribute]}")
    figure = plots.before_after(before, torch.stack(rows), names)
    with atomic_write(ROOT / "book" / "_static" / "hero.png") as path:
        figure.savefig(path, dpi=130, facecolor="white")
    print(f"wrote book/_static/hero.png: {', '.join(names)}")


if __name__ == "__main__":
    main()
