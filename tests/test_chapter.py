"""What every chapter does: parameters checked, models found or trained once, claims, records, what is displayed."""
from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import threading

import IPython.display
import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import Image

from inc_lib import chapter, models, plots, training, worlds
from inc_lib.errors import InputError
from inc_lib.files import ROOT
from inc_lib.worlds.arrays import ArrayWorld
from inc_lib.worlds.base import Factor, World


class Bars(World):
    """Grey bars: brightness by one factor, height by the other."""

    name, source, channels = "bars", "procedural twin", 1
    factors = (Factor("brightness", (0.5, 1.0), "ordered"), Factor("height", ("low", "middle", "high")))

    def __init__(self, image_size=32):
        self.image_size = image_size

    def render(self, states):
        rows = torch.arange(self.image_size)[None, :, None] < 8 * (states[:, 1] + 1)[:, None, None]
        return (0.5 * (states[:, 0] + 1)[:, None, None] * rows).unsqueeze(1).expand(-1, 1, -1, self.image_size)


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A project of its own, and `bars` as the world of every name."""
    for name in ("INC_RUNS", "INC_RESULTS", "INC_CHECKPOINTS"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(worlds, "load", lambda name, *, image_size, device: Bars(image_size))
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def begin(**parameters):
    return chapter.start(chapter="99_test", **{"dataset": "bars", "image_size": 32, "train_steps": 2,
                                               "n_observations": 40, "device": "cpu"} | parameters)


def release(tmp_path, *, world="bars", image_size=32, channels=1, seed=0):
    """Put an untrained Ada-GVAE where a released one would lie."""
    path = training.release_path("bars", 32, "ada-gvae", seed)
    model = models.build("ada-gvae", channels=channels, image_size=image_size, seed=5)
    models.save(model, path, {"world": world, "steps": 7})
    return path


@pytest.fixture
def shown(monkeypatch):
    """Pretend to be in IPython and collect what is displayed."""
    bundles = []
    monkeypatch.setattr(chapter, "_shell", object)
    monkeypatch.setattr(IPython.display, "display",
                        lambda data, **options: bundles.append((data, options.get("metadata"))))
    return bundles


# --- start ---

def test_start_says_what_runs(house, capsys):
    c = begin(seed=3)
    told = capsys.readouterr().out
    assert "bars (procedural twin): 6 states" in told and "seed 3" in told and "no results" in told
    assert (c.world.name, c.device, c.seed, c.n_observations) == ("bars", "cpu", 3, 40)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"trainsteps": 3}, "did you mean 'train_steps'"),
    ({"train_steps": 0}, "train_steps = 0 .* at least 1"),
    ({"train_steps": 2.5}, "whole number"),
    ({"seed": True}, "whole number"),
    ({"seed": -1}, "at least 0"),
    ({"dataset": 7}, "dataset = 7 .* text"),
    ({"profile": ""}, "profile = '' .* text"),
    ({"model": "ada-gave"}, "did you mean 'ada-gvae'"),
    ({"device": "gpu"}, "'auto', 'cpu' or 'cuda'"),
    ({"checkpoint": "nowhere.safetensors"}, "nowhere.safetensors does not exist"),
])
def test_wrong_parameters_are_one_sentence(house, wrong, message):
    with pytest.raises(InputError, match=message):
        begin(**wrong)


def test_threads_follow_the_environment(house, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    begin()
    assert torch.get_num_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    begin()
    assert torch.get_num_threads() == min(chapter._cores(), 8)


# --- models ---

def test_a_released_checkpoint_is_loaded_and_named(house):
    path = release(house)
    c = begin(profile="cpu")
    assert c.released is None
    assert c.model.config["channels"] == 1
    assert c.released and c.strict
    c.record(x=1)
    recorded = json.loads(c.record_path.read_text())
    assert recorded["provenance"]["checkpoint"] == path.name
    assert len(recorded["provenance"]["checkpoint_sha256"]) == 64
    assert recorded["provenance"]["train_steps"] == 7


def test_without_one_a_model_is_trained_once(house, monkeypatch):
    c = begin()
    first = c.model.encode(c.world.render(torch.tensor([[0, 0], [1, 2]])))
    assert c.released is False and not c.strict
    monkeypatch.setattr(training.Run, "step", lambda *_: pytest.fail("trained again"))
    again = begin()
    torch.testing.assert_close(again.model.encode(again.world.render(torch.tensor([[0, 0], [1, 2]]))), first)


def test_other_settings_seeds_and_steps_have_their_own_folder(house):
    c = begin()
    c.train()
    c.train(seed=1)
    c.train(steps=3)
    c.train(learning_rate=0.001)
    assert len(list((house / "INC_RUNS" / "models").iterdir())) == 4


def test_train_anew_calls_back_at_every_step(house):
    seen = []
    c = begin()
    for _ in range(2):
        c.train(keep=False, every=1, on_step=lambda step, model: seen.append(step))
    assert seen == [1, 2, 1, 2]
    assert not (house / "INC_RUNS").exists()


def test_train_is_asked_for(house):
    release(house)
    c = begin(checkpoint="train")
    assert c.model.provenance["steps"] == 2 and c.released is False


def test_a_checkpoint_by_path_is_for_the_chapter_s_model_only(house):
    path = release(house)
    c = begin(checkpoint=str(path), profile="cpu")
    assert c.model.provenance["steps"] == 7 and c.released is False
    assert c.load_or_train("beta-tcvae").name == "beta-tcvae"


def test_a_release_of_another_kind_is_found_by_its_name(house):
    path = release(house)
    assert begin().release("ada-gvae-young") is None
    for part in (path, path.with_suffix(".json")):
        part.rename(part.with_name(part.name.replace("ada-gvae", "ada-gvae-young")))
    assert begin().release("ada-gvae-young").provenance["steps"] == 7
    assert begin(checkpoint="train").release("ada-gvae-young") is None  # the run brings its own


@pytest.mark.parametrize(("other", "message"), [
    ({"world": "dots"}, "trained on dots at 32x32, 1 channel, but the chapter runs on bars at 32x32, 1 channel"),
    ({"image_size": 64}, "bars at 64x64"),
    ({"channels": 3}, "3 channels"),
])
def test_a_checkpoint_of_another_world_is_refused(house, other, message):
    release(house, **other)
    with pytest.raises(InputError, match=message):
        _ = begin().model


def test_a_second_run_waits_for_the_first(house):
    c, order = begin(), []
    inside, go = threading.Event(), threading.Event()

    def first():
        with c._folder("stem", {}):
            inside.set()
            go.wait(30)
            order.append("first")

    def second():
        with c._folder("stem", {}):
            order.append("second")

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(30)
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert order == ["first", "second"]


def test_changed_data_are_not_mistaken_for_the_old(tmp_path):
    path = tmp_path / "mine.npz"
    path.write_bytes(b"1")
    before = chapter._fingerprint(str(path))
    path.write_bytes(b"12")
    assert chapter._fingerprint(str(path)) != before
    assert chapter._fingerprint("shapes3d-twin") == ["shapes3d-twin"]
    assert len(chapter._fingerprint(str(tmp_path))) == 2


def test_an_oracle_needs_labels(house):
    c = begin()
    c.world.factors = ()
    with pytest.raises(InputError, match="no factor labels"):
        _ = c.oracle


# --- data ---

def test_a_sample_is_the_same_in_any_order(house):
    c = begin()
    observations, states, codes = c.encode_sample()
    c.generator_for("something else")
    torch.rand(3)
    again = c.encode_sample(keep=10)
    assert observations.shape == (40, 1, 32, 32) and again[0].shape == (10, 1, 32, 32)
    assert codes.shape == (40, c.model.n_codes) and codes.dtype == torch.float32 and states.dtype == torch.int64
    assert torch.equal(states, again[1]) and torch.equal(codes, again[2])
    assert torch.equal(observations[:10], again[0])
    assert torch.equal(observations, c.world.render(states))
    assert not torch.equal(c.encode_sample(name="another")[1], states)


def test_a_sample_larger_than_a_chunk(house, monkeypatch):
    monkeypatch.setattr(chapter, "CHUNK", 7)
    observations, states, codes = begin().encode_sample(20, keep=9)
    assert (len(observations), len(states), len(codes)) == (9, 20, 20)
    assert torch.equal(observations, Bars().render(states[:9]))


def test_a_sample_of_nothing_is_refused(house):
    with pytest.raises(InputError, match="n = 0"):
        begin().encode_sample(0)


# --- claims and numbers ---

@pytest.mark.parametrize(("profile", "released", "source", "options", "raised"), [
    ("cpu", True, "procedural twin", {}, True),
    ("cpu", None, "procedural twin", {}, True),              # a chapter without a model
    ("cpu", False, "procedural twin", {}, False),            # trained here
    ("cpu", True, "yours", {}, False),
    ("smoke", True, "procedural twin", {}, False),
    ("smoke", True, "procedural twin", {"strict_smoke": True}, True),
    ("smoke", False, "procedural twin", {"strict_smoke": True}, False),
    ("smoke", False, "yours", {"always": True}, True),       # a theorem
])
def test_when_a_broken_claim_raises(house, capsys, profile, released, source, options, raised):
    c = begin(profile=profile)
    c.released, c.world.source = released, source
    c.claim("1 < 2", np.bool_(True))
    if raised:
        with pytest.raises(chapter.BrokenClaim, match="2 < 1"):
            c.claim("2 < 1", False, **options)
    else:
        c.claim("2 < 1", False, **options)
    told = capsys.readouterr().out
    assert "holds: 1 < 2" in told and "does not hold: 2 < 1" in told
    assert c.claims == [{"text": "1 < 2", "holds": True}, {"text": "2 < 1", "holds": False}]


@pytest.mark.parametrize(("home", "raised"), [
    (("bars", "ada-gvae"), True),
    (("bars", "comp-wae"), False),        # another model
    (("other-bars", "ada-gvae"), False),  # another world
])
def test_a_claim_about_one_network_is_told_of_others(house, capsys, home, raised):
    c = begin(profile="cpu", home=home)
    c.released, c.world.source = True, "procedural twin"
    if raised:
        with pytest.raises(chapter.BrokenClaim, match="2 < 1"):
            c.claim("2 < 1", False)
    else:
        c.claim("2 < 1", False)
    assert "does not hold: 2 < 1" in capsys.readouterr().out
    with pytest.raises(chapter.BrokenClaim, match="theorem"):
        c.claim("a theorem", False, always=True)


def test_records_merge_within_a_run_and_start_anew_with_the_next(house):
    c = begin(profile="cpu", seed=2)
    c.record(f1_shape=np.float32(0.5), n=torch.tensor(3), missing=None)
    c.record(bound_holds=True)
    c.claim("later", True)
    path = house / "INC_RESULTS" / "cpu" / "bars" / "ada-gvae" / "s2" / "99_test.json"
    assert path == c.record_path
    recorded = json.loads(path.read_text())
    assert recorded["numbers"] == {"f1_shape": 0.5, "n": 3, "missing": None, "bound_holds": 1}
    assert recorded["claims"] == [{"text": "later", "holds": True}]
    assert recorded["seed"] == 2 and recorded["dataset"] == "bars"
    assert recorded["provenance"].keys() >= {"device", "commit", "date", "seconds", "peak_memory_gb", "world_source",
                                             "checkpoint", "checkpoint_sha256", "train_steps"}
    begin(profile="cpu", seed=2).record(other=1)
    assert json.loads(path.read_text())["numbers"] == {"other": 1}
    assert [file.name for file in path.parent.iterdir()] == ["99_test.json"]


@pytest.mark.parametrize(("value", "message"), [
    (float("nan"), "'x' is NaN"), (np.inf, "'x' is infinite"), (torch.tensor(float("nan")), "NaN"),
    ("0.5", "of type str"), ([0.5], "of type list"), (np.zeros(2), "of type ndarray"),
])
def test_only_single_finite_numbers_are_recorded(house, value, message):
    c = begin()
    with pytest.raises(InputError, match=message):
        c.record(x=value)
    assert not (house / "INC_RESULTS").exists()


def test_a_world_s_name_cannot_leave_the_results_folder(house):
    c = begin()
    c.world.name = "../my images"
    assert c.record_path.parent.parent.parent.name == ".._my_images"


@pytest.mark.parametrize(("value", "digits", "line"), [
    (0.98765, 2, "0.99"), (-0.001, 2, "0.00"), (3, 2, "3"), (np.int64(3), 1, "3"), (True, 2, "True"),
    ("abc", 2, "abc"), ([0.126, 2], 2, "[0.13, 2]"), (np.array([0.5, 1.0]), 1, "[0.5, 1.0]"), (None, 2, "None"),
    (torch.tensor(0.5), 1, "0.5"), (float("nan"), 2, "nan"),
])
def test_contract_lines_are_rounded(house, capsys, value, digits, line):
    c = begin()
    capsys.readouterr()
    c.contract("x", value, digits)
    assert capsys.readouterr().out == f"contract: x = {line}\n"


def test_glue_is_what_myst_nb_reads_and_shows_nothing(house, shown):
    c = begin()
    shown.clear()
    c.glue("f1", 0.9876, ".2f")
    (data, metadata), = shown
    assert data == {"application/papermill.record/text/plain": "'0.99'"}
    assert metadata == {"scrapbook": {"name": "f1", "mime_prefix": "application/papermill.record/"}}


@pytest.mark.parametrize(("value", "fmt", "read"), [
    (6000, ",", "6,000"), (0.5, ".2f", "0.50"), ("it's 1, 2", "", "it's 1, 2"), (float("nan"), ".2f", "–")])
def test_a_page_shows_a_glued_value_as_it_was_formatted(house, shown, value, fmt, read):
    from myst_nb.core.variables import format_plain_text

    c = begin()
    shown.clear()
    c.glue("x", value, fmt)
    (data, _), = shown
    assert format_plain_text(data["application/papermill.record/text/plain"], "s") == read


def test_glue_outside_of_a_notebook_is_silent(house, capsys):
    c = begin()
    capsys.readouterr()
    c.glue("f1", 0.9876, ".2f")
    assert capsys.readouterr().out == ""


# --- what is displayed ---

def pictures_in(markup):
    sources = re.findall(r'<img class="(only-\w+)"[^>]*src="data:image/\w+;base64,([^"]+)"', markup)
    return {theme: Image.open(io.BytesIO(base64.b64decode(data))) for theme, data in sources}


def test_show_brings_a_light_and_a_dark_picture(shown):
    figure = plots.sizes([3, 5], ["a <b>", "c"])
    chapter.show(figure, "Five is *more* than `three` & $2 < 3$.", name="sizes")
    (data, _), = shown
    markup = data["text/html"]
    pictures = pictures_in(markup)
    light, dark = pictures["only-light"].convert("RGBA"), pictures["only-dark"].convert("RGBA")
    assert light.size == dark.size and light.tobytes() != dark.tobytes()
    assert light.getpixel((light.width - 1, 0))[3] == 0
    assert f'width="{light.width // 2}"' in markup or f'width="{round(light.width / 2)}"' in markup
    assert markup.count('alt="Observations per cluster: a &lt;b&gt; 3, c 5."') == 2
    assert '<img class="only-dark" style="display:none"' in markup
    assert markup.startswith('<figure class="inc" id="fig-sizes">')
    assert ("<figcaption>Five is <em>more</em> than <code>three</code> &amp; "
            '<span class="math notranslate nohighlight">\\(2 &lt; 3\\)</span>.</figcaption>') in markup
    assert data["text/plain"].startswith("Figure: Five is")
    assert {to_hex(text.get_color()) for text in figure.axes[0].texts} == {plots.INK}, "the figure is light again"


def test_dense_figures_scroll(shown):
    figure = plots.sizes([1], ["a"])
    figure.wide = True
    chapter.show(figure, "Dense.")
    assert '<figure class="inc inc-wide"><div class="inc-pictures" tabindex="0">' in shown[0][0]["text/html"]


def test_a_figure_without_alt_text_is_refused():
    with pytest.raises(InputError, match="alt text"):
        chapter.show(plots.Figure(), "No.")


def test_tables(shown, capsys):
    frame = pd.DataFrame({"ours": [0.912, None, 0.5], "paper": [0.73, 0.96, 0.5], "n": [10_000, 2, 3],
                          "note": ["a<b", "`x`", "*y*"]}, index=["floor hue", "shape", "scale"])
    chapter.table(frame, "Scores.", bold="max", formats={"paper": ".1f"})
    markup = shown[0][0]["text/html"]
    assert re.findall(r'<td class="inc-best">([^<]*)', markup) == ["0.91", "0.50", "0.5"]  # no counts, ties both
    assert "<td>–</td>" in markup and "<td>10,000</td>" in markup and "a&lt;b" in markup and "<code>x</code>" in markup
    assert markup.count('scope="row"') == 3 and "<figcaption>Scores.</figcaption>" in markup
    assert "floor hue  0.91" in shown[0][0]["text/plain"]
    chapter.table(pd.DataFrame(), "Nothing.")
    with pytest.raises(InputError, match="'max', 'min' or None"):
        chapter.table(frame, "Scores.", bold="best")


@pytest.mark.parametrize(("text", "markup"), [
    ("a_b * c * d", "a_b * c * d"), ("2 * 3 and 4*5*6", "2 * 3 and 4*5*6"),
    ("**so** it *is*", "<strong>so</strong> it <em>is</em>"),
    ("costs $5 or $6", "costs $5 or $6"), ("`a*b*c`", "<code>a*b*c</code>"), ("<i>", "&lt;i&gt;"), ("", ""),
])
def test_inline_markup(text, markup):
    assert chapter._inline(text) == markup


def test_outside_of_a_notebook_everything_is_plain_text(house, capsys):
    c = begin()
    c.say("We saw **2**.")
    c.on_your_own_data("my images.npz")
    c.show(plots.sizes([1], ["a"]), "One.")
    told = capsys.readouterr().out
    assert "We saw **2**." in told and "Figure: One. [Observations per cluster: a 1.]" in told
    command = "papermill notebooks/99_test.ipynb mine.ipynb -p dataset 'my images.npz' -f notebooks/profiles/cpu.yaml"
    assert command in told


def test_progress_in_a_kernel_is_one_line_that_ends_the_same(monkeypatch):
    """In a kernel: updated in place, passed on to the kernel's own stderr, nothing left in the notebook's."""
    states, read_end, write_end = [], *os.pipe()

    class Handle:
        def update(self, data, **options):
            states.append(data["text/plain"])

    class KernelStream(io.StringIO):
        def fileno(self):
            return write_end

    stream = KernelStream()
    monkeypatch.setattr(chapter, "_shell", lambda: type("Shell", (), {"kernel": None})())
    monkeypatch.setattr(IPython.display, "display", lambda data, **options: Handle())
    monkeypatch.setattr(sys, "stderr", stream)
    with chapter._heartbeat("ada-gvae learns"):
        print("step 1 of 2", file=sys.stderr)
        print("step 2 of 2", file=sys.stderr)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as log:
        assert log.read() == b"\rada-gvae learns: step 1 of 2\n\rada-gvae learns: step 2 of 2\n"
    assert states == ["ada-gvae learns (step 1 of 2)", "ada-gvae learns (step 2 of 2)", "ada-gvae learns"]
    assert stream.getvalue() == ""


def test_an_input_error_is_one_red_sentence_in_ipython():
    assert InputError("no such world")._render_traceback_() == ["\x1b[31merror: no such world\x1b[0m"]
    assert chapter.BrokenClaim("not so: x")._render_traceback_() == ["\x1b[31mnot so: x\x1b[0m"]


def test_papermill_sees_a_failed_cell_and_one_sentence(tmp_path):
    """A wrong dataset in a real kernel: exit status 1, no traceback of ours, the sentence in the notebook."""
    cells = [nbformat.v4.new_code_cell('dataset: str = "shapes3d-twin"', metadata={"tags": ["parameters"]}),
             nbformat.v4.new_code_cell('from inc_lib import chapter\n'
                                       'chapter.start(chapter="99_test", dataset=dataset)')]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    source, output = tmp_path / "tiny.ipynb", tmp_path / "out.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), source)
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(source), str(output),
               "-p", "dataset", "shapes3d-twn"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "error: unknown world 'shapes3d-twn': did you mean 'shapes3d-twin'?" in done.stderr
    failed = [result for cell in nbformat.read(output, 4).cells if cell.cell_type == "code"
              for result in cell.outputs if result.output_type == "error"]
    assert len(failed) == 1 and len(failed[0].traceback) == 1 and failed[0].ename == "InputError"


def stored(n: int, name: str = "mine", source: str = "yours"):
    images = np.zeros((n, 32, 32, 1), np.uint8)
    images[:, :, :, 0] += np.arange(n, dtype=np.uint8)[:, None, None]
    return ArrayWorld(name=name, source=source, images=images, labels=np.arange(n)[:, None],
                      factors=[Factor("place", tuple(range(n)))], image_size=32)


def test_no_stored_observation_is_encoded_twice(house):
    c = begin(model="beta-tcvae")
    c.world = stored(30)
    observations, states, codes = c.encode_sample()
    assert len(observations) == len(codes) == 30 and sorted(states[:, 0].tolist()) == list(range(30))
    assert torch.equal((observations[:, 0, 0, 0] * 255).round().long(), states[:, 0])
    assert len(c.encode_sample(7)[1].unique()) == 7


def test_a_released_checkpoint_of_a_namesake_is_not_taken(house):
    c = begin(model="beta-tcvae")
    c.world = stored(30, name="digits", source="published")
    path = training.release_path("digits", 32, "beta-tcvae", 0)
    models.save(models.build("beta-tcvae", channels=1, image_size=32), path,
                {"world": "digits", "source": "published"})
    assert c._checkpoint() == path
    c.world = stored(30, name="digits")
    assert c._checkpoint() is None
