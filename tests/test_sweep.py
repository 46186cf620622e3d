"""A sweep is the product of worlds, models and seeds; Snakemake plans it, at home and for clusters."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

from inc_lib import sweep
from inc_lib.errors import InputError
from inc_lib.files import ROOT


def test_a_sweep_is_a_product_and_can_be_cut_down():
    whole = sweep.jobs("gpu", {})
    assert len(whole) == 3 * 3 * 5 and len({job.name for job in whole}) == len(whole)
    assert {job.steps for job in whole} == {300_000} and {job.image_size for job in whole} == {64}
    some = sweep.jobs("cpu", {"worlds": "mpi3d-twin", "models": ["comp-wae"], "seeds": "3, 4"})
    assert [job.name for job in some] == ["mpi3d-twin_32_comp-wae_s3", "mpi3d-twin_32_comp-wae_s4"]
    assert [job.seed for job in sweep.jobs("cpu", {"seeds": 7})] == [7] * 9


@pytest.mark.parametrize(
    "profile, chosen, told",
    [
        ("hpc", {}, "profile 'hpc'"),
        ("cpu", {"worlds": "mpi3d"}, "world 'mpi3d'"),
        ("cpu", {"models": "vae"}, "model 'vae'"),
        ("cpu", {"seeds": "0,one"}, "seed 'one' cannot be used"),
    ],
)
def test_what_a_sweep_does_not_know_is_named(profile, chosen, told):
    with pytest.raises(InputError, match=told):
        sweep.jobs(profile, chosen)


def plan(profile: str, *config: str) -> str:
    """What Snakemake would do, without doing it."""
    found = subprocess.run(
        [sys.executable, "-m", "snakemake", "-s", "workflow/sweep.smk", "--profile", f"workflow/profiles/{profile}"]
        + (["--default-storage-prefix", str(ROOT)] if profile == "kubernetes" else [])  # there the clone is at /project
        + ["--dry-run", "--quiet", "host", "--config", *config],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"INC_CHECKPOINTS": "runs/none"},
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout + found.stderr


def test_every_network_is_trained_measured_and_has_a_judge():
    told = plan("local", "profile=gpu", "seeds=0,1")
    assert told.count("rule train:") == told.count("rule measure:") == 18 and told.count("rule oracle:") == 3
    assert told.count("gpu=1") == 39  # every job asks for one card


@pytest.mark.parametrize("profile", ["slurm", "kubernetes"])
def test_clusters_can_plan_the_sweep_and_the_book(profile):
    if importlib.util.find_spec(f"snakemake_executor_plugin_{profile}") is None:
        pytest.skip(f"the executor for {profile} is not installed: pip install -e .[cluster]")
    told = plan(profile, "profile=gpu", "seeds=0", "worlds=mpi3d-twin", "models=comp-wae")
    assert told.count("rule train:") == 1 and "gpu=1" in told
