"""Figures: each is drawn in light and dark, says its data in alt text, and leaves nothing behind."""
from __future__ import annotations

import io
import itertools
import sys
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from inc_lib import plots
from inc_lib.errors import InputError
from inc_lib.worlds.base import Factor, World

HUE = Factor("floor hue", tuple(k / 5 for k in range(5)), "cyclic")
SHAPE = Factor("shape", ("cube", "cylinder", "sphere", "capsule"))
SCALE = Factor("scale", (0.75, 1.0, 1.25), "ordered")
FACTORS = (HUE, SHAPE, SCALE)
SIZES = [factor.size for factor in FACTORS]


class Squares(World):
    """A bright square on a dark ground: side by scale, brightness by shape, place by hue."""

    name, source, factors, channels, image_size = "squares", "procedural twin", FACTORS, 1, 16

    def render(self, states):
        observations = torch.zeros(len(states), 1, 16, 16)
        for picture, (hue, shape, scale) in zip(observations, states.tolist(), strict=True):
            picture[:, 4:6 + 2 * scale, 2 * hue:2 * hue + 3 + scale] = (shape + 1) / 4
        return observations


class Holes(Squares):
    """The same without its spheres."""

    is_complete = False

    def states(self, n, generator=None):
        return torch.zeros(n, 3, dtype=torch.int64)

    def render(self, states):
        if (states[:, 1] == 2).any():
            raise InputError("no spheres")
        return super().render(states)


def sampled(n=600):
    """Codes of a perfect encoder: 0 is hue (5 modes), 1 is shape (4 modes), 2 is noise; and their states."""
    rng = np.random.default_rng(0)
    states = np.stack([rng.integers(0, size, n) for size in SIZES], axis=1)
    codes = rng.normal(0, 0.05, (n, 3))
    codes[:, 0] += states[:, 0]
    codes[:, 1] += states[:, 1]
    return codes, states


def partitioned(codes):
    """Cuts half-way between the modes, and histograms as densities."""
    edges = (np.arange(4) + 0.5, np.arange(3) + 0.5, np.array([]))
    densities = []
    for column in codes.T:
        density, bounds = np.histogram(column, bins=100, density=True)
        densities.append(((bounds[1:] + bounds[:-1]) / 2, density))
    return SimpleNamespace(edges=edges, densities=tuple(densities))


def cooccurring(codes, states, partitioning):
    places = [np.digitize(codes[:, d], edges) for d, edges in enumerate(partitioning.edges)]
    counts = np.block([[np.array([[((states[:, i] == j) & (place == a)).sum() for a in range(len(edges) + 1)]
                                  for j in range(size)])
                        for place, edges in zip(places, partitioning.edges, strict=True)]
                       for i, size in enumerate(SIZES)])
    columns = tuple(SimpleNamespace(dimension=d, index=a)
                    for d, edges in enumerate(partitioning.edges) for a in range(len(edges) + 1))
    return SimpleNamespace(counts=counts, values=counts / counts.sum(1, keepdims=True), columns=columns,
                           factors=FACTORS)


class Action:
    """Puts code 1 into its second partition."""

    dimensions = (1,)
    regions = (SimpleNamespace(dimension=1, intervals=((0.5, 1.5),)),)

    def sample(self, n, generator):
        return 1 + 0.05 * torch.randn(n, 1, generator=generator)


class Actions:
    def of(self, factor):
        return [SimpleNamespace(dimensions=(factor,))] * (SIZES[factor] - 1)


CODES, STATES = sampled()
PARTS = partitioned(CODES)
MATRIX = cooccurring(CODES, STATES, PARTS)
IMPORTANCE = np.array([[0.9, 0.0, 0.1], [0.1, 1.0, 0.1], [0.0, 0.0, 0.0]])
WORLD = Squares()
STATE_TENSOR = torch.as_tensor(STATES)
PICTURES = WORLD.render(STATE_TENSOR[:24])
CONFUSION = np.array([[8, 2, 0, 0], [0, 10, 0, 0], [0, 0, 5, 5], [0, 0, 0, 10]])
NAMES = [factor.name for factor in FACTORS]
TABLE = {"one": {"floor hue": 0.5, "shape": 0.75}, "two": {"floor hue": 0.25, "shape": None}}

