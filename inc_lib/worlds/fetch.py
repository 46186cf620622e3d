"""Downloads of published data from their official addresses: checked, resumed, never half there.

Checksums come from the publishers or from several independent projects that agree on them. Where there is
none to be sure of (MPI3D), the file is trusted on first use: its sha256 is written to a `.sha256` file beside
it, and every later `fetch` compares with that.
"""
from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, suggest
from ..files import atomic_write, data_folder, sha256
from .storage import check_space, heartbeat

ATTEMPTS = 5         # failures in a row, without a byte gained, after which a download is given up
PIECE = 2 ** 16      # bytes; at most that much is lost where a connection breaks
TIMEOUT = 30.0       # seconds without a byte


@dataclass(frozen=True)
class Remote:
    """A published file.

    Args:
        path: where it is kept, relative to the data folder.
        url: its official address.
        digest: "md5:..." as published, or None where no checksum is known for certain.
    """

    path: str
    url: str
    digest: str | None = None

    @property
    def packed(self) -> bool:
        """Whether readers also take it unpacked, without its suffix."""
        return self.path.endswith(".gz")

    def find(self) -> Path | None:
        """Where it is, or None: in its folder of the data folder, packed or not, or directly in that."""
        place = data_folder() / self.path
        places = (place, place.with_suffix("")) if self.packed else (place, data_folder() / place.name)
        return next((place for place in places if place.is_file()), None)


def _idx(folder: str, address: str, digests: dict[str, str]) -> tuple[Remote, ...]:
    return tuple(Remote(f"{folder}/{name}.gz", f"{address}/{name}.gz", f"md5:{md5}")
                 for name, md5 in digests.items())


