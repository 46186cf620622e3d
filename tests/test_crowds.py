"""Crowds: readers and cleaning rules on hand-written tracks, the policy against torch's distributions, known scores."""
from __future__ import annotations

import io
import math
import tarfile

import numpy as np
import pandas as pd
import pytest
import torch

from inc_lib import chapter, cloning, clustering, crowd_plots, crowds, models, plots, tables, training
from inc_lib.errors import InputError
from inc_lib.models import policy as policies
from inc_lib.worlds import crowds as worlds


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def text(rows) -> str:
    return "\n".join(str(value) for row in rows for value in row) + "\n"


def straight(n: int, *, step: float = 2.0, begin: int = 0, y: float = 5.0, stride: int = 20) -> list[tuple]:
    """A walk along x: n positions, `step` units apart."""
    return [(step * k, y, begin + stride * k) for k in range(n)]


def paths_of(*walks) -> torch.Tensor:
    """Paths (n, T, 2), padded with NaN, from lists of positions."""
    longest = max(map(len, walks))
    padded = torch.full((len(walks), longest, 2), math.nan)
    for row, walk in enumerate(walks):
        padded[row, : len(walk)] = torch.tensor(walk, dtype=torch.float32)
    return padded


@pytest.fixture(scope="module")
def crowd() -> worlds.Crowd:
    return worlds.load("simulated-station")


@pytest.fixture(scope="module")
def parts(crowd) -> dict[str, worlds.Paths]:
    return crowd.split(seeded())


@pytest.fixture(scope="module")
def station(parts) -> crowds.Station:
    return crowds.find_station(parts["train"])


@pytest.fixture(scope="module")
def trained(parts):
    return cloning.clone(parts["train"], steps=1000, seed=0, world="simulated-station",
                         learning_rate=0.003, options={"width": 64, "depth": 2, "n_components": 4})


# -- reading ---------------------------------------------------------------------------------------

def test_a_folder_an_archive_and_a_csv_give_the_same_tracks(tmp_path):
    walks = {"000001.txt": straight(9), "000002.txt": straight(10, begin=40, y=7.0)}
    folder = tmp_path / "Annotation"
    folder.mkdir()
    for name, rows in walks.items():
        (folder / name).write_text(text(rows))
    with tarfile.open(tmp_path / "annotation.tar.gz", "w:gz") as archive:
        archive.add(folder, "Annotation")
    rows = [(int(name[:6]), frame, x, y) for name, walk in walks.items() for x, y, frame in walk]
    pd.DataFrame(rows, columns=["pedestrian", "frame", "x", "y"]).to_csv(tmp_path / "walks.csv", index=False)
    read = [worlds.read(tmp_path / name) for name in ("Annotation", "annotation.tar.gz", "walks.csv")]
    assert [name for name, _ in read[0]] == ["000001.txt", "000002.txt"]
    for tracks in read:
        assert len(tracks) == 2
        for (_, found), expected in zip(tracks, walks.values(), strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("written", "told"), [
    ("1\n2\n3\n4\n", "holds 4 numbers: expected x, y and frame in turn, so a multiple of 3"),
    ("", "holds 0 numbers"),
    ("1\n2\nthree\n", "holds 'three', which is no number"),
    ("1\n2\n20\n1\n2\n20\n", "goes from frame 20 to frame 20: expected frames that increase"),
    ("1\n2\n40\n1\n2\n20\n", "goes from frame 40 to frame 20"),
    ("1\nnan\n40\n", "NaN or infinite"),
])
def test_a_bad_file_gets_one_sentence(tmp_path, written, told):
    (tmp_path / "000007.txt").write_text(written)
    with pytest.raises(InputError, match=told) as caught:
        worlds.read(tmp_path)
    assert "000007.txt" in str(caught.value)


@pytest.mark.parametrize(("columns", "rows", "told"), [
    (["pedestrian", "frame", "x"], [(1, 0, 2.0)], "no column 'y'"),
    (["pedestrian", "frame", "x", "y"], [(1, 0, 2.0, 1.0), (1, 20, "left", 1.0)], "line 3, column 'x': found 'left'"),
    (["pedestrian", "frame", "x", "y"], [(1, 0, 2.0, None)], "line 2, column 'y'"),
    (["pedestrian", "frame", "x", "y"], [(1, 20, 2.0, 1.0), (1, 0, 3.0, 1.0)], "pedestrian 1 of bad.csv goes from"),
])
def test_a_bad_csv_gets_one_sentence(tmp_path, columns, rows, told):
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(InputError, match=told):
        worlds.read(tmp_path / "bad.csv")


