"""The tables of the results page: right numbers, beside the right figures, under the right names."""
from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from inc_lib import tables
from inc_lib.errors import InputError
from inc_lib.files import ROOT

SLUGS = [tables.slug(name) for name in tables.FACTORS]


def write(folder: Path, chapter: str, numbers: dict, *, profile: str = "cpu", dataset: str = "shapes3d-twin",
          model: str = "ada-gvae", seed: int = 0, provenance: dict | None = None) -> Path:
    path = folder / profile / dataset.replace(" ", "_") / model / f"s{seed}" / f"{chapter}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"chapter": chapter, "profile": profile, "dataset": dataset, "model": model,
                                "seed": seed, "numbers": numbers, "provenance": provenance or {}}))
    return path


def cells(markdown: str, *labels: str) -> list[str]:
    """The cells of the row that starts with these labels."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (row,) = [row for row in rows if tuple(row[:len(labels)]) == labels]
    return row[len(labels):]


@pytest.fixture
def three_seeds(tmp_path: Path) -> Path:
    for seed, score in enumerate((0.70, 0.80, 0.90)):
        numbers = {f"f1_{s}": score for s in SLUGS} | {f"oracle_f1_{s}": 0.99 for s in SLUGS}
        write(tmp_path, "04_e1_realism", numbers, seed=seed,
              provenance={"device": "cpu", "commit": "0123456789ab+", "date": "2026-11-22T20:00:00"})
    return tmp_path


def test_slug_is_the_key_of_a_factor():
    assert SLUGS == ["floor_hue", "wall_hue", "object_hue", "scale", "shape", "orientation"]
    assert tables.slug("  Object (main) x-Position ") == "object_main_x_position"


def test_mean_and_spread_over_seeds_stand_beside_the_paper(three_seeds):
    text = tables.results_markdown(three_seeds)
    spread = statistics.stdev((0.70, 0.80, 0.90))
    assert cells(text, "object hue") == ["0.46", f"0.80 ± {spread:.2f}", "0.99 ± 0.00"]
    assert cells(text, "*mean over factors*")[0] == f"{statistics.fmean(tables.PAPER_E1):.2f}"
    assert "3 seeds" in text and "and seeds 1, 2" in text


def test_the_paper_s_figures_are_those_of_the_paper():
    assert tables.PAPER_E1 == (0.73, 0.64, 0.46, 0.95, 0.96, 0.98)
    assert tables.PAPER_E4["encoded_mda"] == tables.PAPER_E1  # E1 is that cell of E4
    assert tables.PAPER_E4["AS_single"] == (0.36, 0.44, 0.20, 0.74, 0.91, 0.81)
    assert tables.PAPER_E3["kmeans"]["purity"] == (None, None, None, 0.87, 0.75, 1.0)
    assert tables.PAPER_E3["kmeans"]["nmi"] == (None, None, None, 0.92, 0.80, 1.0)


def test_a_twin_is_called_a_twin_and_the_paper_s_set_published(three_seeds):
    write(three_seeds, "04_e1_realism", {"f1_shape": 0.5}, dataset="shapes3d",
          provenance={"world_source": "published"})
    text = tables.results_markdown(three_seeds)
    headers = [line for line in text.splitlines() if line.startswith("| factor")]
    assert len(headers) == 2  # one table a data set: a twin never shares the published set's table
    published, twin = headers
    assert "ours, published `shapes3d`" in published and "twin" not in published
    assert "ours, **twin** `shapes3d-twin`" in twin and "paper, published 3DShapes" in twin


def test_other_data_never_stand_beside_the_paper(tmp_path):
    own = {"world_source": "yours"}
    for name in ("shapes3d", "shapes3d-twin", "my shapes"):  # a reader's own file, whatever it is called
        write(tmp_path, "04_e1_realism", {"f1_shape": 0.5}, dataset=name, provenance=own)
    write(tmp_path, "14_your_dataset", {"f1_class": 0.5, "n_partitions": 14}, dataset="fashion-mnist")
    text = tables.results_markdown(tmp_path)
    assert "paper, published" not in text and "**twin**" not in text and "`my shapes`" in text
    assert "0.50" not in tables.short_markdown(tmp_path)
    assert cells(text, "partitions, all dimensions") == ["14"]


def test_smoke_runs_are_not_results(tmp_path):
    assert "Nothing has been measured" in tables.results_markdown(tmp_path / "absent")
    write(tmp_path, "04_e1_realism", {"f1_shape": 0.11}, profile="smoke")
    text = tables.results_markdown(tmp_path)
    assert "0.11" not in text and "measures nothing" in text
    assert "0.11" not in tables.short_markdown(tmp_path)


def test_the_readme_s_tables_hold_the_paper_s_three(tmp_path):
    write(tmp_path, "04_e1_realism", {"f1_shape": 0.5, "oracle_f1_shape": 0.9})
    write(tmp_path, "18_three_worlds", {"n_attributes_object_colour": 6, "n_attributes_object_shape": 6,
                                        "f1_object_colour": 0.25, "oracle_f1_object_colour": 0.75,
                                        "f1_object_shape": 0.35, "oracle_f1_object_shape": 0.45, "uniqueness": 0.5},
          dataset="mpi3d-twin", model="comp-wae")
    write(tmp_path, "18_three_worlds", {"f1_object_colour": 0.99}, dataset="mpi3d-twin", model="beta-tcvae")
    write(tmp_path, "07_e4_sampling", {"e4_encoded_mda_shape": 0.65})
    text = tables.short_markdown(tmp_path)
    assert cells(text, "object colour") == ["1.00", "1.00", "0.25", "0.75"]  # the paper's first, its oracle's, ours
    assert cells(text, "object shape") == ["0.49", "0.98", "0.35", "0.45"]
    assert "paper, published mpi3d" in text and "**twin** `mpi3d-twin`" in text and "0.99" not in text
    assert text.count("papermill notebooks/") == 3 and "Table 3 (E4)" in text and "Table 2" not in text
    assert "-p dataset mpi3d-twin -p model comp-wae" in text


def test_what_goes_past_the_paper_stands_beside_it_in_the_readme(tmp_path):
    numbers = {"n_attributes_orientation": 40, "f1_orientation": 0.1, "oracle_f1_orientation": 0.6,
               "f1_modulo_symmetry_orientation": 0.2, "oracle_f1_modulo_symmetry_orientation": 0.9, "uniqueness": 0.5}
    write(tmp_path, "18_three_worlds", numbers, dataset="dsprites-twin", model="comp-wae")
    write(tmp_path, "16_subspaces", {"subspaces_ours_f1_orientation": 0.4,
                                     "subspaces_ours_f1_modulo_symmetry_orientation": 0.8},
          dataset="dsprites-twin", model="comp-wae")
    text = tables.short_markdown(tmp_path)
    assert cells(text, "orientation")[2:] == ["0.10", "0.60", "0.40"]
    assert cells(text, "orientation, modulo symmetry") == ["–", "–", "0.20", "0.90", "0.80"]
    assert "papermill notebooks/16_subspaces.ipynb" in text and "past the paper, on subspaces, 1 seed" in text


def test_a_column_says_where_its_seeds_were_not_trained_alike(tmp_path):
    for seed, steps in ((0, 92_000), (3, 60_000)):
        write(tmp_path, "04_e1_realism", {"f1_shape": 0.5, "beta_tcvae__f1_shape": 0.4}, seed=seed,
              provenance={"train_steps": steps})
    text = tables.results_markdown(tmp_path)
    assert text.count("Ada-GVAE, cpu, 2 seeds (92,000 and 60,000 steps)") == 1 and "beta-TCVAE, cpu, 2 seeds |" in text
    for seed in (0, 3):
        write(tmp_path, "04_e1_realism", {"f1_shape": 0.5}, seed=seed, provenance={"train_steps": 60_000})
    assert "steps)" not in tables.results_markdown(tmp_path)


def test_the_plates_of_all_networks_are_one_table(tmp_path):
    write(tmp_path, "19_atlas", {"atlas_read_as_ordered_shapes3d_by_beta_tcvae": 0.9, "n_networks": 2,
                                 "atlas_orders_carried_out_shapes3d_by_beta_tcvae": 0.4,
                                 "atlas_uniqueness_shapes3d_by_beta_tcvae": 0.5,
                                 "atlas_read_as_ordered_dsprites_by_comp_wae": None,
                                 "atlas_orders_carried_out_dsprites_by_comp_wae": 0.0,
                                 "atlas_uniqueness_dsprites_by_comp_wae": 0.1},
          dataset="dsprites-twin", model="comp-wae")
    text = tables.results_markdown(tmp_path)
    assert cells(text, "shapes3d, beta-TCVAE") == ["0.90", "0.40", "0.50"]
    assert cells(text, "dsprites, Comp-WAE") == ["–", "0.00", "0.10"]


def test_the_readme_shows_what_was_recorded():
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("<!-- tables: python -m inc_lib.tables results --short -->")[1].split("<!-- end -->")[0]
    assert shown.strip() == tables.short_markdown(ROOT / "results")


def test_a_second_model_in_one_run_has_its_own_column_and_the_run_s_command(tmp_path):
    write(tmp_path, "03_e0_disentanglement", {"dci_disentanglement_boosting": 0.95, "mig": 0.8,
                                              "beta_tcvae__dci_disentanglement_boosting": 0.31})
    text = tables.results_markdown(tmp_path)
    assert cells(text, "DCI disentanglement, by gradient boosting") == ["0.95", "0.31"]
    assert cells(text, "MIG") == ["0.80", "–"]
    assert "beta-TCVAE" in text
    assert text.count("-p model ada-gvae") == 1 and "-p model beta-tcvae" not in text


def test_a_chapter_that_averages_over_seeds_itself_says_over_how_many(tmp_path):
    write(tmp_path, "08_crowds", {"crowds_ratio": 1.2, "crowds_n_seeds": 3}, dataset="grand-central", model="policy")
    assert "policy, cpu, 3 seeds" in tables.results_markdown(tmp_path)


def test_clusters_of_a_set_stand_beside_the_paper_s_only_if_it_is_that_set(tmp_path):
    numbers = {"dls_test_purity": 0.7, "dls_test_nmi": 0.6, "dls_kmeans_purity": 0.5, "dls_n_seeds": 5}
    for dataset in ("pendigits", "digits"):
        write(tmp_path, "12_dls_clustering", numbers, dataset=dataset, model="dls",
              provenance={"world_source": "published"})
    text = tables.results_markdown(tmp_path)
    assert text.count("0.847") == 1 and "best of five by purity" in text and "5 seeds" in text
    assert text.count("| k-means | 0.50 |") == 2


def test_a_set_of_images_stands_beside_its_own_figures(tmp_path):
    numbers = {"dls_test_purity": 0.9, "dls_n_seeds": 3}
    write(tmp_path, "12_dls_clustering", numbers, dataset="mnist", model="dls-bent",
          provenance={"world_source": "published"})
    text = tables.results_markdown(tmp_path)
    assert "0.975" in text and "0.847" not in text and "told of bending (ours), cpu, 3 seeds" in text
    assert "-p objective dls-bent -p n_models 3" in text.replace("\\\n    ", "")


def test_the_clustered_generator_stands_beside_its_paper_on_its_set_only(tmp_path):
    numbers = {"clustered_test_accuracy": 0.7, "clustered_kmeans_accuracy": 0.5, "clustered_n_seeds": 3}
    for dataset in ("mnist", "digits"):
        write(tmp_path, "11_clustered_generator", numbers, dataset=dataset, model="clustered",
              provenance={"world_source": "published"})
    text = tables.results_markdown(tmp_path)
    assert text.count("0.984") == 1 and "3 seeds" in text and text.count("| k-means |  | 0.50 |") == 2


def test_every_table_says_how_to_run_it_again(three_seeds):
    write(three_seeds, "06_e3_partitioning", {"purity_kde_shape": 0.98, "nmi_kde_shape": 0.97,
                                              "purity_kmeans_shape": 0.8, "bound_explicit_f1_shape": 0.99})
    write(three_seeds, "07_e4_sampling", {f"e4_{c}_{s}": 0.5 for c in tables.CONDITIONS for s in SLUGS},
          profile="gpu", provenance={"image_size": 64, "device": "NVIDIA H100"})
    text = tables.results_markdown(three_seeds)
    text = text.replace(" \\\n    ", " ")  # a long command goes on in the next line
    assert ("papermill notebooks/04_e1_realism.ipynb 04_e1_realism.ipynb -f notebooks/profiles/cpu.yaml "
            "-p dataset shapes3d-twin -p model ada-gvae -p seed 0") in text
    assert "profiles/gpu.yaml -p dataset shapes3d-twin -p model ada-gvae -p image_size 64 -p seed 0" in text
    assert "commit 0123456789ab+; date 2026-11-22" in text and "device NVIDIA H100" in text
    assert text.count("```bash") == 4 and text.count("\n| :--") == 5  # purity and NMI share a command
    purity, nmi = text.split("| factor: NMI")
    assert cells(purity, "shape", "k-means") == ["0.75", "0.80"]
    assert cells(nmi, "shape", "k-means") == ["0.80", "–"]


def test_e4_puts_each_variant_under_the_paper_s(tmp_path):
    scores = {condition: 0.1 * (1 + i) for i, condition in enumerate(tables.CONDITIONS)}
    write(tmp_path, "07_e4_sampling", {f"e4_{c}_{s}": score for c, score in scores.items() for s in SLUGS}
          | {f"e4_encoded_mda_normal_{s}": 0.123 for s in SLUGS})  # another comparison's, no factor of its own
    text = tables.results_markdown(tmp_path)
    label = tables.CONDITIONS["AS_single"]
    printed = cells(text, label, "paper, published 3DShapes")
    assert printed == ["0.36", "0.44", "0.20", "0.74", "0.91", "0.81"]
    assert cells(text, label, "ours, **twin** `shapes3d-twin`, Ada-GVAE, cpu, 1 seed") == ["0.30"] * 6


def test_what_one_seed_could_not_measure_is_said(tmp_path):
    write(tmp_path, "04_e1_realism", {"f1_scale": 0.9, "f1_shape": None}, seed=0)
    write(tmp_path, "04_e1_realism", {"f1_scale": None, "f1_shape": None}, seed=1)
    text = tables.results_markdown(tmp_path)
    assert cells(text, "scale")[1] == "0.90 (1 seed)"
    assert cells(text, "shape")[1] == "–"


def test_counts_have_no_decimals_where_seeds_agree(tmp_path):
    for seed, found in enumerate((10, 10)):
        numbers = {"n_actions_floor_hue": found, "n_attributes_floor_hue": 10, "purity_kde_floor_hue": 0.99,
                   "n_actions_scale": 3 + seed, "n_attributes_scale": 8}
        write(tmp_path, "02_atomic_actions", numbers, seed=seed)
    text = tables.results_markdown(tmp_path)
    assert cells(text, "floor hue") == ["10 of 10", "0.99 ± 0.00"]
    assert cells(text, "scale")[0] == "3.5 ± 0.7 of 8"


RECORD = ('{"chapter": "04_e1_realism", "profile": "%s", "dataset": "d", "model": "m", "seed": 0, '
          '"numbers": {%s}}')


@pytest.mark.parametrize("text, said", [
    ("{", "not a record"),
    ('{"numbers": {}}', "not a record"),
    ("[]", "not a record"),
    (RECORD % ("gpu", ""), "a record lies at"),
    (RECORD % ("cpu", '"f1_a": NaN'), "finite"),
    (RECORD % ("cpu", '"f1_a": "0.9"'), "finite"),
    (RECORD % ("cpu", '"f1_a": true'), "finite"),
])
def test_a_broken_record_is_named_in_one_sentence(tmp_path, capsys, text, said):
    path = tmp_path / "cpu" / "d" / "m" / "s0" / "04_e1_realism.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        tables.results_markdown(tmp_path)
    assert str(path) in str(caught.value)
    assert tables.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_command_line_prints_the_tables(three_seeds, capsys):
    assert tables.main([str(three_seeds)]) == 0
    long = capsys.readouterr().out
    assert tables.main([str(three_seeds), "--short"]) == 0
    short = capsys.readouterr().out
    assert "## E1" in long and "papermill" in long and "**Table 1 (E1)**" in short and "papermill" in short
