"""Paths of pedestrians: read, cleaned, split; and a small simulated station where no recording is at hand.

- `grand-central`: the walking routes of 12,684 pedestrians in Grand Central Station, annotated by Yi, Li and Wang
  (2015) in a recording that Zhou, Wang and Tang (2012) introduced. 1920x1080 pixels, 25 frames a second, annotated
  every 20th. 0.06 m a pixel is a rough scale: the view is in perspective and not rectified here, so metres are the
  view's.
- `simulated-station`: ours, in the same layout, with gates, a booth to walk around, and tracks that want cleaning.
- yours: a folder or .tar.gz of .txt files (one pedestrian each: x, y, frame in turn), or a .csv with the columns
  pedestrian, frame, x, y.
"""

from __future__ import annotations

import math
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError, suggest
from ..files import data_folder
from .base import Factor

NAMES = ("grand-central", "simulated-station")
METRES, FRAMES_PER_SECOND = 0.06, 25.0  # a pixel of the Grand Central view, roughly; its frame rate

SHORTEST = 8  # positions
FARTHEST_GAP = 3  # steps that are bridged by a straight line
STANDING = 2.0  # metres: who moves less during a longer gap has stood
FASTEST = 8.0  # metres a second: no walker, but a track that jumped to somebody else
LEAST_WAY = 12.0  # metres between start and goal
PAUSE = (10, 1.5)  # steps, metres: who stays within so many metres for so many steps has stood
LONGEST = 120  # steps

Track = tuple[str, NDArray[np.float64]]  # its name, rows of x, y, frame


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths on a common clock.

    Attributes:
        positions: float32 (n, T, 2), metres; NaN after a path's end. y grows downwards, as in the camera's picture.
        begins: int64 (n,), the step of the recording at which each begins.
    """

    positions: Tensor
    begins: Tensor

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: Tensor | slice) -> Paths:
        """Some of the paths: an index, mask or slice."""
        return Paths(self.positions[rows], self.begins[rows])

    @property
    def lengths(self) -> Tensor:
        """Number of positions of each: int64 (n,)."""
        return count_positions(self.positions)

    @property
    def ends(self) -> Tensor:
        """Where each starts and where it arrives: float32 (n, 4), start x, y, goal x, y. The encoder h*."""
        return path_ends(self.positions)


def count_positions(positions: Tensor) -> Tensor:
    """Number of positions of paths (n, T, 2) before the NaN: int64 (n,)."""
    return (~positions[..., 0].isnan()).sum(1)


def path_ends(positions: Tensor) -> Tensor:
    """First and last position of paths (n, T, 2): (n, 4)."""
    last = (count_positions(positions) - 1).clamp(min=0)
    return torch.cat([positions[:, 0], positions[torch.arange(len(positions)), last]], dim=1)


@dataclass(frozen=True, eq=False)
class Crowd:
    """A world of pedestrians: what is observed is a path.

    Attributes:
        name, source: "published", "simulated" or "yours".
        paths: those that the cleaning rules kept, by the time at which they begin.
        cleaning: a row for each rule and how many paths it left out; the last rows are those kept and all.
        step: seconds between two positions.
    """

    name: str
    source: str
    paths: Paths
    cleaning: pd.DataFrame
    step: float
    factors: tuple[Factor, ...] = ()

    def split(
        self, generator: torch.Generator, *, until: float = 0.7, held_out: float = 0.3
    ) -> dict[str, Paths]:
        """Training paths and two kinds of held-out ones: other people, and other people at a later time.

        Args:
            generator: decides who is held out.
            until: share of the paths, by the time they begin, that the first two parts are taken from.
            held_out: share of those that is held out.

        Returns:
            "train"; "same hour", who begin in the same time as the former; "later", who begin after all of them.
        """
        if not 0 < until < 1 or not 0 < held_out < 1:
            raise InputError(
                f"until = {until}, held_out = {held_out} cannot be used: expected shares between 0 and 1."
            )
        order = self.paths.begins.argsort(stable=True)
        early = order[: round(until * len(order))]
        early = early[torch.randperm(len(early), generator=generator)]
        n_held = round(held_out * len(early))
        return {
            "train": self.paths[early[n_held:].sort().values],
            "same hour": self.paths[early[:n_held].sort().values],
            "later": self.paths[order[round(until * len(order)) :].sort().values],
        }

    def describe(self) -> str:
        """One paragraph: what this is and what was kept."""
        kept, total = len(self.paths), int(self.cleaning["paths"].iloc[-1])
        low, high = (
            self.paths.positions.flatten(0, 1).nan_to_num(fill).aminmax(dim=0)[k].tolist()
            for k, fill in ((0, math.inf), (1, -math.inf))
        )
        kind = {"simulated": "simulated by us, no recording of people", "yours": "yours"}.get(
            self.source, self.source
        )
        return (
            f"{self.name} ({kind}): {kept:,} of {total:,} paths kept, one position each {self.step:g} s, "
            f"on {high[0] - low[0]:.0f} m by {high[1] - low[1]:.0f} m."
        )


def load(
    dataset: str = "auto", *, metres: float = METRES, frames_per_second: float = FRAMES_PER_SECOND
) -> Crowd:
    """A crowd by name, or your own by path.

    Args:
        dataset: "grand-central"; "simulated-station"; "auto", the first where its file is at hand and else the second;
            or the path of a folder, .tar.gz or .csv.
        metres: one unit of the tracks in metres; of the recordings, not of the simulation.
        frames_per_second: of the tracks' frame numbers.

    Raises:
        InputError: no such name and no such path, or tracks that cannot be used.
    """
    for name, value in (("metres", metres), ("frames_per_second", frames_per_second)):
        if not (value > 0 and math.isfinite(value)):
            raise InputError(f"{name} = {value!r} cannot be used: expected a positive number.")
    if dataset == "auto":
        dataset = "grand-central" if _published() is not None else "simulated-station"
    if dataset == "simulated-station":
        tracks, name, source, metres = simulate(), dataset, "simulated", 1.0
    elif dataset == "grand-central":
        path = _published()
        if path is None:
            raise InputError(
                f"grand-central is not here: expected annotation.tar.gz, or its unpacked folder Annotation, in "
                f"{data_folder() / 'grand-central'}; put it there or set INC_DATA, or use simulated-station."
            )
        tracks, name, source = read(path), dataset, "published"
    elif not (Path(dataset).suffix or "/" in dataset or "\\" in dataset or Path(dataset).exists()):
        raise suggest("crowd", dataset, ("auto", *NAMES))
    else:
        path = Path(dataset).expanduser()
        tracks, name, source = read(path), path.name.split(".")[0] or path.name, "yours"
    stride = common_stride(tracks)
    paths, cleaning = clean(tracks, stride=stride, seconds=stride / frames_per_second, metres=metres)
    if len(paths) < 50:
        raise InputError(
            f"of {len(tracks):,} tracks in {name} only {len(paths)} can be used ({_told(cleaning)}): "
            "expected at least 50; check the scale in metres and the frames per second."
        )
    return Crowd(name, source, paths, cleaning, stride / frames_per_second)


def _published() -> Path | None:
    """The annotations of Grand Central: the archive or the publisher's unpacked folder; None if neither is here."""
    folder = data_folder() / "grand-central"
    return next(
        (path for path in (folder / "annotation.tar.gz", folder / "Annotation") if path.exists()), None
    )