def test_what_is_not_there_or_damaged_gets_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("INC_DATA", str(tmp_path))
    with pytest.raises(InputError, match="grand-central is not here"):
        worlds.load("grand-central")
    assert worlds.load("auto").name == "simulated-station"
    with pytest.raises(InputError, match="did you mean 'grand-central'"):
        worlds.load("grand-centrl")
    with pytest.raises(InputError, match="does not exist"):
        worlds.load(str(tmp_path / "mine.csv"))
    with pytest.raises(InputError, match="holds no tracks"):
        worlds.load(str(tmp_path))
    (tmp_path / "mine.xyz").write_text("1")
    with pytest.raises(InputError, match="cannot be read as tracks"):
        worlds.load(str(tmp_path / "mine.xyz"))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for k in range(200):
            data = text(straight(30, y=k * 1.37 % 11)).encode()
            info = tarfile.TarInfo(f"Annotation/{k:06}.txt")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (tmp_path / "cut.tar.gz").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(InputError, match="cut off or damaged"):
        worlds.load(str(tmp_path / "cut.tar.gz"))
    for options in ({"metres": 0.0}, {"metres": math.nan}, {"frames_per_second": -1.0}):
        with pytest.raises(InputError, match="expected a positive number"):
            worlds.load("simulated-station", **options)


# -- cleaning --------------------------------------------------------------------------------------

def test_each_rule_counts_who_breaks_it_first():
    """Steps of 1 m and 0.8 s; one track for each rule, two that are kept."""
    fine, bridged = straight(20, step=1.0), straight(20, step=1.0, begin=100)
    del bridged[5:7]                                            # a gap of three steps is bridged
    stood = straight(20, step=1.0)[:10] + [(9.5 + k, 5.0, 180 + 400 + 20 * k) for k in range(12)]
    lost = straight(10, step=1.0) + [(30.0 + k, 5.0, 180 + 100 + 20 * k) for k in range(9)]
    jumped = straight(10, step=1.0) + [(20.0 + k, 5.0, 200 + 20 * k) for k in range(9)]
    near = straight(10, step=1.0)
    paused = straight(10, step=1.0) + [(9.0 + 0.1 * k, 5.0, 180 + 20 * k) for k in range(1, 12)] \
        + [(11.0 + k, 5.0, 420 + 20 * k) for k in range(5)]
    long = straight(worlds.LONGEST + 1, step=1.0)
    walks = [fine, bridged, straight(7, step=3.0), stood, lost, jumped, near, paused, long]
    tracks = [(str(k), np.array(walk, dtype=float)) for k, walk in enumerate(walks)]
    assert worlds.common_stride(tracks) == 20
    kept, table = worlds.clean(tracks, stride=20, seconds=0.8, metres=1.0)
    assert table["paths"].tolist() == [1, 1, 1, 1, 1, 1, 1, 2, 9]
    assert table["rule"].tolist()[-2:] == ["kept", "all"]
    assert kept.lengths.tolist() == [20, 20] and kept.begins.tolist() == [0, 5]
    torch.testing.assert_close(kept.positions[0, :20], kept.positions[1, :20])  # the gap was bridged by a line
    torch.testing.assert_close(kept.ends, torch.tensor([[0.0, 5.0, 19.0, 5.0]] * 2))


def test_too_few_usable_tracks_say_what_was_left_out(tmp_path):
    for k in range(60):
        (tmp_path / f"{k:06}.txt").write_text(text(straight(20 if k < 5 else 4, step=20.0)))
    with pytest.raises(InputError, match="only 5 can be used .55 too short"):
        worlds.load(str(tmp_path))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "1.txt").write_text("1\n2\n0\n")
    with pytest.raises(InputError, match="no step to learn from"):
        worlds.load(str(tmp_path / "one"))


def test_the_split_is_by_person_and_by_time(crowd, parts):
    sizes = [len(part) for part in parts.values()]
    assert sum(sizes) == len(crowd.paths) and sizes[2] == pytest.approx(0.3 * sum(sizes), abs=1)
    assert parts["later"].begins.min() >= max(parts["train"].begins.max(), parts["same hour"].begins.max())
    again = crowd.split(seeded())
    assert torch.equal(again["train"].begins, parts["train"].begins)
    with pytest.raises(InputError, match="expected shares between 0 and 1"):
        crowd.split(seeded(), held_out=1.0)


