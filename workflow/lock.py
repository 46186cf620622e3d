"""Write requirements.lock, -book.lock and -cluster.lock: exact pins of what pyproject.toml asks for.

Install by the ranges first (`pip install -e .[test]`), see the tests pass, then `python workflow/lock.py`.
What is installed but not asked for is left out. Local version tags (`+cpu`) are dropped: the plain version is
the one that every registry has; torch pins its own CUDA libraries exactly, so they need no lines here.
"""
from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKED = ("run", "book", "test")  # what everybody installs; other extras are for those who ask for them


def closure(requirements: Iterable[str]) -> dict[str, str]:
    """Names and versions of all that is installed for these requirements, theirs included."""
    found: dict[tuple[str, str], str] = {}  # (name, extra) -> version
    queue = [Requirement(line) for line in requirements]
    while queue:
        wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) in found or name == "inc-lib":
                continue
            found[name, extra] = metadata.version(name).split("+")[0]
            queue += [need for line in metadata.requires(name) or []
                      if (need := Requirement(line)).marker is None or need.marker.evaluate({"extra": extra})]
    return {name: version for (name, _), version in sorted(found.items())}


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    build = [*project["build-system"]["requires"], "pip"]
    everything = [*project["project"]["dependencies"], *sum((extras[name] for name in LOCKED), []), *build]
    wanted_by = {"requirements.lock": everything, "requirements-book.lock": [*extras["book"], *build]}
    try:
        closure(extras["cluster"])
        wanted_by["requirements-cluster.lock"] = [*everything, *extras["cluster"]]
    except metadata.PackageNotFoundError as error:
        print(f"requirements-cluster.lock stays as it is: {error.name} is not installed")
    for name, wanted in wanted_by.items():
        pins = {package: version for package, version in closure(wanted).items() if package != "pip"}
        python = ".".join(map(str, sys.version_info[:2]))
        header = [f"# Exact pins, written by workflow/lock.py under Python {python}.",
                  f"# Install: pip install -r {name}, then pip install --no-deps --no-build-isolation -e ."]
        lines = [f"{package}=={version}" for package, version in pins.items()]
        (ROOT / name).write_text("\n".join([*header, *lines]) + "\n")
        print(f"{name}: {len(pins)} packages")


if __name__ == "__main__":
    main()
