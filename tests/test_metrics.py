"""Metrics on inputs whose answer is known on paper, and on everything a person may get wrong."""
import doctest

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from inc_lib import metrics
from inc_lib.errors import InputError

TWO_OF_TEN = 1 - np.log(2) / np.log(10)
EYE = 5 * np.eye(5)


def grid_codes(n, *, noise, sizes=(10, 10, 10, 8, 4, 15), extra=4, seed=0):
    """Near-perfect codes: code i is attribute i, standardised, with noise; `extra` codes hold noise only."""
    rng = np.random.default_rng(seed)
    states = np.stack([rng.integers(size, size=n) for size in sizes], axis=1)
    scale = np.array([np.std(np.arange(size)) for size in sizes])
    codes = (states - (np.array(sizes) - 1) / 2) / scale + noise * rng.standard_normal(states.shape)
    return np.hstack([codes, rng.standard_normal((n, extra))]), states


# --- DCI, closed forms ---

@pytest.mark.parametrize(("importance", "expected_d", "expected_c"), [
    (EYE, 1, 1),
    (np.array([[1.0, 0], [0, 1], [0, 0]]), 1, 1),                  # a code that is not used
    (np.zeros((10, 10)), 0, 0),                                    # nothing is important
    (np.ones((4, 3)), 0, 0),                                       # everything is, equally
    (np.vstack([EYE, EYE]), 1, TWO_OF_TEN),                        # each factor in two of ten codes
    (EYE[:2], 1, 1),                                               # three factors without a code
    (np.hstack([EYE, EYE]), TWO_OF_TEN, 1),                        # each code shared by two of ten factors
    (np.array([[3.0, 0], [0, 1]]), 1, 1),                          # scale does not matter
])
def test_scores_of_importance(importance, expected_d, expected_c):
    assert metrics.disentanglement(importance) == pytest.approx(expected_d, abs=1e-12)
    assert metrics.completeness(importance) == pytest.approx(expected_c, abs=1e-12)


def test_codes_count_by_their_importance():
    """A pure code of weight 3 and a mixed one of weight 1: (3 * 1 + 1 * 0) / 4."""
    assert metrics.disentanglement([[3, 0], [0.5, 0.5]]) == pytest.approx(0.75)


def test_one_factor_or_one_code_leaves_a_score_undefined():
    assert np.isnan(metrics.disentanglement(np.ones((3, 1))))
    assert np.isnan(metrics.completeness(np.ones((1, 3))))


# --- DCI, from codes ---