def test_the_simulated_station_is_called_one_and_nobody_walks_through_its_booth(crowd):
    assert crowd.source == "simulated" and "no recording of people" in crowd.describe()
    middle = torch.tensor(worlds.BOOTH[:2])
    distance = (crowd.paths.positions - middle).norm(dim=-1)
    inside = (distance < worlds.BOOTH[2]).any(1)
    assert inside.float().mean() < 0.01
    counts = dict(zip(crowd.cleaning["rule"], crowd.cleaning["paths"], strict=True))
    assert counts["all"] == 2400 and sum(counts.values()) == 2 * 2400
    assert all(value == 60 for rule, value in counts.items() if rule.startswith(("too short", "standing (a gap")))


# -- places and actions ----------------------------------------------------------------------------

def test_k_distances_of_points_on_a_line_and_their_knee():
    points = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [10.0, 0.0]])
    np.testing.assert_allclose(crowds.k_distances(points, 1), [1, 1, 1, 8])
    assert crowds.knee([1, 1, 1, 1, 2, 10]) == 2
    assert crowds.knee([3, 3, 3]) == 3
    with pytest.raises(InputError, match="neighbour 4 of 4 points"):
        crowds.k_distances(points, 4)


def test_dbscan_finds_the_gates_and_names_the_fullest_first():
    generator = np.random.default_rng(0)
    centres = np.repeat([[0, 0], [20, 0], [0, 20]], [200, 100, 50], axis=0)
    points = centres + generator.normal(size=centres.shape)
    points = np.concatenate([points, [[50.0, 50.0]]])
    found = crowds.partition_ends(points)
    assert found.counts.tolist() == pytest.approx([200, 100, 50], abs=8) and found.labels[-1] == -1
    assert found.names == ("A", "B", "C") and (found.labels[:200] <= 0).all()
    with pytest.raises(InputError, match="DBSCAN finds no place"):
        crowds.partition_ends(points, eps=1e-6)


def test_actions_of_places_draw_inside_their_boxes_and_leave_the_rest_alone(station):
    for name, columns in crowds.ENDS.items():
        others = [column for column in range(4) if column not in columns]
        codes = torch.rand(200, 4, generator=seeded())
        for action in station.places.of(name):
            acted = action.act(codes, seeded())
            assert action.present(acted).all() and action.dimensions == columns
            assert torch.equal(acted[:, others], codes[:, others])
            points = station.paths.ends[torch.from_numpy(station.partitions[name].labels == action.attribute)]
            assert action.present(points).all() and action.recall == 1.0
            mean = acted[:, columns].mean(0) - points[:, columns].mean(0)
            assert (mean.abs() <= 0.3 * points[:, columns].std(0)).all()


@pytest.mark.parametrize("distribution", ["normal", "observed", "joint"])
def test_route_actions_set_start_and_goal_at_once(station, distribution):
    routes = station.routes(station.pairs[:2], distribution)
    codes = routes.of("route")[1].act(torch.zeros(300, 4), seeded())
    assert station.members(codes, [station.pairs[1]]).all()
    assert routes.factors[0].values == tuple(station.name(pair) for pair in station.pairs[:2])
    if distribution == "observed":
        known = {tuple(row) for row in station.paths.ends[:, :2].tolist()}
        assert all(tuple(row) in known for row in codes[:, :2].tolist())


def test_a_joint_distribution_keeps_what_independence_loses():
    """Starts on a wide edge, goals on another, left to left and right to right."""
    generator = np.random.default_rng(0)
    at = generator.uniform(-20, 20, 600)
    ends = np.column_stack([at, np.zeros(600), at + generator.normal(size=600), np.full(600, 30.0)])
    ends[:, 1::2] += generator.normal(size=(600, 2))
    walks = paths_of(*[[row[:2].tolist(), ((row[:2] + row[2:]) / 2).tolist(), row[2:].tolist()] for row in ends])
    found = crowds.find_station(worlds.Paths(torch.cat([walks, walks.flip(1)]), torch.zeros(1200, dtype=torch.int64)))
    pair = found.pairs[0]
    correlation = {kind: float(np.corrcoef(found.routes([pair], kind).of(0)[0].sample(4000, seeded()).T)[0, 2])
                   for kind in ("normal", "observed", "joint")}
    assert abs(correlation["normal"]) < 0.1 and abs(correlation["observed"]) < 0.1 and correlation["joint"] > 0.9


