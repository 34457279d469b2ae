import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics

from harness.metrics.builtin_metrics import harness_register_metrics

FACTORIES = {}
harness_register_metrics(FACTORIES.__setitem__)


@pytest.fixture(scope="module")
def compute():
    built = {name: factory() for name, factory in FACTORIES.items()}
    return lambda name, predictions, references: built[name].compute(predictions=predictions, references=references)


def pairs(values):
    rows = st.lists(st.tuples(values, values), min_size=2, max_size=60)
    return rows.map(lambda pairs: ([left for left, _ in pairs], [right for _, right in pairs]))


@settings(max_examples=30)
@given(pairs(st.integers(0, 1)))
def test_binary_metrics_agree_with_scikit_learn(compute, columns):
    predicted, actual = columns
    accuracy = compute("accuracy", predicted, actual)["accuracy"]
    assert accuracy == pytest.approx(sklearn_metrics.accuracy_score(actual, predicted))
    f1 = compute("f1", predicted, actual)["f1"]
    assert f1 == pytest.approx(sklearn_metrics.f1_score(actual, predicted, zero_division=0))


@settings(max_examples=30)
@given(pairs(st.integers(0, 3)))
def test_matthews_agrees_with_scikit_learn(compute, columns):
    predicted, actual = columns
    ours = compute("matthews_correlation", predicted, actual)["matthews_correlation"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where there is a single class
        expected = sklearn_metrics.matthews_corrcoef(actual, predicted)
    assert ours == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30)
@given(pairs(st.integers(-20, 20).map(lambda n: n / 10)))  # ties are common
def test_correlations_agree_with_scipy(compute, columns):
    predicted, actual = columns
    assume(len(set(predicted)) > 1 < len(set(actual)))  # what scipy returns for a constant depends on its version
    ours = compute("pearson_spearman", predicted, actual)
    expected = stats.pearsonr(predicted, actual).statistic, stats.spearmanr(predicted, actual).statistic
    assert ours["pearson"] == pytest.approx(expected[0], abs=1e-9)
    assert ours["spearmanr"] == pytest.approx(expected[1], abs=1e-9)


@pytest.mark.parametrize("columns", [([1, 1, 1], [0, 1, 1]), ([0, 1, 1], [1, 1, 1])])
def test_a_correlation_with_a_constant_is_undefined_and_matthews_is_0_by_convention(compute, columns):
    assert np.isnan(list(compute("pearson_spearman", *columns).values())).all()
    assert compute("matthews_correlation", *columns) == {"matthews_correlation": 0.0}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_correlations_reject_predictions_that_are_not_finite(compute, value):
    with pytest.raises(ValueError, match="1 of 3 predictions are not finite"):
        compute("pearson_spearman", [0.5, value, 0.7], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("The Broncos!", ["broncos"], 100, 100),
        ("Denver Broncos", ["the Broncos", "Carolina"], 0, 200 / 3),
        ("a b b", ["b b c"], 0, 80),  # "a" is an article
        ("", ["Denver"], 0, 0),
        ("1,000", ["1000"], 100, 100),
        ("24–10", ["2410"], 0, 0),  # only ASCII punctuation is removed
        ("ÉCOLE", ["école"], 100, 100),
        ("anthem the  an", ["anthem"], 100, 100),  # an article is a word of its own
        ("the cat sat", ["a cat", "cat that sat"], 0, 80),  # F1 2/3 and 4/5
        ("Denver", ["Denver Broncos", "Denver", "Broncos"], 100, 100),
        ("in the year 1850", ["1850"], 0, 50),
    ],
)
def test_squad(compute, prediction, answers, exact, f1):
    expected = pytest.approx({"exact": exact, "f1": f1})
    assert compute("squad", [prediction], [answers]) == expected
    second = compute("squad_v2", [prediction], [answers])
    assert {name: second[name] for name in ("exact", "f1", "HasAns_exact", "HasAns_f1")} == pytest.approx(
        {"exact": exact, "f1": f1, "HasAns_exact": exact, "HasAns_f1": f1}
    )


@pytest.mark.parametrize(
    ("prediction", "answers", "first", "second"),
    [
        ("the", ["the"], (100, 0), (100, 100)),  # 1.1 counts shared words; 2.0 treats both as no answer
        (".", ["."], (100, 0), (100, 100)),
        ("word", [".", "word"], (100, 100), (100, 100)),
        ("", [".", "word"], (100, 0), (0, 0)),
    ],
)
def test_answers_without_words_match_the_two_official_scripts(compute, prediction, answers, first, second):
    assert tuple(compute("squad", [prediction], [answers]).values()) == first
    scores = compute("squad_v2", [prediction], [answers])
    assert (scores["exact"], scores["f1"]) == second


def test_squad_v2_scores_questions_with_and_without_an_answer_separately(compute):
    predictions = ["", "something", "the Broncos", ""]
    answers = [[], [], ["Denver Broncos"], ["Denver"]]
    assert compute("squad_v2", predictions, answers) == pytest.approx(
        {
            "exact": 25,
            "f1": 100 * (1 + 0 + 2 / 3 + 0) / 4,
            "HasAns_exact": 0,
            "HasAns_f1": 100 / 3,
            "NoAns_exact": 50,
            "NoAns_f1": 50,
        }
    )
    assert set(compute("squad_v2", ["x"], [[]])) == {"exact", "f1", "NoAns_exact", "NoAns_f1"}


def test_squad_averages_over_questions(compute):
    assert compute("squad", ["x", "y"], [["x"], ["z"]]) == {"exact": 50, "f1": 50}


def test_a_metric_can_be_computed_several_times(compute):
    assert compute("accuracy", [1, 0], [1, 1]) == {"accuracy": 0.5}
    assert compute("accuracy", [1], [1]) == {"accuracy": 1.0}


SCRIPT = """
import socket, sys
from harness.metrics.builtin_metrics import harness_register_metrics
assert "evaluate" not in sys.modules
def refuse(*arguments): raise AssertionError("network")
socket.socket.connect = socket.getaddrinfo = refuse
factories = {}
harness_register_metrics(factories.__setitem__)
print([factories[name]().compute(predictions=[1, 0], references=[1, 1]) for name in ("accuracy", "pearson_spearman")])
"""


def test_metrics_use_neither_the_network_nor_the_users_cache(tmp_path):
    environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path)}
    environment.pop("XDG_CACHE_HOME", None)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[{'accuracy': 0.5}, {'pearson': nan, 'spearmanr': nan}]", done.stderr
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=30)
@given(pairs(st.integers(0, 3)))
def test_averaged_f1_of_classes_agrees_with_scikit_learn(compute, columns):
    predicted, actual = columns
    for average in ("micro", "macro"):
        ours = compute(f"f1_{average}", predicted, actual)[f"f1_{average}"]
        expected = sklearn_metrics.f1_score(actual, predicted, average=average, zero_division=0)
        assert ours == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30)
@given(pairs(st.lists(st.integers(0, 1), min_size=3, max_size=3)))
def test_multilabel_metrics_agree_with_scikit_learn(compute, columns):
    predicted, actual = columns
    for average in ("micro", "macro"):
        ours = compute(f"f1_{average}", predicted, actual)[f"f1_{average}"]
        expected = sklearn_metrics.f1_score(actual, predicted, average=average, zero_division=0)
        assert ours == pytest.approx(expected, abs=1e-12)
    subset = compute("subset_accuracy", predicted, actual)["subset_accuracy"]
    assert subset == pytest.approx(sklearn_metrics.accuracy_score(actual, predicted))
