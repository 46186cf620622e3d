"""Cards are shared out among jobs. What nvidia-smi would list is given by a small script of that name."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from inc_lib import gpu
from inc_lib.errors import InputError

CARDS = ("GPU-aaaa", "GPU-bbbb")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with two cards; returns the folder of its locks."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n" + "".join(f"echo {card}\n" for card in CARDS))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu, "POLL", 0.01)
    return tmp_path


def test_two_jobs_get_different_cards_and_the_third_one_that_is_free_again(machine):
    first, second = gpu.hold(folder=machine), gpu.hold(folder=machine)
    assert {first[0], second[0]} == set(CARDS)
    got = []
    third = threading.Thread(target=lambda: got.append(gpu.hold(folder=machine)))
    third.start()
    third.join(0.1)
    assert not got  # it waits
    second[1].release()
    third.join(10)
    assert got[0][0] == second[0]
    got[0][1].release(), first[1].release()


def test_cards_are_shared_on_purpose_only_when_each_has_a_job(machine):
    held = [gpu.hold(2, folder=machine) for _ in range(4)]
    assert sorted(card for card, _ in held[:2]) == sorted(card for card, _ in held[2:]) == sorted(CARDS)
    for _, lock in held:
        lock.release()


def test_only_cards_that_a_scheduler_gave_are_used(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpu.cards() == ["GPU-bbbb"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a")
    assert gpu.cards() == ["GPU-aaaa"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(InputError, match="names '7', which is none of the 2"):
        gpu.cards()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError, match="may use none of the 2"):
        gpu.cards()


def test_the_command_sees_its_card_and_its_exit_status_is_kept(machine):
    code = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES']); sys.exit(3)"
    found = subprocess.run(
        [sys.executable, "-m", "inc_lib.gpu", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(machine)},
    )
    assert found.returncode == 3 and found.stdout.strip() in CARDS, found.stderr


def test_a_machine_without_cards_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="no graphics card was found"):
        gpu.cards()
    with pytest.raises(InputError, match="expected at least 1"):
        gpu.hold(0, folder=tmp_path)
