"""Where things lie, and how files are written: whole or not at all."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError

ROOT = Path(os.environ.get("INC_HOME") or Path(__file__).resolve().parent.parent)


def data_folder() -> Path:
    """Where published files are kept: `INC_DATA`, or the platform's cache folder."""
    import pooch

    return Path(os.environ.get("INC_DATA") or pooch.os_cache("inc")).expanduser()


def checkpoints_folder() -> Path:
    """Where released checkpoints lie: `INC_CHECKPOINTS`, or `checkpoints/` of the project."""
    return Path(os.environ.get("INC_CHECKPOINTS") or ROOT / "checkpoints")


def results_folder() -> Path:
    """Where `chapter.record` writes: `INC_RESULTS`, or `runs/results/` (untracked) of the project."""
    return Path(os.environ.get("INC_RESULTS") or ROOT / "runs" / "results")


def sha256(path: str | Path) -> str:
    """Hex digest of a file's content, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit(root: Path) -> str:
    """The commit, with a plus when the tree differs from it where a run can see; 'unknown' outside of git."""
    def git(*words: str) -> str | None:
        try:
            return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True,
                                  check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None

    commit = git("rev-parse", "--short=9", "HEAD")
    if not commit:
        return "unknown"
    changed = git("status", "--porcelain", "--", "inc_lib", "notebooks", "requirements.lock", "checkpoints")
    return commit + ("+" if changed else "")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it otherwise.

    A reader therefore sees the old file or the new one, never half of one. The suffix is kept, because
    many writers choose a format by it.

    Raises:
        InputError: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror}): free space or choose another folder."
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o644)  # mkstemp makes it private to its owner
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"{path} was not written ({error.strerror or error}): nothing was changed; "
            "free space or choose another folder, then run again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
