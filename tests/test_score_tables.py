"""Means and deviations as text, by hand."""

import re

import pytest

from inc_lib.errors import InputError
from inc_lib.files import ROOT
from inc_lib.score_tables import score_table, spread


def test_spread_is_the_mean_and_the_deviation_of_a_sample():
    assert spread([0.5, 0.7]) == "0.600 ± 0.141"
    assert spread([0.5, 0.7], 1) == "0.6 ± 0.1"
    assert spread([0.5]) == "0.500" == spread([0.5, 0.5]) == spread([0.5, 0.5004])
    with pytest.raises(InputError, match="at least one"):
        spread([])


def test_a_table_has_a_row_a_method_in_the_order_asked_for():
    methods = {"a": {"x": [0.1, 0.3], "y": [1.0, 1.0]}, "b": {"x": [0.4], "y": [0.0]}}
    table = score_table(methods)
    assert list(table.index) == ["a", "b"] and list(table.columns) == ["x", "y", "runs"]
    assert table.loc["a", "x"] == "0.200 ± 0.141" and table.loc["b", "runs"] == 1
    assert list(score_table(methods, sort_by="x").index) == ["b", "a"]


def test_scores_of_pixels_name_no_adversarial_model():
    source = (ROOT / "inc_lib" / "layer_scores.py").read_text()
    assert "score_tables" in source and not {"deep_clusters", "adversarial", "dls"} & set(re.findall(r"\w+", source))