_MPI3D = "https://huggingface.co/datasets/waleedgondal/mpi3d/resolve/main"    # the authors' own link
_FASHION = "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"     # PyTorch's copy: the original address is closed
REMOTES: dict[str, tuple[Remote, ...]] = {
    "dsprites": (Remote(
        "dsprites/dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
        "https://github.com/google-deepmind/dsprites-dataset/raw/master/"
        "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
        "md5:7da33b31b13a06f4b04a70402ce90c2e"),),
    "shapes3d": (Remote("shapes3d/3dshapes.h5", "https://storage.googleapis.com/3d-shapes/3dshapes.h5",
                        "md5:099a2078d58cec4daad0702c55d06868"),),
    "mpi3d-real": (Remote("mpi3d/mpi3d_real.npz", f"{_MPI3D}/mpi3d_real.npz"),),
    "mpi3d-realistic": (Remote("mpi3d/mpi3d_realistic.npz", f"{_MPI3D}/mpi3d_realistic.npz"),),
    "mpi3d-toy": (Remote("mpi3d/mpi3d_toy.npz", f"{_MPI3D}/mpi3d_toy.npz"),),
    "mnist": _idx("mnist", _MNIST, {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c"}),
    "fashion-mnist": _idx("fashion-mnist", _FASHION, {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310"}),
}


def remotes(name: str) -> tuple[Remote, ...]:
    """The files of a published world; a test split has those of the whole.

    Raises:
        InputError: nothing to download under that name.
    """
    name = name.removesuffix("-test")
    if name.endswith("-twin"):
        raise InputError(f"{name} is rendered by this project: there is nothing to download.")
    if name not in REMOTES:
        raise suggest("published world", name, REMOTES)
    return REMOTES[name]


def fetch(name: str, *, say: Callable[[str], None] = print) -> list[Path]:
    """Download the files of a published world into the data folder, or check those that are there.

    Args:
        name: as in `REMOTES`.
        say: receives a line per file.

    Returns:
        The files' paths.

    Raises:
        InputError: no such world, no connection, wrong content, no space. Nothing half-written remains.
    """
    paths = []
    for remote in remotes(name):
        path = remote.find()
        there = "already there, " if path else ""
        if path is None:
            path = data_folder() / remote.path
            say(f"{name}: downloading {remote.url}")
            _download(remote, path)
        unpacked = remote.packed and path.suffix != ".gz"
        verdict = "unpacked, so not compared with the checksum." if unpacked else _verify(remote, path)
        say(f"{path} ({path.stat().st_size / 1e6:,.1f} MB): {there}{verdict}")
        paths.append(path)
    return paths


def _verify(remote: Remote, path: Path) -> str:
    """Compare a file with its checksum, or record one; says which."""
    import pooch

    if remote.digest:
        kind, _, expected = remote.digest.partition(":")
        found = pooch.file_hash(str(path), alg=kind)
        if found != expected:
            raise InputError(f"{path} is not the published file: its {kind} is {found}, expected {expected}; "
                             "remove it and fetch again, or keep it if you know why it differs (a repacked "
                             ".gz does).")
        return "checksum as published."
    record, found = path.with_name(path.name + ".sha256"), sha256(path)
    if record.exists():
        expected = record.read_text().split()[0]
        if found != expected:
            raise InputError(f"{path} has changed since it was downloaded: its sha256 is {found}, "
                             f"{record.name} says {expected}; remove both and fetch again.")
        return f"as first downloaded ({record.name})."
    with atomic_write(record) as temporary:
        temporary.write_text(f"{found}  {path.name}\n")
    return f"no published checksum is known, its sha256 is recorded in {record.name} for later comparison."


def _download(remote: Remote, path: Path) -> None:
    """Into a temporary file beside `path`, which appears only when all of it is there and right."""
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(remote.url, known_hash=remote.digest, fname=path.name, path=path.parent,
                       downloader=_resuming)
        path.chmod(0o644)
    except requests.RequestException as error:
        raise InputError(f"{remote.url} could not be downloaded ({_reason(error)}): nothing was kept; check "
                         f"the connection and run the command again, or put the file at {path} "
                         "yourself.") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{remote.url} does not give the published file (its checksum is not "
                         f"{remote.digest}): nothing was kept; try again, or look for a changed "
                         "address.") from error
    except OSError as error:
        raise InputError(f"{path} could not be written ({error.strerror or error}): nothing was kept; free "
                         "space or set INC_DATA to another folder.") from error


def _resuming(url: str, output: str, _: object = None) -> None:
    """A downloader for pooch that continues where a connection broke instead of starting again."""
    import requests

    mark, failures, best = None, 0, 0       # mark: the server's name for this version of the file
    while True:
        have = os.path.getsize(output) if mark else 0
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": mark}
        try:
            with requests.get(url, stream=True, timeout=TIMEOUT, headers=headers) as response:
                response.raise_for_status()
                have = have if response.status_code == 206 else 0
                length = response.headers.get("Content-Length")
                total = have + int(length) if length else None
                check_space(Path(output).parent, (total or have) - have, "the download")
                mark = response.headers.get("ETag")
                with open(output, "ab" if have else "wb") as file:
                    pieces = response.iter_content(PIECE)
                    for piece in heartbeat(pieces, total, Path(url).name, length=len, unit="bytes",
                                           start=have):
                        file.write(piece)
            if total is not None and os.path.getsize(output) != total:
                raise requests.ConnectionError("cut off")
            return
        except requests.RequestException as error:
            got = os.path.getsize(output)
            failures, best = (0, got) if mark and got > best else (failures + 1, best)
            refused = error.response is not None and error.response.status_code < 500
            if refused or failures >= ATTEMPTS:
                raise
            print(f"{Path(url).name}: {_reason(error)}, trying again", file=sys.stderr, flush=True)
            _wait(failures)


def _wait(failures: int) -> None:
    """Give a server time to recover: 1, 2, 4, ... seconds."""
    time.sleep(2 ** failures)


def _reason(error: Exception) -> str:
    """The innermost words of a chain of network errors."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    text = str(error)
    return "the connection was cut off" if "cut off" in text or "IncompleteRead" in text else "no connection"