def test_unknown_distributions_and_routes_that_nobody_walks(station):
    with pytest.raises(InputError, match="did you mean 'normal'"):
        station.routes(station.pairs[:1], "normel")
    unseen = station.unseen(3)
    assert unseen and not station.members(station.paths.ends, unseen).any()
    with pytest.raises(InputError, match="too few to fit a joint distribution"):
        station.routes(unseen[:1], "joint")
    assert len(station.routes(unseen).actions) == len(unseen)


def test_what_is_never_walked_in_the_simulated_station_is_found_unseen(station):
    """west to north, platform to north, north to platform: the only ordered pairs that nobody is sent on."""
    assert len(station.unseen(20)) == 3


def test_splitting_cuts_an_edge_with_a_corner():
    generator = np.random.default_rng(0)
    along = generator.uniform(0, 40, 800)
    corner = np.column_stack([np.minimum(along, 20), np.maximum(along - 20, 0)])
    points = corner + 0.3 * generator.normal(size=corner.shape)
    whole = crowds.partition_ends(points, eps=2.0)
    split = crowds.split_partitions(whole, points)
    assert len(whole.counts) == 1 and len(split.counts) >= 2
    assert split.counts.sum() == whole.counts.sum() and (np.diff(split.counts) <= 0).all()


def test_two_routes_at_least_are_needed():
    walks = paths_of(*[[(0.0, 0.1 * k), (10.0, 0.0), (20.0, 0.1 * k)] for k in range(60)])
    with pytest.raises(InputError, match="only 1 pairs"):
        crowds.find_station(worlds.Paths(walks, torch.zeros(60, dtype=torch.int64)))


# -- the policy ------------------------------------------------------------------------------------

def test_the_mixtures_likelihood_is_that_of_torchs_distributions():
    generator = seeded()
    log_weights = torch.randn(5, 3, generator=generator).log_softmax(1)
    means = torch.randn(5, 3, 2, generator=generator)
    factors = torch.randn(5, 3, 2, 2, generator=generator).tril()
    factors.diagonal(dim1=-2, dim2=-1).abs_().add_(0.1)
    values = torch.randn(5, 2, generator=generator)
    expected = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=log_weights),
        torch.distributions.MultivariateNormal(means, scale_tril=factors)).log_prob(values)
    found = policies.mixture_log_prob(values, log_weights, means, factors)
    torch.testing.assert_close(found, expected)


def test_a_far_component_and_a_far_value_give_finite_gradients():
    log_weights = torch.tensor([[-200.0, 0.0]], requires_grad=True)
    means = torch.tensor([[[1e4, 0.0], [0.0, 0.0]]], requires_grad=True)
    factors = (0.04 * torch.eye(2)).expand(1, 2, 2, 2)
    loss = policies.mixture_log_prob(torch.tensor([[300.0, 300.0]]), log_weights, means, factors)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(means.grad).all() and torch.isfinite(log_weights.grad).all()


def build(**options) -> policies.MixturePolicy:
    return policies.MixturePolicy(low=(0.0, 0.0), high=(60.0, 40.0), **{"width": 32, "depth": 2, **options})


def test_scales_stay_within_their_bounds_whatever_the_weights():
    model = build(smallest=0.1, largest=3.0)
    for parameter in model.parameters():
        parameter.data.mul_(50)
    seen = model.features(torch.rand(64, 7, 2, generator=seeded()) * 40, torch.zeros(64, 2), torch.full((64, 2), 30.0),
                          torch.arange(64).float())
    _, _, factors = model(seen)
    diagonal = factors.diagonal(dim1=-2, dim2=-1)
    assert diagonal.min() >= 0.1 - 1e-6 and diagonal.max() <= 3.0 + 1e-5
    assert torch.isfinite(model.log_prob(seen, torch.zeros(64, 2))).all()