@pytest.mark.parametrize("estimator", sorted(metrics.ESTIMATORS))
def test_dci_of_perfect_codes_is_one(estimator):
    codes, states = grid_codes(1200, noise=0.01, sizes=(4, 3, 5), extra=2)
    result = metrics.dci(codes, states, estimator=estimator)
    assert result.disentanglement > 0.99
    assert result.completeness > 0.99
    assert result.informativeness > 0.99
    assert result.importance.shape == (5, 3)
    np.testing.assert_allclose(result.importance.sum(0), 1)
    assert result.importance[:3].argmax(1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("estimator", sorted(metrics.ESTIMATORS))
def test_dci_of_noise_informs_of_nothing(estimator):
    """Importances of Lasso on pure noise are few and arbitrary: only trees promise a low disentanglement."""
    rng = np.random.default_rng(0)
    result = metrics.dci(rng.standard_normal((900, 4)), rng.integers(3, size=(900, 3)), estimator=estimator)
    assert result.informativeness < 0.45
    assert result.disentanglement < 0.3 or estimator == "lasso"


def test_duplicated_codes_halve_completeness_only():
    codes, states = grid_codes(2000, noise=0.0, sizes=(5, 5, 5, 5, 5), extra=0)
    result = metrics.dci(np.hstack([codes, codes]), states, estimator="forest")
    assert result.disentanglement > 0.98
    assert result.completeness == pytest.approx(TWO_OF_TEN, abs=0.03)


def test_the_estimator_decides_the_score():
    """Why a DCI is never printed without its estimator: on one and the same near-perfect code, Lasso sees
    perfection, boosting almost, and a forest with scikit-learn's defaults little more than half."""
    codes, states = grid_codes(1800, noise=0.1, sizes=(10, 4), extra=8)
    scores = {name: metrics.dci(codes, states, estimator=estimator, n_train=1200, n_test=600)
              for name, estimator in {"lasso": "lasso", "boosting": "boosting", "forest": "forest",
                                      "default": RandomForestClassifier(random_state=0)}.items()}
    assert scores["lasso"].disentanglement > 0.99
    assert 0.85 < scores["boosting"].disentanglement < 0.99
    assert abs(scores["forest"].disentanglement - scores["boosting"].disentanglement) < 0.08
    assert scores["default"].disentanglement < 0.7
    assert "DCI with forest, 1,200 train / 600 test" in str(scores["forest"])
    assert scores["default"].estimator == "RandomForestClassifier"


def test_threads_do_not_change_the_result():
    codes, states = grid_codes(150, noise=0.3, sizes=(3, 3), extra=1)
    one, two = (metrics.dci(codes, states, estimator="boosting", n_jobs=n) for n in (1, 2))
    np.testing.assert_array_equal(one.importance, two.importance)


def test_the_seed_decides_the_split():
    codes, states = grid_codes(600, noise=0.5, sizes=(3, 4), extra=1)
    first, again, other = (metrics.dci(codes, states, estimator="lasso", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.importance, again.importance)
    assert (first.importance != other.importance).any()


def test_few_observations_shrink_train_and_test_in_proportion():
    codes, states = grid_codes(300, noise=0.1, sizes=(3, 3), extra=0)
    result = metrics.dci(codes, states, estimator="lasso")
    assert (result.n_train, result.n_test) == (200, 100)


def test_tensors_and_a_fitted_instance_are_welcome():
    codes, states = grid_codes(300, noise=0.05, sizes=(3, 4), extra=0)
    tree = DecisionTreeClassifier(random_state=0)
    result = metrics.dci(torch.tensor(codes, requires_grad=True), torch.tensor(states), estimator=tree)
    assert result.disentanglement > 0.9
    assert not hasattr(tree, "tree_")  # a clone was fitted, not what was given


def test_a_constant_code_has_no_importance():
    codes, states = grid_codes(300, noise=0.05, sizes=(3, 4), extra=0)
    for estimator in ("lasso", "forest"):
        result = metrics.dci(np.hstack([codes, np.ones((300, 1))]), states, estimator=estimator)
        assert result.importance[2].tolist() == [0, 0]


def test_a_constant_factor_is_left_out():
    """dSprites has a colour of one attribute: it neither counts nor changes the base of the entropies."""
    codes, states = grid_codes(300, noise=0.3, sizes=(3, 4), extra=1)
    with_constant = np.hstack([np.zeros((300, 1), dtype=int), states])
    plain = metrics.dci(codes, states, estimator="forest")
    result = metrics.dci(codes, with_constant, estimator="forest")
    assert result.disentanglement == plain.disentanglement
    assert result.completeness == plain.completeness
    assert result.importance[:, 0].tolist() == [0, 0, 0]
    assert np.isnan(result.scores[0])


def test_one_factor_has_completeness_but_no_disentanglement():
    codes, states = grid_codes(300, noise=0.05, sizes=(4,), extra=2)
    result = metrics.dci(codes, states, estimator="forest")
    assert np.isnan(result.disentanglement)
    assert result.completeness > 0.9
    assert "disentanglement undefined (one factor)" in str(result)


def test_a_class_that_occurs_once_is_no_error():
    codes, states = grid_codes(200, noise=0.05, sizes=(3, 3), extra=0)
    states[7, 0] = 9
    for seed in range(4):  # in the training part and in the test part
        assert metrics.dci(codes, states, estimator="forest", seed=seed).informativeness > 0.9


# --- MIG ---

def test_mig_of_perfect_codes_is_one():
    rng = np.random.default_rng(0)
    states = rng.integers(10, size=(5000, 3))
    assert metrics.mig(states.astype(float), states) == pytest.approx(1, abs=0.01)


def test_mig_of_constant_or_duplicated_codes_is_zero():
    states = np.random.default_rng(0).integers(10, size=(1000, 3))
    assert metrics.mig(np.zeros((1000, 4)), states) == 0
    assert metrics.mig(np.hstack([states, states]).astype(float), states) == pytest.approx(0, abs=1e-12)


def test_mig_of_a_shared_code_by_hand():
    """Code 0 is a of (a, b), each of 2 attributes; code 1 is 2a + b: the gap is 0 for a and 1 for b."""
    states = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 50)
    codes = np.stack([states[:, 0], 2 * states[:, 0] + states[:, 1]], axis=1).astype(float)
    np.testing.assert_allclose(metrics.mutual_information(codes, states), [[1, 0], [1, 1]], atol=1e-12)
    assert metrics.mig(codes, states) == pytest.approx(0.5)


def test_information_agrees_with_numpys_histogram():
    """The bins of disentanglement_lib: numpy's histogram edges, the last bin closed."""
    from sklearn.metrics import mutual_info_score

    codes, states = grid_codes(500, noise=0.4, sizes=(4, 3), extra=1)
    bins = np.stack([np.digitize(code, np.histogram(code, 20)[1][:-1]) for code in codes.T], axis=1)
    expected = [[mutual_info_score(factor, code) / mutual_info_score(factor, factor) for factor in states.T]
                for code in bins.T]
    np.testing.assert_allclose(metrics.mutual_information(codes, states), expected, atol=1e-9)


def test_a_single_code_and_a_constant_factor():
    states = np.array([[0, 0], [0, 1]] * 20)
    assert metrics.mig(states[:, 1:].astype(float), states) == pytest.approx(1)
    assert np.isnan(metrics.mutual_information(states.astype(float), states)[:, 0]).all()


# --- clustering ---

def test_a_perfect_clustering_under_other_names():
    assert metrics.cluster_scores([0, 0, 1, 1, 2], ["b", "b", "a", "a", "c"]) == {
        "purity": 1, "accuracy": 1, "nmi": pytest.approx(1), "ari": 1, "clusters": 3}


def test_scores_by_hand():
    """Clusters {0, 0, 1} and {1, 1, 2}: two and two are in the majority, and match one to one."""
    true, found = [0, 0, 1, 1, 1, 2], [0, 0, 0, 1, 1, 1]
    assert metrics.purity(true, found) == pytest.approx(4 / 6)
    assert metrics.accuracy(true, found) == pytest.approx(4 / 6)
    table = np.array([[2, 0], [1, 2], [0, 1]]) / 6
    rows, columns = table.sum(1), table.sum(0)
    information = sum(table[i, j] * np.log(table[i, j] / rows[i] / columns[j])
                      for i in range(3) for j in range(2) if table[i, j])
    entropies = [-(p * np.log(p)).sum() for p in (rows, columns)]
    assert metrics.nmi(true, found) == pytest.approx(information / np.mean(entropies))
    pairs = 2, (1 + 3 + 0) * (3 + 3) / 15, ((1 + 3 + 0) + (3 + 3)) / 2  # together in both, by chance, at most
    assert metrics.ari(true, found) == pytest.approx((pairs[0] - pairs[1]) / (pairs[2] - pairs[1]))


def test_splitting_keeps_purity_and_costs_accuracy():
    """Why they are kept apart: every observation a cluster of its own is perfectly pure."""
    true, found = np.repeat([0, 1], 50), np.arange(100)
    scores = metrics.cluster_scores(true, found)
    assert scores["purity"] == 1
    assert scores["accuracy"] == pytest.approx(0.02)
    assert scores["ari"] == pytest.approx(0, abs=1e-12)
    assert scores["clusters"] == 100


def test_accuracy_takes_the_best_matching_not_the_greedy_one():
    """Greedy takes the 6 and is left with 0; the best matching takes 5 and 5."""
    true = np.repeat([0, 0, 1], [6, 5, 5])
    found = np.repeat([0, 1, 0], [6, 5, 5])
    assert metrics.accuracy(true, found) == pytest.approx(10 / 16)


def test_more_clusters_than_classes_and_the_reverse():
    assert metrics.accuracy([0, 0, 0], [0, 1, 2]) == pytest.approx(1 / 3)
    assert metrics.accuracy([0, 1, 2], [0, 0, 0]) == pytest.approx(1 / 3)


def test_one_class():
    assert metrics.cluster_scores([3, 3, 3], [1, 1, 1]) == {
        "purity": 1, "accuracy": 1, "nmi": 1, "ari": 1, "clusters": 1}


def test_one_observation():
    assert metrics.cluster_scores([0], torch.tensor([5]))["accuracy"] == 1


# --- what a person may get wrong ---

CODES, STATES = grid_codes(60, noise=0.1, sizes=(3, 3), extra=0)


@pytest.mark.parametrize(("codes", "states", "options", "says"), [
    (np.zeros((0, 3)), np.zeros((0, 2), dtype=int), {}, "nothing to score"),
    (CODES, STATES[:, :0], {}, "nothing to score"),
    (CODES, STATES.astype(float), {}, "bin continuous factors first"),
    (CODES, STATES[:-1], {}, "one state for each code"),
    (CODES[:, 0], STATES, {}, r"expected \(n, d\) and \(n, M\)"),
    (np.where(CODES > 1, np.nan, CODES), STATES, {}, "NaN or infinite"),
    (CODES, np.ones_like(STATES), {}, "at least one factor"),
    (CODES[:6], np.arange(12).reshape(6, 2), {}, "4 observations to train on for a factor of 6 attributes"),
    (CODES[:1], STATES[:1], {}, "none of the 2"),
    (CODES, STATES, {"estimator": "boostin"}, "did you mean 'boosting'"),
    (CODES, STATES, {"n_train": 0}, "at least 1"),
    (CODES, np.eye(60, 2, dtype=int), {"estimator": "forest", "n_train": 2, "n_test": 2}, "another seed"),
])
def test_dci_refuses(codes, states, options, says):
    with pytest.raises(InputError, match=says):
        metrics.dci(codes, states, **options)


@pytest.mark.parametrize(("codes", "states", "options", "says"), [
    (CODES, np.ones_like(STATES), {}, "no factor varies"),
    (CODES, STATES, {"n_bins": 1}, "at least 2 bins"),
    (CODES, STATES + 0.5, {}, "whole numbers"),
])
def test_mig_refuses(codes, states, options, says):
    with pytest.raises(InputError, match=says):
        metrics.mig(codes, states, **options)


@pytest.mark.parametrize("score", [metrics.purity, metrics.accuracy, metrics.nmi, metrics.ari,
                                   metrics.cluster_scores])
@pytest.mark.parametrize(("true", "found", "says"), [
    ([], [], "empty"),
    ([0, 1], [0], "as many"),
    ([0.5, 1.0], [0, 1], "labels_true is of type float64"),
    ([0, 1], [0.0, np.nan], "labels_pred is of type float64"),
    ([[0], [1]], [0, 1], "one label for each observation"),
])
def test_clustering_scores_refuse(score, true, found, says):
    with pytest.raises(InputError, match=says):
        score(true, found)


def test_examples_in_docstrings():
    assert doctest.testmod(metrics).failed == 0
