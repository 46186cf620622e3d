#!/bin/sh
# Train the released models again, exactly as checkpoints/README.md tells: seventeen hours on one shared core. Every training
# is resumable: start this again after a kill.
#
#   sh workflow/train.sh                          # one after the other, on whatever is there
#   JOBS=6 DEVICE=cuda sh workflow/train.sh       # six side by side on one card (same settings, other bits)
#   ONLY=dsprites-twin sh workflow/train.sh       # those whose command has this word
#   PRINT=1 sh workflow/train.sh                  # what would be run, a line each
#
# What reads real files (INC_DATA) ends in a sentence where they are not at hand, and the others go on.
set -eu
python=${PYTHON:-.venv/bin/python}
runs=runs/models
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

# A line is one job; && joins what has to come one after the other. %D stands for the device.
commands() {
    train="$python -m inc_lib.training --image-size 32 --threads 1 --device %D"

    # 3DShapes' twin: its judge, Ada-GVAE twice, the network with a circle (chapter 7), beta-TCVAE, Comp-WAE.
    echo "$python -m inc_lib.oracle train --world shapes3d-twin --image-size 32 --steps 2000 --seed 0 --threads 1 --device %D --release"
    echo "$train --steps 92000 --decay 0.27 --seed 0 --release"
    echo "$train --steps 60000 --decay 0.27 --seed 3 --release"
    echo "$train --steps 37491 --pairs half-one --beta 1 --decay 0 --folder $runs/phase1 \
&& $train --steps 44167 --pairs half-one --beta 4 --decay 0 --start-from $runs/phase1 --folder $runs/phase2 \
&& $train --steps 70818 --pairs 1 --beta 4 --decay 0 --start-from $runs/phase2 --folder $runs/phase3 \
&& $train --steps 75677 --pairs 1 --beta 1 --decay 0 --start-from $runs/phase3 --folder $runs/phase4 \
&& $train --steps 84000 --pairs 1 --beta 1 --decay 0.1 --start-from $runs/phase4 --folder $runs/phase5 --release ada-gvae-threshold"
    echo "$train --model beta-tcvae --steps 25000 --decay 0.2 --release"
    echo "$train --model comp-wae --output sigmoid --steps 20000 --decay 0.2 --release"

    echo "$python -m inc_lib.oracle train --world shapes3d-twin --image-size 64 --steps 2000 --seed 0 --threads 1 --device %D --release"

    # The other two worlds (chapter 18).
    echo "$python -m inc_lib.oracle train --world mpi3d-twin --image-size 32 --steps 4000 --seed 0 --threads 1 --device %D --release"
    for seed in 0 1; do
        echo "$train --world mpi3d-twin --model comp-wae --output sigmoid --steps 52000 --decay 0.2 --seed $seed --release"
    done
    echo "$python -m inc_lib.oracle train --world dsprites-twin --image-size 32 --steps 14000 --seed 0 --threads 1 --device %D --release"
    for seed in 0 1 2; do
        echo "$train --world dsprites-twin --model comp-wae --steps 22000 --seed $seed --release"
    done
    for world in dsprites-twin mpi3d-twin; do
        echo "$train --world $world --model ada-gvae --steps 20000 --release"
        echo "$train --world $world --model beta-tcvae --steps 12000 --release"
    done

    # Real pedestrians, for chapter 8: six policies, some four minutes each.
    for seed in 0 1 2; do
        for holes in "" " --holes"; do
            echo "$python -m inc_lib.cloning --dataset grand-central --steps 12000 --seed $seed$holes --device %D --release"
        done
    done

    # Scenes of objects, for chapter 9: half an hour for the generator, eight minutes for the detector.
    echo "$python -m inc_lib.composing --steps 10000 --seed 0 --device %D --release"
    echo "$python -m inc_lib.detector train --steps 2500 --device %D --release"

    # Four of eight classes, for chapter 10: two oracles and three generators, some five minutes each.
    echo "$python -m inc_lib.oracle train --world simple-shapes --image-size 28 --steps 400 --per-factor --device %D --release"
    echo "$python -m inc_lib.oracle train --world simple-shapes-3 --image-size 28 --steps 500 --per-factor --device %D --release"
    for seed in 0 1 2; do
        echo "$python -m inc_lib.composition --world simple-shapes --steps 3000 --seed $seed --device %D --release"
    done

    # Handwritten digits and clothes, for chapter 11: some five minutes each; small digits, half a minute. On the processor.
    for dataset in mnist fashion-mnist; do
        for seed in 0 1 2; do
            echo "$python -m inc_lib.alternation --dataset $dataset --observations 6000 --modes 3 --shades 4 --long --seed $seed --release"
        done
    done
    echo "$python -m inc_lib.alternation --dataset digits --seed 0 --release"

    # Pen strokes, for chapter 12: five models side by side, some six minutes.
    echo "$python -m inc_lib.adversarial --dataset pendigits --steps 4000 --members 5 --device %D --release"

    # Images and strokes, for chapter 12: three or five models of each set side by side, told of bending, some ten minutes a set.
    bent="$python -m inc_lib.adversarial --objective dls-bent --device %D --release"
    echo "$bent --dataset mnist --steps 500 --opening 4000 --members 3"
    echo "$bent --dataset fashion-mnist --steps 300 --opening 4000 --members 3"
    echo "$bent --dataset pendigits --steps 1000 --opening 2000 --members 5"

    # Real images, for chapter 14: three passes over them.
    for world in mnist fashion-mnist; do
        echo "$train --world $world --model beta-tcvae --beta 4 --steps 3000 --decay 0.2 --release"
    done

    # Embeddings taught without labels, for chapter 17: two to four minutes each.
    for world in shapes3d-twin mnist; do
        echo "$python -m inc_lib.embedding --world $world --threads 1 --device %D --release"
    done
}

chosen=$(commands | sed "s/%D/${DEVICE:-auto}/g" | grep -e "${ONLY:-inc_lib}") || {
    echo "error: no training has $ONLY in its command: PRINT=1 shows them." >&2
    exit 2
}
if [ -n "${PRINT:-}" ]; then
    echo "$chosen"
else
    echo "$chosen" | tr '\n' '\0' | xargs -0 -P "${JOBS:-1}" -n 1 sh -c
fi