def test_features_before_the_first_step_know_no_history():
    model = build(history=2)
    recent = torch.full((1, 3, 2), math.nan)
    recent[:, -1] = torch.tensor([30.0, 20.0])
    seen = model.features(recent, torch.tensor([[30.0, 20.0]]), torch.tensor([[30.0, 40.0]]), torch.zeros(1))
    assert torch.isfinite(seen).all()
    torch.testing.assert_close(seen[0, :2], torch.zeros(2))  # the middle of the hall
    torch.testing.assert_close(seen[0, 18:20], torch.tensor([0.0, 20.0 / 50]))
    assert seen[0, 22:28].tolist() == [0.0] * 6  # no steps, and none known


class Straight:
    """A deterministic policy: two metres towards the goal, always."""

    config = {"history": 3}
    corner = torch.zeros(2)

    def features(self, recent, start, goal, elapsed):
        return goal - recent[:, -1]

    def sample(self, left, generator=None):
        return 2 * left / left.norm(dim=1, keepdim=True)


def test_a_deterministic_policy_reaches_its_goal_in_the_expected_steps():
    starts = torch.tensor([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]])
    goals = torch.tensor([[20.0, 0.0], [0.0, 7.0], [5.0, 5.5]])
    paths = policies.roll_out(Straight(), starts, goals, seeded(), radius=1.5, longest=30)
    assert paths.shape == (3, 30, 2)
    # 20 m: after nine steps 2 m are left, the tenth arrives. 7 m: the third step ends 1 m away. Near enough: none
    assert worlds.count_positions(paths).tolist() == [11, 4, 1]
    torch.testing.assert_close(paths[0, :11, 0], 2.0 * torch.arange(11))
    torch.testing.assert_close(paths[1, 3], torch.tensor([0.0, 6.0]))
    codes = torch.cat([starts, goals], dim=1)
    assert crowds.arrival_rate(paths, codes) == 1.0
    lost = policies.roll_out(Straight(), starts, goals, seeded(), longest=5)
    assert crowds.arrival_rate(lost, codes) == pytest.approx(2 / 3)


def test_a_walker_is_a_model_that_algorithm_1_takes_as_it_is(station):
    walker = policies.Walker(Straight(), seeded())
    codes = station.paths.ends[:50]
    walks = walker.decode(codes)
    torch.testing.assert_close(walker.encode(walks)[:, :2], codes[:, :2])
    stream = clustering.implicit_clusters(walker, station.places, 20, factor="goal", sampling="partitions",
                                          generator=seeded())
    clusters = clustering.collect(stream)
    assert len(clusters) == 20 * len(station.places.of("goal"))
    for action in station.places.of("goal"):
        mine = clusters.codes[clusters.labels == action.attribute]
        assert action.present(mine).all()
    assert crowds.arrival_rate(clusters.observations, clusters.codes) == 1.0
    again = clustering.reconstructed_clusters(walker, station.paths.positions[:50], station.places, "start")
    assert (again.labels == torch.from_numpy(station.partitions["start"].labels)[again.rows]).float().mean() > 0.95


def test_cloning_learns_resumes_and_is_the_same_for_the_same_seed(parts, tmp_path, trained):
    options = {"steps": 30, "options": {"width": 32, "depth": 2}, "batch_size": 64}
    whole = cloning.clone(parts["train"], folder=tmp_path / "a", **options)
    again = cloning.clone(parts["train"], **options)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(InputError, match="other settings"):
        cloning.clone(parts["train"], folder=tmp_path / "a", seed=1, **options)
    with pytest.raises(InputError, match="expected paths"):
        cloning.clone(parts["train"][:0], steps=1)
    loss = {model: -model.log_prob(*cloning.steps_of(parts["same hour"], model)).mean() for model in (trained, whole)}
    assert loss[trained] < loss[whole] - 1
    assert trained.provenance["paths"] == len(parts["train"])


def test_an_interrupted_cloning_goes_on_to_the_same_weights(parts, tmp_path, monkeypatch):
    options = {"steps": 20, "options": {"width": 16, "depth": 1}, "batch_size": 32}
    whole = cloning.clone(parts["train"], **options)
    update = training.Progress.update

    def stopped(self, done, parts):
        if done == 11:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Progress, "update", stopped)
    with pytest.raises(KeyboardInterrupt):
        cloning.clone(parts["train"], folder=tmp_path, **options)
    monkeypatch.setattr(training.Progress, "update", update)
    resumed = cloning.clone(parts["train"], folder=tmp_path, **options)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_sub_walks_are_stretches_of_the_walks():
    walk = paths_of([(float(k), 0.0) for k in range(12)], [(100.0 + k, 0.0) for k in range(4)])
    paths = worlds.Paths(walk, torch.tensor([3, 9]))
    found = cloning.with_sub_walks(paths, seeded(), times=20)
    assert len(found) == 42 and torch.equal(found.positions[:2].nan_to_num(), walk.nan_to_num())
    lengths, ends = found.lengths[2:], found.ends[2:]
    torch.testing.assert_close(ends[:, 2] - ends[:, 0], lengths - 1.0)  # a metre a step, all of them
    assert set(lengths[1::2].tolist()) == {4} and lengths[::2].min() >= 6 and lengths[::2].max() <= 12
    assert len(set(ends[::2, 0].tolist())) > 3
    assert len(cloning.with_sub_walks(paths, seeded(), times=0)) == 2