CASES = {
    "image_grid": lambda: plots.image_grid(PICTURES[:10], columns=4, title="Ten", marked=np.arange(10) == 3,
                                           titles=[f"no {k}" for k in range(10)]),
    "image_grid_5d": lambda: plots.image_grid(PICTURES[:6].reshape(2, 3, 1, 16, 16), row_labels=["a", "b"],
                                              col_labels=["x", "y", "a long one indeed"]),
    "factor_sheet": lambda: plots.factor_sheet(WORLD),
    "factor_sheet_holes": lambda: plots.factor_sheet(Holes()),
    "pairs": lambda: plots.pairs(PICTURES[:3], PICTURES[3:6], captions=["shape", "scale, shape", "hue"]),
    "cluster_grid": lambda: plots.cluster_grid(PICTURES, STATES[:24, 1], SHAPE.values, per_cluster=3),
    "before_after": lambda: plots.before_after(PICTURES[:4], PICTURES[:12].reshape(3, 4, 1, 16, 16), "abc",
                                               factor="shape"),
    "traversal": lambda: plots.traversal(PICTURES[:6].reshape(2, 3, 1, 16, 16), values=np.array([-1, 0.5, 2])),
    "misread": lambda: plots.misread(PICTURES, STATES[:24, 1], (STATES[:24, 1] + 1) % 4, SHAPE.values),
    "misread_none": lambda: plots.misread(PICTURES, STATES[:24, 1], STATES[:24, 1], SHAPE.values),
    "peeks": lambda: plots.peeks(PICTURES[:6].reshape(2, 3, 1, 16, 16), [10, 1000], originals=PICTURES[:3]),
    "combination_pictures": lambda: plots.combination_pictures(
        PICTURES[:6].reshape(2, 3, 1, 16, 16), [[1, 0, 1], [1, 1, 1]], row_labels="ab", col_labels="xyz"),
    "code_densities": lambda: plots.code_densities(PARTS, CODES, STATES, FACTORS),
    "code_densities_bare": lambda: plots.code_densities(PARTS, dimensions=[1]),
    "density_stack": lambda: plots.density_stack({"KDE": PARTS, "other": PARTS}, 1, codes=CODES,
                                                 attributes=STATES[:, 1], factor=SHAPE),
    "density_with_action": lambda: plots.density_with_action(PARTS, 1, Action(), codes=CODES, label="cylinder"),
    "scatter2d": lambda: plots.scatter2d(CODES, STATES[:, 1], SHAPE, edges=PARTS.edges),
    "scatter2d_clusters": lambda: plots.scatter2d(CODES, STATES[:, 2], dimensions=(2, 0)),
    "partition_comparison": lambda: plots.partition_comparison(
        CODES[:, 1], STATES[:, 1], {"KDE": PARTS.edges[1], "k-means": [0.5]}, SHAPE,
        scores={"KDE": "purity 1.00, NMI 1.00"}, dimension=1),
    "hinton": lambda: plots.hinton(IMPORTANCE, col_labels=NAMES, title="Ada-GVAE"),
    "hintons": lambda: plots.hintons({"one": IMPORTANCE, "two": IMPORTANCE.T}, col_labels=NAMES),
    "cooccurrence": lambda: plots.cooccurrence(MATRIX, threshold=0.9),
    "hinton_beside_cooccurrence": lambda: plots.hinton_beside_cooccurrence(IMPORTANCE, MATRIX, title="Both"),
    "confusion": lambda: plots.confusion(CONFUSION, SHAPE.values, title="shape"),
    "confusions": lambda: plots.confusions({"shape": (CONFUSION, SHAPE.values),
                                            "many": (np.eye(20), [str(k) for k in range(20)])}),
    "sensitivity": lambda: plots.sensitivity([[1, 2], [np.nan, 4]], rows=["a", "b"], columns=[0.1, 0.2], digits=0,
                                             row_name="rule", column_name="size", value_name="cuts", chosen=(1, 1)),
    "score_panel": lambda: plots.score_panel(TABLE, note="A note."),
    "score_panel_beside": lambda: plots.score_panel(pd.DataFrame(TABLE).T, beside=TABLE, beside_name="paper"),
    "score_panel_long": lambda: plots.score_panel({"partitions (AS), one dimension": dict.fromkeys(
        ["object colour", "shape", "size", "camera height", "background colour", "horizontal axis", "all"], 0.5)}),
    "combinations": lambda: plots.combinations([[1, 0], [1, 1]], [[1, 1], [0, 1]], row_labels=["cube", "ball"],
                                               col_labels=["red", "green"]),
    "ownership": lambda: plots.ownership(Actions(), FACTORS, 3),
    "bound_curve": lambda: plots.bound_curve(
        [0, 1, 2], {"explicit": [1, 1, 1], "implicit": [1, 0.5, np.nan]}, xlabel="noise", ylabel="macro-F1",
        bands={"implicit": ([0.9, 0.4, np.nan], [1, 0.6, np.nan])}, reference={"chance": 0.25}, ylim=(0, 1)),
    "training_curve": lambda: plots.training_curve([{"step": k, "loss": 100 - k, "kl": k} for k in range(100)]),
    "f1_bars": lambda: plots.f1_bars(NAMES, {"ours": [0.9, None, 0.05], "paper": [0.73, 0.96, 0.95],
                                             "oracle on real images": [1, 1, 1]}, spread={"ours": [0.1, 0, 0.02]}),
    "dots": lambda: plots.dots({"a": [0.5, 0.7], "b": [0.6]}, xlabel="macro-F1", reference={"paper": 0.65}),
    "agreement": lambda: plots.agreement({"shapes": ([0.2, 0.9], [0.3, 1.0]), "none": ([], [])}, xlabel="DCI",
                                         ylabel="uniqueness", marked={"this one": (0.5, 0.4)}),
    "sizes": lambda: plots.sizes([3, 1200], ["cube", "ball"]),
    "speed_bars": lambda: plots.speed_bars(["ours", "theirs"], [0.01, 2.0], baseline="theirs"),
}


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=50)
    return buffer.getvalue()