def _told(cleaning: pd.DataFrame) -> str:
    """What the rules left out, in words."""
    left = cleaning.iloc[:-2]
    return (
        ", ".join(f"{row.paths:,} {row.rule}" for row in left.itertuples() if row.paths)
        or "none was left out"
    )


# --- reading ---


def read(path: str | Path) -> list[Track]:
    """Tracks from a folder or .tar.gz of .txt files, or from a .csv.

    Returns:
        (name, float64 (m, 3) with x, y, frame) of each pedestrian, by name.

    Raises:
        InputError: nothing there, a damaged archive, or a file that does not hold what it should: one sentence with
            the file, what was found and what was expected.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(
            f"{path} does not exist: expected a folder or .tar.gz of .txt files, or a .csv of tracks."
        )
    if path.is_dir():
        tracks = [_track(file.name, file.read_bytes()) for file in sorted(path.glob("*.txt"))]
    elif path.suffix == ".csv":
        tracks = _read_csv(path)
    elif path.name.endswith((".tar.gz", ".tgz", ".tar")):
        tracks = sorted(_read_tar(path), key=lambda track: track[0])
    else:
        raise InputError(
            f"{path} cannot be read as tracks: expected a folder or .tar.gz of .txt files, or a .csv."
        )
    if not tracks:
        raise InputError(
            f"{path} holds no tracks: expected .txt files, one pedestrian each, with x, y and frame in turn."
        )
    return tracks


def _read_tar(path: Path) -> Iterator[Track]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".txt") and (file := archive.extractfile(member)):
                    yield _track(Path(member.name).name, file.read())
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise InputError(
            f"{path} cannot be read to its end ({error}): it is cut off or damaged; fetch it again."
        ) from error


def _track(name: str, text: bytes) -> Track:
    """One pedestrian's file: x, y, frame in turn, one number a line."""
    words = text.split()
    if not words or len(words) % 3:
        raise InputError(
            f"{name} holds {len(words)} numbers: expected x, y and frame in turn, so a multiple of 3."
        )
    try:
        rows = np.array(words, dtype=np.float64).reshape(-1, 3)
    except ValueError:
        wrong = next(word for word in words if not _is_number(word))
        raise InputError(
            f"{name} holds {wrong.decode(errors='replace')!r}, which is no number: expected x, y and frame in "
            "turn, one number a line."
        ) from None
    return _checked(name, rows)