def test_a_cloned_policy_walks_around_the_booth(trained, parts):
    """A thousand steps are few: enough for many to arrive, and for fewer than a straight line to cross the booth."""
    codes = parts["same hour"].ends
    walks = policies.Walker(trained, seeded()).decode(codes)
    inside = ((walks - torch.tensor(worlds.BOOTH[:2])).norm(dim=-1) < 0.8 * worlds.BOOTH[2]).any(1).float().mean()
    through = (crowds.straight_lines(codes, 1.1) - torch.tensor(worlds.BOOTH[:2])).norm(dim=-1)
    assert crowds.arrival_rate(walks, codes) > 0.35
    assert inside < 0.7 * (through < 0.8 * worlds.BOOTH[2]).any(1).float().mean()


def test_a_policy_survives_the_disk_and_damage_gets_a_sentence(tmp_path, trained):
    path = tmp_path / "p.safetensors"
    models.save(trained, path, trained.provenance, half=True)
    again = policies.load(path)
    assert again.config == trained.config and again.provenance == trained.provenance
    for one, other in zip(again.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-3, atol=1e-3)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        policies.load(path)
    path.with_suffix(".json").write_text('{"model": "ada-gvae", "config": {}, "provenance": {}}')
    with pytest.raises(InputError, match="holds a ada-gvae, expected a policy"):
        policies.load(path)
    with pytest.raises(InputError, match="cannot be read"):
        policies.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("options", [{"n_components": 0}, {"history": 0}, {"smallest": 5.0}])
def test_a_policy_that_cannot_be_built_gets_a_sentence(options):
    with pytest.raises(InputError, match="cannot be built"):
        build(**options)


# -- baselines and scores --------------------------------------------------------------------------

def test_straight_lines_arrive_with_the_speed_asked_for():
    codes = torch.tensor([[0.0, 0.0, 10.0, 0.0], [0.0, 0.0, 0.0, 3.0]])
    lines = crowds.straight_lines(codes, 2.0)
    assert worlds.count_positions(lines).tolist() == [6, 3]
    torch.testing.assert_close(worlds.path_ends(lines), codes)
    torch.testing.assert_close(crowds.speeds(lines[:1], 0.8), torch.full((5,), 2.5))


def test_copies_are_the_nearest_path_shifted_to_begin_and_end_where_asked():
    known = paths_of([(0, 0), (5, 5), (10, 0)], [(0, 20), (10, 20)])
    asked = torch.tensor([[1.0, 0.0, 10.0, 2.0]])
    found = crowds.copies(asked, known)
    torch.testing.assert_close(found[0], torch.tensor([[1.0, 0.0], [5.5, 6.0], [10.0, 2.0]]))
    second = crowds.copies(asked, known, rank=1)
    assert worlds.count_positions(second).tolist() == [2]
    torch.testing.assert_close(worlds.path_ends(second), asked)


def test_resampling_a_path_with_equal_steps_gives_equal_shares():
    walk = paths_of([(0, 0), (4, 0), (8, 0)], [(1, 1)])
    found = crowds.resample(walk, 5)
    torch.testing.assert_close(found[0, :, 0], torch.tensor([0.0, 2.0, 4.0, 6.0, 8.0]))
    torch.testing.assert_close(found[1], torch.ones(5, 2))