def luminance(colour):
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", CASES)
def test_every_figure(name):
    """A Figure with alt text; dark differs from light and is undone exactly; legible; nothing is left behind."""
    before = {key: matplotlib.rcParams[key] for key in plots.STYLE}
    figure = CASES[name]()
    assert isinstance(figure, Figure)
    assert {key: matplotlib.rcParams[key] for key in plots.STYLE} == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
    assert len(figure.alt) > 20 and figure.alt.endswith(".") and "nan" not in figure.alt.lower().split()
    assert 1 < figure.get_figwidth() <= (10 if figure.wide else plots.WIDTH + 0.1) and figure.get_figheight() < 8

    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # as chapter.show does: a constrained layout moves a little at every drawing
    light = pixels(figure)
    assert (np.frombuffer(light, np.uint8)[3::4] == 0).mean() > 0.02, "the background is transparent"
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert all(text.get_fontsize() >= 9 for text in texts)
    own_texts = {id(text): luminance(text.get_color()) for text in texts}
    assert plots.dark(figure) is figure
    if texts:
        assert pixels(figure) != light
    for text in texts:  # what was dark on light is light on dark, and the other way round
        assert (luminance(text.get_color()) > 0.18) == (own_texts[id(text)] < 0.5), text
    dark = pixels(figure)
    assert pixels(plots.dark(figure)) == dark
    assert pixels(plots.light(figure)) == light


def test_every_plot_function_is_tried():
    made = {name for name, function in vars(plots).items()
            if hasattr(function, "__wrapped__") and function.__module__ == plots.__name__ and name[0] != "_"}
    assert made <= {name for case in CASES for name in (case, case.rsplit("_", 1)[0])}