def _checked(name: str, rows: NDArray[np.float64]) -> Track:
    if not np.isfinite(rows).all():
        raise InputError(f"{name} holds a position or frame that is NaN or infinite: leave such rows out.")
    if len(rows) > 1 and (late := np.flatnonzero(np.diff(rows[:, 2]) <= 0)).size:
        before, after = rows[late[0], 2], rows[late[0] + 1, 2]
        raise InputError(
            f"{name} goes from frame {before:g} to frame {after:g}: expected frames that increase."
        )
    return name, rows


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _read_csv(path: Path) -> list[Track]:
    columns = ["pedestrian", "frame", "x", "y"]
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"{path} cannot be read as a csv ({str(error).splitlines()[0]}).") from error
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise InputError(
            f"{path} has no column {absent[0]!r}: it has {', '.join(map(str, table.columns))}, "
            f"expected {', '.join(columns)}."
        )
    for column in columns[1:]:
        numeric = pd.to_numeric(table[column], errors="coerce")
        if (bad := numeric.isna()).any():
            line = int(bad.to_numpy().argmax()) + 2
            raise InputError(
                f"{path}, line {line}, column {column!r}: found {table[column].iloc[line - 2]!r}, "
                "expected a number."
            )
        table[column] = numeric
    return [
        _checked(f"pedestrian {name} of {path.name}", rows[["x", "y", "frame"]].to_numpy(np.float64))
        for name, rows in table.groupby("pedestrian", sort=True)
    ]


# --- cleaning ---


def common_stride(tracks: Sequence[Track]) -> float:
    """The most common difference between consecutive frames: one step."""
    differences = np.concatenate([np.diff(rows[:, 2]) for _, rows in tracks])
    if not len(differences):
        raise InputError(
            f"none of the {len(tracks)} tracks has two positions: there is no step to learn from."
        )
    values, counts = np.unique(differences, return_counts=True)
    return float(values[counts.argmax()])


def clean(
    tracks: Sequence[Track], *, stride: float, seconds: float, metres: float
) -> tuple[Paths, pd.DataFrame]:
    """Keep those who walk from one place to another; a track that breaks several rules counts for the first.

    Args:
        tracks: as `read` gives.
        stride: frames a step.
        seconds: a step in seconds.
        metres: a unit in metres.

    Returns:
        The paths, resampled to one position a step (gaps of at most `FARTHEST_GAP` steps are bridged), by begin; and a
        table with columns `rule` and `paths`.
    """
    rules: dict[str, Callable[[NDArray, NDArray], bool]] = {
        f"too short (under {SHORTEST} positions)": lambda rows, way: len(rows) < SHORTEST,
        f"standing (a gap over {FARTHEST_GAP} steps, moved under {STANDING:g} m)": lambda rows, way: (
            _long_gaps(rows, way, stride, moved=False)
        ),
        f"broken (a gap over {FARTHEST_GAP} steps, moved on)": lambda rows, way: _long_gaps(
            rows, way, stride, moved=True
        ),
        f"broken (faster than {FASTEST:g} m/s)": lambda rows, way: bool(
            (way > FASTEST * seconds * np.diff(rows[:, 2]) / stride).any()
        ),
        f"under {LEAST_WAY:g} m from start to goal": lambda rows, way: (
            math.dist(rows[0, :2], rows[-1, :2]) < LEAST_WAY
        ),
        f"standing ({PAUSE[0]} steps within {PAUSE[1]:g} m)": lambda rows, way: _pauses(
            _resampled(rows, stride)
        ),
        f"over {LONGEST} steps": lambda rows, way: len(_resampled(rows, stride)) > LONGEST,
    }
    left, kept = dict.fromkeys(rules, 0), []
    for _, rows in tracks:
        rows = rows * (metres, metres, 1.0)
        way = np.linalg.norm(np.diff(rows[:, :2], axis=0), axis=1)
        broken = next((rule for rule, breaks in rules.items() if breaks(rows, way)), None)
        if broken is None:
            kept.append((rows[0, 2] / stride, _resampled(rows, stride)))
        else:
            left[broken] += 1
    kept.sort(key=lambda path: path[0])
    length = max((len(path) for _, path in kept), default=0)
    positions = torch.full((len(kept), length, 2), math.nan)
    for row, (_, path) in enumerate(kept):
        positions[row, : len(path)] = torch.from_numpy(path).float()
    begins = torch.tensor([round(begin) for begin, _ in kept], dtype=torch.int64)
    counts = {**left, "kept": len(kept), "all": len(tracks)}
    return Paths(positions, begins), pd.DataFrame({"rule": list(counts), "paths": list(counts.values())})