def test_the_energy_distance_is_zero_for_equal_sets_and_known_for_shifted_points():
    walks = torch.randn(30, 20, 2, generator=seeded())
    assert crowds.energy_distance(walks, walks) == pytest.approx(0, abs=1e-6)
    point = torch.zeros(1, 20, 2)
    assert crowds.energy_distance(point, point + torch.tensor([3.0, 4.0])) == pytest.approx(10.0)  # 2 |x - y|
    pair = torch.tensor([[0.0], [2.0]])
    assert crowds.energy_distance(pair, pair + 1) == pytest.approx(2 * 1.5 - 1 - 1)  # by hand: 1, 3, 1, 1
    with pytest.raises(InputError, match="empty sample"):
        crowds.energy_distance(pair[:0], pair)


def test_the_floor_of_two_halves_is_what_theory_says():
    """Exercise of the chapter: 2 E|x - x'| / m on average."""
    ends = torch.randn(400, 2, generator=seeded())
    real = {"A → b": torch.stack([ends, ends], dim=1)}
    other = torch.randn(400, 2, generator=seeded(1))
    made = {"A → b": torch.stack([other, other], dim=1)}
    scores = crowds.route_scores(made, real, seeded(), repeats=50)
    mean = float(crowds.path_distances(crowds.resample(real["A → b"]), crowds.resample(made["A → b"])).mean())
    assert scores["people"].item() == 200
    assert scores["floor"].item() == pytest.approx(2 * mean / 200, rel=0.25)
    assert scores["ratio"].item() == pytest.approx(1, abs=0.35)
    shifted = {"A → b": made["A → b"] + 3.0}
    assert crowds.route_scores(shifted, real, seeded()).ratio.item() > 50


def test_aligned_scores_of_the_real_paths_themselves_are_the_floor():
    walks = {"r": torch.randn(40, 6, 2, generator=seeded())}
    scores = crowds.route_scores(walks, walks, seeded(), aligned=True)
    assert scores["ratio"].item() == pytest.approx(1.0)
    with pytest.raises(InputError, match="none of 1 routes has 10 held-out paths"):
        crowds.route_scores({"r": walks["r"]}, {"r": walks["r"][:9]}, seeded())


def test_min_ade_and_fde_take_the_best_sample_and_wait_at_its_end():
    real = paths_of([(0, 0), (1, 0), (2, 0), (3, 0)])
    off = paths_of([(0, 2), (1, 2), (2, 2), (3, 2)])
    early = paths_of([(0, 0), (3, 0)])
    early = torch.cat([early, torch.full((1, 2, 2), math.nan)], dim=1)
    assert crowds.min_ade_fde(off[None], real) == (2.0, 2.0)
    average, final = crowds.min_ade_fde(torch.stack([off, early]), real)
    assert average == pytest.approx((0 + 2 + 1 + 0) / 4) and final == 0.0


def test_turning_of_a_right_angle_and_of_standing():
    corner = paths_of([(0, 0), (1, 0), (1, 1), (1, 1.01), (1, 2)])
    assert crowds.turning(corner).tolist() == pytest.approx([90.0])  # the tiny step has no direction
    assert crowds.turning(paths_of([(0, 0), (1, 0), (2, 0)])).tolist() == [0.0]


def test_total_variation_of_equal_and_disjoint_samples():
    low, high = torch.zeros(10), torch.ones(10)
    assert crowds.total_variation(low, low) == 0.0 and crowds.total_variation(low, high) == 1.0
    assert crowds.total_variation(low, torch.cat([low, high])) == pytest.approx(0.5)


def test_real_paths_score_perfectly_against_themselves(parts):
    real = parts["same hour"].positions[:40]
    scores = crowds.walk_scores(lambda codes, n: real.expand(n, *real.shape), real, seconds=0.8, samples=2)
    assert scores == pytest.approx({"arrival": 1.0, "minADE": 0.0, "minFDE": 0.0, "speed": 0.0, "turning": 0.0,
                                    "duration": 0.0}, abs=1e-6)


# -- the chapter's frame, released policies, figures -----------------------------------------------

def begin(crowd, **options) -> chapter.Chapter:
    return chapter.start(chapter="08_crowds", world=crowd, model="policy", dataset=crowd.name, train_steps=3, **options)


def test_a_chapter_may_bring_a_world_without_images(crowd, parts):
    c = begin(crowd)
    assert c.world is crowd and c.image_size == 0
    first = cloning.load_or_clone(c, parts["train"], options={"width": 16})
    assert c.released is None  # an experiment is not the chapter's model
    own = cloning.load_or_clone(c, parts["train"])
    assert c.model is own and c.released is False and not c.strict and first.config["width"] == 16
    c.record(crowds_ratio=1.0)
    assert c.record_path.parts[-4:] == ("simulated-station", "policy", "s0", "08_crowds.json")