def test_series_colours_are_told_apart_under_colour_deficiencies_and_stand_out_from_the_page():
    """Machado et al. (2009), severity 1; distances in CIELAB, contrast as WCAG 2 defines it (3:1 for graphics)."""
    views = [np.eye(3),
             np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                       [-0.011820, 0.042940, 0.968881]]),
             np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                       [-0.003882, -0.048116, 1.051998]])]
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])

    def lab(linear):
        xyz = to_xyz @ np.clip(linear, 0, 1) / np.array([0.9505, 1, 1.089])
        f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
        return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])

    for series, page in ((plots.SERIES, "#ffffff"), (plots.SERIES_DARK, "#121212")):
        for colour in series:
            high, low = sorted((luminance(colour), luminance(page)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 3
        rgb = [np.array(to_rgb(colour)) for colour in series]
        linear = [np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in rgb]
        for view in views:
            seen = [lab(view @ c) for c in linear]
            for i, j in itertools.combinations(range(len(series)), 2):
                assert np.linalg.norm(seen[i] - seen[j]) >= (15 if j < 4 else 10), (series[i], series[j])


def test_alt_text_gives_the_data():
    assert "explain 100% of floor hue" in CASES["code_densities"]().alt
    assert "code 2: 1 partition." in CASES["code_densities"]().alt
    assert "floor hue 1.00 in code 0, shape 1.00 in code 1" in CASES["cooccurrence"]().alt
    assert "floor hue by code 0 (0.90 of its importance)" in CASES["hinton"]().alt
    assert "0.82 on the diagonal; most often sphere read as capsule (0.50)" in CASES["confusion"]().alt
    assert "the data holds 3; the implicit clusters hold 3, 1 of them absent" in CASES["combinations"]().alt
    assert "ours: floor hue 0.90, shape –, scale 0.05" in CASES["f1_bars"]().alt
    assert "Scores, in brackets paper. one: floor hue 0.50 (0.50)" in CASES["score_panel_beside"]().alt
    assert "chosen: b and 0.2, 4" in CASES["sensitivity"]().alt
    assert "a 0.6 ± 0.14 over 2; b 0.6" in CASES["dots"]().alt
    assert "implicit from 1 at 0 to 0.5 at 1" in CASES["bound_curve"]().alt
    assert "ours 10 ms (200 times theirs's speed)" in CASES["speed_bars"]().alt
    assert "shape: 3 of 4 attributes on code 1" in CASES["ownership"]().alt
    assert "None of 24" in CASES["misread_none"]().alt
    assert "Not in the data: 1 of 12" in CASES["factor_sheet_holes"]().alt
    assert "absent from the data: 1 (a with y)" in CASES["combination_pictures"]().alt


def test_hinton_areas_are_proportional_to_importance():
    figure = plots.hinton(np.array([[1.0, 0.25], [0.0, 0.5]]))
    areas = sorted(patch.get_width() * patch.get_height() for patch in figure.axes[0].patches
                   if isinstance(patch, Rectangle))
    np.testing.assert_allclose(np.array(areas) / areas[-1], [0, 0.25, 0.5, 1], atol=1e-12)


def test_the_cuts_are_drawn_where_they_are():
    axes = CASES["code_densities"]().axes[0]
    drawn = {line.get_xdata()[0] for line in axes.lines if len(line.get_xdata()) == 2}
    assert drawn == {0.5, 1.5, 2.5, 3.5}


def test_a_given_information_matrix_is_used():
    information = np.array([[0, 0.7, 0], [0, 0, 0.05], [0, 0, 0]])
    alt = plots.code_densities(PARTS, CODES, STATES, FACTORS, information=information).alt
    assert "code 0: 5 partitions that explain 70% of shape; code 1: 4 partitions; " in alt


def test_best_scores_are_bold():
    figure = plots.score_panel({"one": {"x": 0.504, "y": 0.2}, "two": {"x": 0.501, "y": 0.3}})
    bold = sorted(text.get_text() for text in figure.axes[0].texts if text.get_fontweight() == "bold")
    assert bold == ["0.30", "0.50", "0.50"]  # equal as printed: both


def test_hues_have_their_own_colour():
    red, *_ = (np.array(to_rgb(colour)) for colour in plots.attribute_colours(HUE))
    assert red.argmax() == 0 and red[1] == red[2]
    assert plots.attribute_colours(SHAPE) == list(plots.SERIES[:4])
    assert len(set(plots.attribute_colours(Factor("angle", tuple(range(40)), "ordered")))) == 40


def test_attributes_never_asked_for_are_told_from_those_never_recognised():
    alt = plots.confusion([[0, 0], [4, 0]], ["a", "b"]).alt
    assert "most often b read as a (1.00); 1 of 2 never asked for" in alt


def test_names_with_dollar_signs_are_text():
    figure = plots.sizes([1, 2], ["$a", "$\\frac{"])
    pixels(figure)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 4, 16, 16), (1, 2, 3, 4, 16, 16)])
def test_pictures_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(InputError, match="cannot be drawn: expected"):
        plots.image_grid(np.zeros(shape))


def test_uint8_and_float_pictures_look_the_same():
    stored = (PICTURES[:2] * 255).round().to(torch.uint8)
    assert pixels(plots.image_grid(stored)) == pixels(plots.image_grid(PICTURES[:2]))


def test_edges_one_observation_one_class_a_constant_code():
    parts = SimpleNamespace(edges=(np.array([]),), densities=((np.linspace(-1, 1, 50), np.ones(50)),))
    one = (Factor("only", ("a",)),)
    assert "1 partition." in plots.code_densities(parts, np.zeros((1, 1)), np.zeros((1, 1), int), one).alt
    pixels(plots.confusion([[3]], ["a"]))
    pixels(plots.cluster_grid(PICTURES[:0], np.zeros(0, int), ["a", "b"]))
    pixels(plots.scatter2d(np.zeros((1, 2)), [0]))
    pixels(plots.training_curve([{"step": 1, "loss": 2.0}]))
    pixels(plots.f1_bars(["a"], {"ours": [None]}))


def test_an_unlabelled_world_has_no_factor_sheet():
    world = Squares()
    world.factors = ()
    with pytest.raises(InputError, match="no factor labels"):
        plots.factor_sheet(world)
