"""The files around the code: what is pinned, installed and called."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ASKED = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"],
         *sum((lines for extra, lines in PROJECT["project"]["optional-dependencies"].items()
               if extra != "pretrained"), [])]  # that one needs torchvision, which is kept out of the lock


def pins(name: str) -> dict[str, str]:
    lines = [line for line in (ROOT / name).read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in lines)  # no address, path, tag
    return dict(line.split("==") for line in lines)


@pytest.mark.parametrize("line", [line for line in ASKED if not line.startswith("inc-lib")])
def test_what_is_asked_for_is_pinned_within_its_range(line):
    wanted = Requirement(line)
    of_a_cluster = line in PROJECT["project"]["optional-dependencies"]["cluster"]
    lock = "requirements-cluster.lock" if of_a_cluster else "requirements.lock"
    version = pins(lock)[canonicalize_name(wanted.name)]
    assert wanted.specifier.contains(version), f"{line} is pinned to {version}: write the locks anew"


def test_the_books_lock_is_a_part_of_the_lock_without_torch():
    book, everything = pins("requirements-book.lock"), pins("requirements.lock")
    assert book.items() <= everything.items() <= pins("requirements-cluster.lock").items()
    assert not {"torch", "numpy", "papermill", "snakemake"} & set(book) and "torchvision" not in everything


def test_conda_users_get_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["dependencies"][-1] == {"pip": ["-r requirements.lock"]}


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
@pytest.mark.parametrize("target", ["book", "test", "lint", "html", "release", "train", "bench", "lock"])
def test_every_target_is_known_to_make(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_continuous_integration_calls_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK) and "exec make test" in script.read_text()


@pytest.mark.parametrize("name", ["ci", "pages", "gpu"])
def test_workflows_are_read_and_limited(name):
    """Beyond syntax: each has a time limit and no more rights than it needs."""
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    assert workflow["permissions"]["contents"] == "read"
    assert all("timeout-minutes" in job or "needs" in job for job in workflow["jobs"].values())


def planned(**settings: str) -> subprocess.CompletedProcess:
    surroundings = {name: value for name, value in os.environ.items() if name not in ("ONLY", "JOBS", "DEVICE")}
    return subprocess.run(["sh", "workflow/train.sh"], cwd=ROOT, capture_output=True, text=True, check=False,
                          env=surroundings | {"PRINT": "1", "PYTHON": "python"} | settings)


def test_the_script_of_all_trainings_asks_for_what_there_is():
    lines = planned(DEVICE="cuda").stdout.splitlines()
    commands = [command for line in lines for command in line.split(" && ")]
    assert len(lines) > 30 and not [line for line in lines if "%" in line]
    for command in commands:
        module = re.fullmatch(r"python -m (inc_lib\.\w+) .+", command)[1]
        source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
        unknown = [option for option in re.findall(r"(--[a-z-]+)", command) if f'"{option}"' not in source]
        assert not unknown, f"{module} does not take {unknown}"
    on_card = [command for command in commands if "--device cuda" in command]
    assert len(on_card) == len(commands) - len([command for command in commands if "alternation" in command])


def test_some_of_all_trainings_can_be_chosen():
    assert all("dsprites-twin" in line for line in planned(ONLY="dsprites-twin").stdout.splitlines())
    nothing = planned(ONLY="no such thing")
    assert nothing.returncode == 2 and nothing.stderr.startswith("error: no training has no such thing")


def test_trainings_run_side_by_side_and_one_that_fails_is_told(tmp_path):
    pretend = tmp_path / "python"
    pretend.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/ran\ncase "$*" in *beta-tcvae*) exit 3 ;; esac\n')
    pretend.chmod(0o755)
    done = planned(PRINT="", PYTHON=str(pretend), ONLY="mnist", JOBS="3")
    ran = (tmp_path / "ran").read_text().splitlines()
    assert len(ran) == len(planned(ONLY="mnist").stdout.splitlines()) and done.returncode != 0
