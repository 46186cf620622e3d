# E0 to E4 of every world, model and seed: train what is not trained, measure what is not measured.
#
#   snakemake -s workflow/sweep.smk --profile workflow/profiles/local --config profile=cpu
#   snakemake -s workflow/sweep.smk --profile workflow/profiles/slurm --config profile=gpu seeds=0,1,2
#
# What is gone through stands in sweep.yaml. A training goes on where a kill stopped it, and is not begun anew when the
# code changes: hours are not thrown away for a comment. (To train again, delete the checkpoint, or --forcerun train.)
# A measurement is made again when its code, its parameters or its checkpoint changed.

import os
import sys
from inc_lib import sweep
from inc_lib.errors import InputError

PROFILE = config.get("profile", "cpu")
try:
    JOBS = {job.name: job for job in sweep.jobs(PROFILE, config)}
    sweep.write_keys(PROFILE, JOBS.values())
except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    raise

FOLDER = f"runs/sweep/{PROFILE}"
TRAINING = f"{os.environ.get('INC_RUNS', 'runs')}/sweep/{PROFILE}/training"  # where a killed training is found again
# What a smoke test trains is not to be released.
CHECKPOINTS = f"{FOLDER}/checkpoints" if PROFILE == "smoke" else os.environ.get("INC_CHECKPOINTS", "checkpoints")
CARD = f"{sys.executable} -m inc_lib.gpu" if PROFILE == "gpu" else ""  # a card for each job, see there
CARDS = 1 if PROFILE == "gpu" else 0
SIZE = next(iter(JOBS.values())).image_size


wildcard_constraints:
    job="|".join(JOBS) or "none",
    world="[a-z0-9-]+",


rule all:
    input:
        expand("runs/own/{job}_" + PROFILE + ".ipynb", job=JOBS),


rule oracle:
    output:
        CHECKPOINTS + "/{world}_" + str(SIZE) + "_oracle.safetensors",
        CHECKPOINTS + "/{world}_" + str(SIZE) + "_oracle.json",
    log:
        f"{FOLDER}/logs/{{world}}_oracle.txt",
    params:
        steps=sweep.oracle_steps(PROFILE),
    threads: 1  # one core a job goes furthest where there are several jobs; on a cluster the profile says
    resources:
        gpu=CARDS,
    shell:
        "INC_CHECKPOINTS=$(dirname {output[0]:q}) {CARD} {sys.executable:q} -m inc_lib.oracle train --world {wildcards.world}"
        " --image-size {SIZE} --steps {params.steps} --threads {threads} --release > {log:q} 2>&1"


rule train:
    output:
        CHECKPOINTS + "/{job}.safetensors",
        CHECKPOINTS + "/{job}.json",
    log:
        f"{FOLDER}/logs/{{job}}_train.txt",
    params:
        job=lambda wildcards: JOBS[wildcards.job],
    threads: 1
    resources:
        gpu=CARDS,
    shell:
        "INC_CHECKPOINTS=$(dirname {output[0]:q}) {CARD} {sys.executable:q} -m inc_lib.training --world {params.job.world}"
        " --model {params.job.model} --seed {params.job.seed} --image-size {SIZE} --steps {params.job.steps}"
        " --threads {threads} --folder {TRAINING}/{wildcards.job} --release > {log:q} 2>&1"


rule measure:
    input:
        f"{FOLDER}/keys/{{job}}.key",
        multiext(CHECKPOINTS + "/{job}", ".safetensors", ".json"),
        lambda wildcards: multiext(f"{CHECKPOINTS}/{JOBS[wildcards.job].world}_{SIZE}_oracle", ".safetensors", ".json"),
    output:
        "runs/own/{job}_" + PROFILE + ".ipynb",
    log:
        f"{FOLDER}/logs/{{job}}.ipynb",
    params:
        job=lambda wildcards: JOBS[wildcards.job],
    threads: 1
    resources:
        gpu=CARDS,
    shell:
        "INC_CHECKPOINTS=$(dirname {input[1]:q}) OMP_NUM_THREADS={threads} {CARD} {sys.executable:q} -m inc_lib.run notebooks/{sweep.CHAPTER}.ipynb"
        " --profile {PROFILE} -p dataset {params.job.world} -p model {params.job.model} -p seed {params.job.seed}"
        " -p image_size {SIZE} --output {output:q} --log {log:q}"