def _long_gaps(rows: NDArray, way: NDArray, stride: float, *, moved: bool) -> bool:
    """Whether there is a gap too long to bridge during which the pedestrian moved, or stood."""
    gaps = way[np.diff(rows[:, 2]) > (FARTHEST_GAP + 0.5) * stride]
    return bool(((gaps >= STANDING) == moved).any())


def _resampled(rows: NDArray, stride: float) -> NDArray:
    """Positions (T, 2) at every step from the first frame on."""
    frames = np.arange(rows[0, 2], rows[-1, 2] + stride / 2, stride)
    return np.stack([np.interp(frames, rows[:, 2], rows[:, axis]) for axis in (0, 1)], axis=1)


def _pauses(path: NDArray) -> bool:
    steps, reach = PAUSE
    return bool((np.linalg.norm(path[steps:] - path[:-steps], axis=1) < reach).any())


# --- a simulated station ---

GATES = {
    "west": (2.0, 20.0, 0.6, 3.0),
    "north": (22.0, 2.0, 4.0, 0.6),
    "east": (58.0, 14.0, 0.6, 2.5),
    "platform": (44.0, 2.0, 3.0, 0.6),
    "south": (30.0, 38.0, 6.0, 0.6),
}  # centre x, y, spread x, y
SHARES = (0.22, 0.2, 0.2, 0.18, 0.2)
BOOTH = (30.0, 19.0, 5.0)  # centre x, y, radius: nobody walks through it
ANNOTATED = 0.1  # metres: deviation of a mark from where the walker is
NEVER = {("west", "north"), ("platform", "north"), ("north", "platform")}  # pairs that nobody walks


def simulate(n: int = 2400, seed: int = 0) -> list[Track]:
    """Tracks in a hall of 60 m by 40 m with five gates and a booth in its middle: in metres, 20 frames a step.

    Everybody walks towards a goal with a speed and a taste for the left or right of the booth of their own. A few
    stand, a few tracks are lost and found again, a few are short. This is no recording of people: nothing measured on
    it is about them.
    """
    generator = np.random.default_rng(seed)
    names, tracks = list(GATES), []
    pairs = [(a, b) for a in names for b in names if a != b and (a, b) not in NEVER]
    weights = np.array([SHARES[names.index(a)] * SHARES[names.index(b)] for a, b in pairs])
    for person, pair in enumerate(generator.choice(len(pairs), n, p=weights / weights.sum())):
        ends = np.array([GATES[name] for name in pairs[pair]])
        start, goal = ends[:, :2] + ends[:, 2:] * generator.standard_normal((2, 2))
        path = _walk(start, goal, generator)
        path = path + ANNOTATED * generator.standard_normal(path.shape)
        frames = 20.0 * (generator.integers(0, 4000) + np.arange(len(path)))
        if person % 40 == 7:
            path, frames = np.delete(path, slice(8, 20), 0), np.delete(frames, slice(8, 20))  # lost and found
        elif person % 40 == 17:
            frames[6:] += 20 * 30  # stands for 24 s; such stretches are not annotated
        elif person % 40 == 27:
            path, frames = path[:5], frames[:5]
        tracks.append((f"{person:06}", np.column_stack([path, frames])))
    return tracks


def _walk(start: NDArray, goal: NDArray, generator: np.random.Generator) -> NDArray:
    """One path (T, 2): straight on, around the booth, with a speed and a drift of one's own."""
    centre, radius = np.array(BOOTH[:2]), BOOTH[2]
    stride, side = generator.normal(1.4, 0.2) * 0.8, generator.choice([-1.0, 1.0])
    way, drift, position = [start], 0.0, start
    along, middle = goal - start, centre - start
    offset = along[0] * middle[1] - along[1] * middle[0]
    if abs(offset) > 2 * np.linalg.norm(along):  # who would pass far from the middle takes the shorter side
        side = -np.sign(offset)
    for _ in range(LONGEST - 1):
        left = goal - position
        if np.linalg.norm(left) <= stride:
            break
        heading = left / np.linalg.norm(left)
        away = position - centre
        distance = np.linalg.norm(away)
        if distance < radius + 6 and heading @ away < 0:
            tangent = side * np.array([away[1], -away[0]]) / distance
            near = np.clip((radius + 6 - distance) / 6, 0, 1)
            heading = (1 - near) * heading + near * (tangent + 0.3 * away / distance)
            heading /= np.linalg.norm(heading)
        drift = 0.85 * drift + 0.07 * generator.standard_normal()
        turned = np.array([heading[0] - drift * heading[1], heading[1] + drift * heading[0]])
        position = position + max(stride, 0.4) * turned * (1 + 0.06 * generator.standard_normal())
        way.append(position)
    return np.array([*way, goal])
