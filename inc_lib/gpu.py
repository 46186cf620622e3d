"""A graphics card of its own for each job: two jobs never share one by accident.

    python -m inc_lib.gpu python -m inc_lib.training --device cuda ...

waits until a card of this machine is free, hands it to the command (CUDA_VISIBLE_DEVICES) and holds it until the
command ends. Everything that is started in this way, from any shell or project of any user, shares the cards out
among itself; where a scheduler has already given this job some cards, only among those. Small models fill a large
card badly: `--side-by-side 4` lets up to four jobs onto one card, on purpose.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import InputError

POLL = 2.0  # seconds between looks for a free card
HEARTBEAT = 30.0  # seconds between lines that say one waits


def cards() -> list[str]:
    """The cards that this process may use, by UUID; as nvidia-smi lists them and CUDA_VISIBLE_DEVICES allows.

    Raises:
        InputError: there is none, or the variable names one that does not exist.
    """
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise InputError(
            "no graphics card was found (nvidia-smi is missing or failed): choose profile=cpu, or run this where "
            "nvidia-smi lists a card."
        ) from error
    found = [line.strip() for line in listed.splitlines() if line.strip()]
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        chosen = found
    else:
        names = [name.strip() for name in allowed.split(",") if name.strip()]
        chosen = [_card(name, found) for name in names]
    if not chosen:
        raise InputError(
            f"this job may use none of the {len(found)} graphics card(s) (CUDA_VISIBLE_DEVICES is {allowed!r}): "
            "ask the scheduler for one, or choose profile=cpu."
        )
    return chosen


def _card(name: str, found: Sequence[str]) -> str:
    """One entry of CUDA_VISIBLE_DEVICES, an index or the beginning of a UUID, as a UUID."""
    if name.isdigit() and int(name) < len(found):
        return found[int(name)]
    matching = [card for card in found if card.startswith(name)]
    if len(matching) != 1:
        raise InputError(
            f"CUDA_VISIBLE_DEVICES names {name!r}, which is none of the {len(found)} graphics cards here: give indices "
            "from 0, or UUIDs as `nvidia-smi -L` prints them."
        )
    return matching[0]


def hold(side_by_side: int = 1, *, folder: Path | None = None) -> tuple[str, FileLock]:
    """Wait for a place on a card: its UUID, and the lock that keeps the place until it is released.

    The emptiest card comes first, so that jobs are side by side only when every card has one.

    Args:
        side_by_side: jobs that may be on one card.
        folder: where the locks lie; the system's temporary folder, which every user of a machine shares.

    Raises:
        InputError: `side_by_side` is below 1, or there is no card.
    """
    if side_by_side < 1:
        raise InputError(f"--side-by-side {side_by_side} leaves no place on a card: expected at least 1.")
    folder, spoken = folder or Path(tempfile.gettempdir()), time.monotonic()
    usable = cards()
    while True:
        for place in range(side_by_side):
            for card in usable:
                lock = FileLock(folder / f"inc-{card}-{place}.lock", mode=0o666)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    continue
                return card, lock
        if time.monotonic() - spoken > HEARTBEAT:
            spoken = time.monotonic()
            print(f"all {len(usable)} graphics card(s) are taken: waiting", file=sys.stderr, flush=True)
        time.sleep(POLL)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m inc_lib.gpu", description="Run a command with a graphics card of its own."
    )
    parser.add_argument("--side-by-side", type=int, default=1, metavar="N", help="jobs that may share a card")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run")
    given = parser.parse_args(arguments)
    if not given.command:
        parser.error("nothing to run: give a command")
    try:
        card, lock = hold(given.side_by_side)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    with lock:
        job = subprocess.Popen(given.command, env=os.environ | {"CUDA_VISIBLE_DEVICES": card})
        for kind in (signal.SIGTERM, signal.SIGINT):  # the job saves its state; its card is held until it has
            signal.signal(kind, lambda number, _: job.send_signal(number))
        status = job.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