def test_a_checkpoint_of_other_paths_is_refused_or_passed_over(crowd, parts, tmp_path, trained, monkeypatch):
    monkeypatch.setenv("INC_CHECKPOINTS", str(tmp_path))
    path = cloning.release_path("simulated-station", 0)
    models.save(trained, path, trained.provenance)
    c = begin(crowd)
    assert cloning.load_or_clone(c, parts["train"]).provenance["steps"] == 1000 and c.released is True
    assert cloning.load_or_clone(begin(crowd), parts["train"][:100]).provenance["steps"] == 3
    with pytest.raises(InputError, match="give checkpoint='auto'"):
        cloning.load_or_clone(begin(crowd, checkpoint=str(path)), parts["train"][:100])
    c = begin(crowd, checkpoint=str(path))
    assert cloning.load_or_clone(c, parts["train"]).provenance["steps"] == 1000 and c.released is False


def test_recorded_numbers_reach_the_results_page_and_its_command_runs_as_it_stands(crowd, monkeypatch, tmp_path):
    monkeypatch.setenv("INC_RESULTS", str(tmp_path))
    c = begin(crowd, profile="cpu")
    c.record(crowds_ratio=1.25, crowds_ratio_copy=1.5, crowds_minade=None)
    page = tables.results_markdown(tmp_path)
    assert "| distance to held-out people / floor | 1.25 | 1.50 | – | – |" in page
    assert "-p dataset path/to" not in page and "-p dataset simulated-station" in page
    assert "-p model" not in page and "-p image_size" not in page  # the chapter has no such parameters


def test_holes_leave_out_whoever_walks_a_hidden_route(crowd, parts, station):
    rest = cloning.training_paths(crowd, holes=True)
    hidden = cloning.hidden_routes(station)
    assert hidden == [station.pairs[k] for k in (1, 4, 7)]
    assert not station.members(rest.ends, hidden).any()
    assert len(rest) == len(parts["train"]) - int(station.members(parts["train"].ends, hidden).sum())


def test_the_command_line_writes_a_policy_and_refuses_with_a_sentence(tmp_path, capsys):
    assert cloning.main(["--dataset", "simulated-station", "--steps", "2", "--folder", str(tmp_path)]) == 0
    assert policies.load(tmp_path / "model.safetensors").provenance["steps"] == 2
    assert cloning.main(["--dataset", str(tmp_path / "none.csv")]) == 2
    assert "error: " in capsys.readouterr().err


def test_every_figure_has_alt_text_with_data_and_a_dark_side(station, parts):
    floor = parts["train"].positions
    some = {station.name(pair): parts["same hour"].positions[station.members(parts["same hour"].ends, [pair])]
            for pair in station.pairs[:3]}
    samples = {"speed": {name: crowds.speeds(walks, 0.8) for name, walks in some.items()}}
    for figure in (crowd_plots.walks(some, floor, columns=2), crowd_plots.truth_beside_implicit(some, some, floor),
                   crowd_plots.k_distance_curves(station), crowd_plots.places(station, floor),
                   crowd_plots.histograms(samples, within={"speed": (0.0, 4.0)}),
                   crowd_plots.walks({"nobody": floor[:0]}, floor)):
        assert len(figure.alt) > 40
        plots.dark(figure)
        figure.draw_without_rendering()


# -- the recording, where it is at hand ------------------------------------------------------------

def test_the_published_recording():
    if worlds._published() is None:
        pytest.skip("the Grand Central annotations are not in INC_DATA")
    crowd = worlds.load("grand-central")
    assert int(crowd.cleaning["paths"].iloc[-1]) == 12_684 and len(crowd.paths) == 10_564
    assert crowd.step == 0.8 and crowd.source == "published"
    parts = crowd.split(seeded(cloning.SPLIT_SEED))
    assert [len(part) for part in parts.values()] == [5_177, 2_218, 3_169]
    station = crowds.find_station(parts["train"])
    assert (len(station.partitions["start"].counts), len(station.partitions["goal"].counts)) == (8, 12)
    for path in sorted(cloning.checkpoints_folder().glob("grand-central_policy*.safetensors")):
        holes = "-holes" in path.name
        assert policies.load(path).provenance["paths"] == len(cloning.training_paths(crowd, holes=holes))
