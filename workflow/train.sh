#!/bin/sh
# Train the released models again, exactly as checkpoints/README.md tells: six and a half hours on one shared core. Every
# line is resumable: start this again after a kill. With a GPU, add --device cuda (same settings, other bits).
set -eu
python=${PYTHON:-.venv/bin/python}
runs=runs/models
train() { "$python" -m inc_lib.training --image-size 32 --seed 0 --threads 1 "$@"; }

"$python" -m inc_lib.oracle train --world shapes3d-twin --image-size 32 --steps 2000 --seed 0 --threads 1 --release

train --steps 92000 --decay 0.27 --release
train --steps 60000 --decay 0.27 --seed 3 --release

# The network with a circle, of chapter 7.
train --steps 37491 --pairs half-one --beta 1 --decay 0 --folder $runs/phase1
train --steps 44167 --pairs half-one --beta 4 --decay 0 --start-from $runs/phase1 --folder $runs/phase2
train --steps 70818 --pairs 1 --beta 4 --decay 0 --start-from $runs/phase2 --folder $runs/phase3
train --steps 75677 --pairs 1 --beta 1 --decay 0 --start-from $runs/phase3 --folder $runs/phase4
train --steps 84000 --pairs 1 --beta 1 --decay 0.1 --start-from $runs/phase4 --folder $runs/phase5 --release ada-gvae-threshold

train --model beta-tcvae --steps 25000 --decay 0.2 --release

# The composition task, on two worlds: 50 and 29 minutes.
train --model comp-wae --steps 20000 --decay 0.2 --release
train --world mpi3d-twin --model comp-wae --steps 12000 --decay 0.2 --release

# Real pedestrians, where INC_DATA holds them: six policies for chapter 8, some four minutes each.
for seed in 0 1 2; do
    for holes in "" --holes; do
        OMP_NUM_THREADS=1 "$python" -m inc_lib.cloning --dataset grand-central --steps 12000 --seed $seed $holes --release
    done
done

# Scenes of objects, for chapter 9: half an hour for the generator, eight minutes for the detector.
OMP_NUM_THREADS=1 "$python" -m inc_lib.composing --steps 10000 --seed 0 --release
OMP_NUM_THREADS=1 "$python" -m inc_lib.detector train --steps 2500 --release

# Embeddings taught without labels, for chapter 17: two to four minutes each; MNIST's where INC_DATA holds it.
for world in shapes3d-twin mnist; do
    OMP_NUM_THREADS=1 "$python" -m inc_lib.embedding --world $world --threads 1 --release
done

# Real images, where INC_DATA holds them.
for world in mnist fashion-mnist; do
    train --world $world --model beta-tcvae --beta 4 --steps 3000 --decay 0.2 --release
done

# Handwritten digits and clothes, for chapter 11, where INC_DATA holds them: some five minutes each; small digits, half a minute.
for dataset in mnist fashion-mnist; do
    for seed in 0 1 2; do
        OMP_NUM_THREADS=1 "$python" -m inc_lib.alternation --dataset $dataset --observations 6000 --modes 3 --shades 4 --long --seed $seed --release
    done
done
OMP_NUM_THREADS=1 "$python" -m inc_lib.alternation --dataset digits --seed 0 --release

# Pen strokes, for chapter 12: five models side by side, some six minutes.
OMP_NUM_THREADS=1 "$python" -m inc_lib.adversarial --dataset pendigits --steps 4000 --members 5 --release

# Four of eight classes, for chapter 10: two oracles and three generators, some five minutes each.
for values in "" -3; do
    steps=$([ -z "$values" ] && echo 400 || echo 500)
    OMP_NUM_THREADS=1 "$python" -m inc_lib.oracle train --world simple-shapes$values --image-size 28 --steps $steps --per-factor --release
done
for seed in 0 1 2; do
    OMP_NUM_THREADS=1 "$python" -m inc_lib.composition --world simple-shapes --steps 3000 --seed $seed --release
done
