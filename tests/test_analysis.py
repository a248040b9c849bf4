"""The statistics of studies against scipy, statsmodels, sklearn, seqeval, and values published for known data."""

import json
from itertools import permutations
from math import log10

import numpy as np
import pytest
import scipy.stats
import yaml
from study_folder import LANGUAGES, StudyFolder, make_study

import langlift
from langlift.errors import InputError
from langlift.evaluation.metrics import attachment_scores, entity_f1, macro_f1
from langlift.reports.study_tables import results_table
from langlift.studies.analysis import correlations
from langlift.studies.analysis.analysing import analyse
from langlift.studies.analysis.bootstrap import (
    Difference,
    attachments_counted,
    compare,
    corrected,
    drawn_times,
    entities_counted,
    labels_counted,
    permutation_p,
    randomisation_p,
    read_items,
    two_sided_p,
)
from langlift.studies.analysis.correlations import ADAPTATION, PRE_TRAINING, correlation, data_megabytes
from langlift.studies.analysis.effects import curves_of, mixed_model
from langlift.studies.analysis.measures import Measure, sort_results, spread
from langlift.studies.folder import data_kind, read_runs

# Student's sleep data (1908): hours of sleep gained with drug 1 and drug 2 by ten patients.
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
# Anscombe's first set (1973).
ANSCOMBE_X = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
ANSCOMBE_Y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
# Growth of eleven girls at ages 8, 10, 12, 14 (Potthoff and Roy 1964; R's nlme: Orthodont).
GIRLS = [
    [21, 20, 21.5, 23], [21, 21.5, 24, 25.5], [20.5, 24, 24.5, 26], [23.5, 24.5, 25, 26.5],
    [21.5, 23, 22.5, 23.5], [20, 21, 21, 22.5], [21.5, 22.5, 23, 25], [23, 23, 23.5, 24],
    [20, 21, 22, 21.5], [16.5, 19, 19, 19.5], [24.5, 25, 28, 28],
]  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> StudyFolder:
    return make_study(tmp_path_factory.mktemp("study") / "made-up")


@pytest.fixture(scope="module")
def analysis(study):
    return analyse([study.path])


def results_of(analysis, name):
    return next(results for results in analysis.results if results.measure.name == name)


def test_interval_is_that_of_r_for_students_data():
    """R: t.test(extra ~ group, paired = TRUE): mean -1.58, 95 % interval -2.4598858 to -0.7001142."""
    found = spread([a - b for a, b in zip(DRUG_1, DRUG_2, strict=True)])
    assert found.mean == pytest.approx(-1.58)
    assert (found.low, found.high) == pytest.approx((-2.4598858, -0.7001142), abs=5e-8)


@pytest.mark.parametrize("count", range(2, 10))
def test_interval_is_scipys(count):
    values = np.random.default_rng(count).normal(50, 10, count).tolist()
    found = spread(values)
    expected = scipy.stats.t.interval(0.95, count - 1, np.mean(values), scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.std == pytest.approx(np.std(values, ddof=1))


def test_one_value_has_no_spread():
    assert spread([4.0]) == type(spread([4.0]))(1, 4.0, None, None, None)


def test_correlations_of_anscombes_data():
    """Published: r = 0.816. Spearman's by scipy."""
    points = {str(i): (10.0**x, y) for i, (x, y) in enumerate(zip(ANSCOMBE_X, ANSCOMBE_Y, strict=True))}
    found = correlation("m", "c", "x", "gain", points)
    assert found.pearson == pytest.approx(0.81642, abs=5e-6)
    assert found.pearson_p == pytest.approx(0.00217, abs=5e-6)
    assert found.spearman == pytest.approx(scipy.stats.spearmanr(ANSCOMBE_X, ANSCOMBE_Y).statistic)
    expected = scipy.stats.pearsonr(ANSCOMBE_X, ANSCOMBE_Y).confidence_interval(0.95)
    assert found.pearson_interval == pytest.approx(tuple(expected))
    assert found.spearman_interval[0] < found.spearman < found.spearman_interval[1]
    assert correlation("m", "c", "x", "gain", dict(list(points.items())[:3])) is None


def test_a_perfect_correlation_of_four_languages_is_not_certain():
    found = correlation(
        "m", "c", "x", "gain", {"a": (1.0, 1.0), "b": (2.0, 2.0), "c": (3.0, 5.0), "d": (4.0, 6.0)}
    )
    assert found.spearman == pytest.approx(1.0)
    assert found.spearman_p == pytest.approx(2 / 24), "two of 24 permutations correlate as much"
    assert found.spearman_interval[0] < 0, "the interval of four languages includes no correlation"


@pytest.mark.parametrize("count", [4, 5, 6])
def test_p_of_few_languages_is_that_of_all_permutations(count: int):
    random = np.random.default_rng(count)
    points = {str(i): (10.0**x, y) for i, (x, y) in enumerate(random.normal(size=(count, 2)).tolist())}
    found = correlation("m", "c", "x", "gain", points)
    logs, values = zip(*((np.log10(x), y) for x, y in points.values()), strict=True)
    for name, method in (("pearson", scipy.stats.pearsonr), ("spearman", scipy.stats.spearmanr)):
        all_of_them = [abs(method(logs, order).statistic) for order in permutations(values)]
        expected = np.mean(np.asarray(all_of_them) >= abs(getattr(found, name)) - 1e-9)
        assert getattr(found, f"{name}_p") == pytest.approx(expected)


def test_mixed_model_is_nlmes():
    """R's nlme: lme(distance ~ age, random = ~ 1 | Subject), girls: Pinheiro and Bates 2000, section 1.4.1."""
    values = [value for girl in GIRLS for value in girl]
    ages = [8.0, 10.0, 12.0, 14.0] * len(GIRLS)
    groups = [f"F{i}" for i in range(len(GIRLS)) for _ in range(4)]
    found = mixed_model("distance", "distance", values, {"age": ages, "age twice": [2 * a for a in ages]}, groups)
    intercept, age = found.effects
    assert (intercept.estimate, intercept.standard_error) == pytest.approx((17.372727, 0.8587419), rel=1e-3)
    assert (age.estimate, age.standard_error) == pytest.approx((0.479545, 0.0525898), rel=1e-3)
    assert (found.group_std, found.residual_std) == pytest.approx((2.06847, 0.7800331), rel=1e-3)
    assert found.dropped == ["age twice"]
    assert found.converged


def test_mixed_model_is_statsmodels_on_plain_columns():
    from statsmodels.regression.mixed_linear_model import MixedLM

    random = np.random.default_rng(3)
    groups = np.repeat(list("abcdef"), 8)
    x, z = random.normal(5, 2, 48), random.normal(0, 1, 48)
    y = 2 + 0.5 * x - z + np.repeat(random.normal(0, 1, 6), 8) + random.normal(0, 0.3, 48)
    plain = MixedLM(y, np.column_stack([np.ones(48), x, z]), groups=groups).fit(reml=True)
    found = mixed_model("y", "y", y.tolist(), {"x": x.tolist(), "z": z.tolist()}, groups.tolist())
    assert [e.estimate for e in found.effects] == pytest.approx(plain.fe_params, rel=1e-4)
    assert [e.standard_error for e in found.effects] == pytest.approx(plain.bse_fe, rel=1e-3)
    t = plain.fe_params / plain.bse_fe
    assert found.degrees_of_freedom == 5, "one less than the six groups"
    assert [e.p for e in found.effects] == pytest.approx(2 * scipy.stats.t.sf(abs(t), 5), rel=2e-2)
    assert [e.high - e.estimate for e in found.effects] == pytest.approx(plain.bse_fe * 2.5706, rel=1e-3)


def resampled_means(values, resamples):
    return drawn_times(len(values), resamples) @ np.asarray(values) / len(values)


def test_bootstrap_interval_is_scipys():
    differences = [b - a for a, b in zip(DRUG_1, DRUG_2, strict=True)]
    ours = np.percentile(resampled_means(differences, 20_000), [2.5, 97.5])
    expected = scipy.stats.bootstrap(
        (differences,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours == pytest.approx([expected.low, expected.high], abs=0.05)


@pytest.mark.parametrize("count", [2, 5, 10])
def test_randomisation_test_is_scipys(count):
    values = np.random.default_rng(count).normal(0.5, 1, count)
    exact = scipy.stats.permutation_test(
        (values, np.zeros(count)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert randomisation_p(values) == pytest.approx(exact.pvalue)


def test_randomisation_tests_of_many_values_are_close_to_scipys():
    values = np.random.default_rng(0).normal(0.5, 1, 30)
    expected = scipy.stats.permutation_test((values,), np.mean, permutation_type="samples", random_state=1)
    assert randomisation_p(values) == pytest.approx(expected.pvalue, abs=0.002)
    assert permutation_p(values[:12], values[12:]) == pytest.approx(
        scipy.stats.ttest_ind(values[:12], values[12:]).pvalue, abs=0.03
    )
    assert permutation_p([1.0, 2.0], [3.0, 4.0]) == pytest.approx(2 / 6)


def test_p_values_are_corrected_as_by_statsmodels():
    p = [0.01, 0.04, None, 0.03, 0.005, 0.9, 0.6]
    differences = [Difference("all", "a", "b", 1.0, None, None, one, None, "languages", 9) for one in p]
    known = [one for one in p if one is not None]
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    found = [one.p_holm for one in corrected(differences)]
    assert found[2] is None
    assert found[:2] + found[3:] == pytest.approx(multitest.multipletests(known, method="holm")[1])


def test_few_languages_with_seeds_make_nothing_certain():
    """No effect, but languages that differ: as languages are the units, p is below 0.05 in 5 % at most."""
    random = np.random.default_rng(1)
    p = [randomisation_p(random.normal(0, 1, 7)) for _ in range(400)]
    assert np.mean(np.array(p) < 0.05) < 0.08
    assert randomisation_p([1.0, 1.1, 0.9]) == 0.25


def test_p_of_no_difference_is_spread_evenly():
    """Samples of which nothing is to be found: about 5 % have p below 0.05."""
    random = np.random.default_rng(0)
    p = [two_sided_p(resampled_means(random.normal(0, 1, 40), 400)) for _ in range(400)]
    assert 0.02 < np.mean(np.array(p) < 0.05) < 0.10


@pytest.mark.parametrize("seed", range(8))
def test_resampled_macro_f1_is_sklearns(seed):
    """Counting each item so many times gives what the metric gives of the repeated rows."""
    random = np.random.default_rng(seed)
    gold, predicted = random.choice(list("abc"), (2, 12)).tolist()
    times = random.integers(0, 3, 12)
    items = labels_counted([{"gold": g, "predicted": p} for g, p in zip(gold, predicted, strict=True)])
    expected = macro_f1(np.repeat(gold, times).tolist(), np.repeat(predicted, times).tolist())
    assert float(items.score(times.astype(float) @ items.counts)) == pytest.approx(expected)


def test_counted_entities_and_trees_give_the_metrics():
    random = np.random.default_rng(5)
    tags = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    gold = [random.choice(tags, 9).tolist() for _ in range(30)]
    predicted = [[t if random.random() < 0.7 else "O" for t in s] for s in gold]
    rows = [{"gold": g, "predicted": p} for g, p in zip(gold, predicted, strict=True)]
    assert entities_counted(rows).total() == pytest.approx(entity_f1(gold, predicted))
    assert entities_counted(rows, strict=True).total() == pytest.approx(entity_f1(gold, predicted, strict=True))
    trees = [
        [[int(random.integers(0, 5)), str(random.choice(["nsubj", "nsubj:pass", "obj"]))] for _ in s] for s in gold
    ]
    others = [[[h, "obj"] if i % 3 else [h + 1, r] for i, (h, r) in enumerate(t)] for t in trees]
    rows = [{"gold": g, "predicted": p} for g, p in zip(trees, others, strict=True)]
    uas, las = attachment_scores(trees, others)
    assert attachments_counted(rows).total() == pytest.approx(las)
    assert attachments_counted(rows, labelled=False).total() == pytest.approx(uas)


def test_study_is_read_as_written(study, tmp_path):
    runs, unfinished = read_runs([study.path])
    assert unfinished == ["task-killed"]
    assert {run.name: run.cell for run in runs} == {run["name"]: run["cell"] for run in study.runs}
    damaged = tmp_path / "s" / "runs" / "a"
    damaged.mkdir(parents=True)
    (damaged / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"a/run\.json: damaged"):
        read_runs([tmp_path / "s"])
    with pytest.raises(InputError, match="neither a study nor a run"):
        read_runs([tmp_path])


def test_means_and_gains_are_those_of_the_runs(study, analysis):
    results = results_of(analysis, "sentiment-macro_f1")
    stacked = next(c for c in results.conditions if c.label == "stacked, text, alpha 0.4")
    expected = [
        run["result"]["value"]
        for run in study.runs
        if run["cell"]["language"] == "swh_Latn" and run["cell"].get("use") == "stacked"
        and run["cell"].get("alpha") == 0.4
    ]  # fmt: skip
    assert results.spread("swh_Latn", stacked).mean == pytest.approx(np.mean(expected))
    alone = results.conditions[0]
    assert alone.is_reference and results.reference(stacked) is alone
    expected_gains = np.subtract(expected, results.values("swh_Latn", alone))
    assert results.gains("swh_Latn", stacked) == pytest.approx(expected_gains)
    assert [(a.label, b.label) for a, b in results.published] == [
        ("stacked, text, alpha 0.1", "stacked, text, alpha 0.1, as published")
    ]
    assert Measure(None, "pseudo_perplexity").gain(50.0, 200.0) == pytest.approx(75.0)


def test_differences_say_what_was_built_in(analysis):
    results = results_of(analysis, "sentiment-macro_f1")
    found = {(d.than, d.better): d for d in compare(results).overall}
    clear = found["alone", "stacked, text, alpha 1"]
    assert clear.resampled == "test items and seeds" and clear.units == 60 * len(LANGUAGES)
    assert clear.low > 20 and clear.p < 0.01 and clear.p <= clear.p_holm
    same = found["stacked, text, alpha 0.1", "stacked, text, alpha 0.4"]
    assert same.low < 0 < same.high
    scores = {(d.than, d.better): d for d in compare(results_of(analysis, "pseudo_perplexity")).overall}
    by_language = next(d for (than, _), d in scores.items() if than == "no adapter")
    assert by_language.resampled == "languages" and by_language.units == len(LANGUAGES)
    assert by_language.p == pytest.approx(2 / 2 ** len(LANGUAGES)), "five languages of one sign"
    alone = compare(results_of(analysis, "pseudo_perplexity")).by_language
    assert {(d.resampled, d.units, d.p) for d in alone} == {("seeds", 3, 0.25)}, "three seeds prove nothing"


def test_sentences_of_scores_are_resampled(tmp_path):
    """Where score runs kept their sentences, these are the units, whatever the variant."""
    study, random = StudyFolder(tmp_path), np.random.default_rng(4)
    shared = random.normal(40, 10, 30)
    for variant in ("default", "published"):
        for method, seed, factor in ((None, None, 1.0), *(("seq_bn", s, 0.8 + s / 100) for s in (1, 2, 3))):
            tokens, surprise = 5 + np.arange(30) % 7, np.abs(shared) * factor
            values = np.exp(surprise / tokens)
            value = values.mean() if variant == "published" else np.exp(surprise.sum() / tokens.sum())
            cell = {"language": "mlt_Latn", "base": "b", "task": None, "metric": "pseudo_perplexity",
                    "method": method, "seed": seed, "variant": variant}  # fmt: skip
            folder = study.run("score", cell, {"value": float(value), "before": None})
            rows = [
                {"tokens": int(t), "log_probability": -float(s)} for t, s in zip(tokens, surprise, strict=True)
            ]
            (folder / "sentences.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = sort_results(read_runs([tmp_path])[0])
    assert [results.measure.metric for results in found] == ["pseudo_perplexity", "pseudo_perplexity_published"]
    for results in found:
        plain, adapted = results.conditions
        [d] = compare(results).by_language
        assert (d.resampled, d.units) == ("test items and seeds", 30)
        before, values = results.values("mlt_Latn", plain)[0], results.values("mlt_Latn", adapted)
        assert d.difference == pytest.approx(100 * (1 - np.mean(values) / before))
        assert 0 < d.low < d.difference < d.high and d.p < 0.01


def test_further_metrics_and_baselines_have_their_tables(tmp_path):
    study = StudyFolder(tmp_path)
    for seed in (1, 2):
        cell = {"language": "myv_Cyrl", "task": "dependencies", "use": "alone", "metric": "las", "seed": seed}
        baseline = {"right_attach": 16.4, "right_attach_uas": 30.3}
        study.run("task", cell, {"value": 20.0 + seed, "before": None, "uas": 40.0 + seed, "baseline": baseline})
    las, uas = sort_results(read_runs([tmp_path])[0])
    assert las.measure.title == "dependencies, LAS" and las.baselines("myv_Cyrl") == {"right_attach": 16.4}
    assert uas.measure.title == "dependencies, UAS" and uas.baselines("myv_Cyrl") == {"right_attach": 30.3}
    assert uas.values("myv_Cyrl", uas.conditions[0]) == [41.0, 42.0]
    table = results_table(uas)
    assert table.columns[:2] == ["language", "baseline: right attach"] and table.rows[0][1].text == "30.3"
    single = tmp_path / "single"
    inputs = {"task": "dependencies", "base": "b", "data": "myv_Cyrl"}
    for seed in (1, 2):
        (single / f"seed-{seed}").mkdir(parents=True)
        measured = {"test_las": 20.0 + seed, "test_uas": 40.0 + seed}
        (single / f"seed-{seed}" / "metrics.json").write_text(json.dumps(measured))
    (single / "metrics.json").write_text(json.dumps({"baseline": baseline}))
    recipe = {"command": "task", "inputs": inputs, "task": {"method": "seq_bn", "seeds": [1, 2]}}
    (single / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    las, uas = sort_results(read_runs([single])[0])
    assert las.values("myv_Cyrl", las.conditions[0]) == [21.0, 22.0]
    assert uas.values("myv_Cyrl", uas.conditions[0]) == [41.0, 42.0], "single runs have them too"


def test_predictions_that_do_not_give_the_value_are_not_used(tmp_path):
    study = StudyFolder(tmp_path)
    folder = study.sentiment("mlt_Latn", {"use": "alone"}, 1, 0.7)
    runs, _ = read_runs([tmp_path])
    assert read_items(runs) is not None
    content = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    content["result"]["value"] += 0.1
    (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_items(read_runs([tmp_path])[0]) is None


def test_correlations_take_sizes_from_facts_and_runs(analysis):
    found = {(c.measure, c.x) for c in analysis.correlations}
    assert ("pseudo-perplexity", ADAPTATION) in found
    one = next(c for c in analysis.correlations if c.x == ADAPTATION and c.measure == "pseudo-perplexity")
    assert one.points["cym_Latn"][0] == pytest.approx(6.4)
    assert one.pearson == pytest.approx(
        scipy.stats.pearsonr([log10(x) for x, _ in one.points.values()], [y for _, y in one.points.values()])[0]
    )
    assert one.pearson < -0.9  # the more data, the smaller the made-up gain
    # Maltese is not in XLM-R's data, and Finnish not among the published sizes.
    sizes = [c for c in analysis.correlations if c.x == PRE_TRAINING]
    assert all({"mlt_Latn", "fin_Latn"}.isdisjoint(c.points) for c in sizes)


def test_single_runs_that_differ_in_a_setting_are_told_apart(tmp_path):
    """The second counted as a repetition "with the same settings and seed", and was dropped."""
    for name, language, settings, loss in (
        ("few", "mlt_Latn", {"method": "seq_bn", "steps": 100, "lora_rank": 4}, 3.0),
        ("many", "mlt_Latn", {"method": "seq_bn", "steps": 1000, "path": "plain"}, 2.0),
        ("again", "mlt_Latn", {"method": "seq_bn", "steps": 1000}, 2.0),
        ("other", "swh_Latn", {"method": "seq_bn", "steps": 1000}, 2.5),
    ):
        (tmp_path / name).mkdir()
        inputs = {"language": language, "base": "b", "data": "text"}
        recipe = {"command": "adapt", "inputs": inputs, "adapt": {**settings, "objective": "mlm", "seed": 1}}
        (tmp_path / name / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        (tmp_path / name / "metrics.json").write_text(json.dumps({"validation_loss": loss}))
    folders = [tmp_path / name for name in ("few", "many", "again", "other")]
    (found,) = sort_results(read_runs(folders)[0])
    assert found.varied == ["steps"] and found.repeated == 1
    values = {(language, one.label): found.values(language, one) for language, one in found.filled}
    assert values == {
        ("mlt_Latn", "steps 100"): [3.0],
        ("mlt_Latn", "steps 1,000"): [2.0],
        ("swh_Latn", "steps 1,000"): [2.5],
    }
    assert "steps" not in read_runs(folders[2:])[0][0].cell, "nothing has to be told apart"


@pytest.mark.parametrize("axis", ["train_examples", "task.train_examples"])
def test_baselines_of_different_amounts_of_training_data_are_not_averaged(tmp_path, axis):
    """A mean of TF-IDF on 100 examples and on all is the baseline of no run."""
    study = StudyFolder(tmp_path)
    for examples, tfidf in ((100, 40.0), ("all examples", 70.0)):
        for seed in (1, 2):
            cell = {"language": "mlt_Latn", "task": "topic", "use": "alone", "metric": "macro_f1", "seed": seed}
            result = {"value": 60.0, "baseline": {"tfidf": tfidf + seed}}
            study.run("task", {**cell, axis: examples}, result)
    prompted = {**cell, "use": "prompted", "base": "qwen", "seed": 1}
    study.run("prompt", prompted, {"value": 60.0, "baseline": {"tfidf": 71.5}})
    (found,) = sort_results(read_runs([tmp_path])[0])
    name = axis.replace("_", " ").replace(".", " ")
    expected = {f"tfidf, {name} 100": 41.5, "tfidf, all examples": 71.5}
    assert found.baselines("mlt_Latn") == expected
    assert results_table(found).columns[1:3] == [f"baseline: {one}" for one in expected]


def test_data_size_from_built_runs_and_study_file(tmp_path, monkeypatch):
    study = StudyFolder(tmp_path)
    text = tmp_path / "text.txt"
    text.write_text("għal" * 10, encoding="utf-8")
    (tmp_path / "study.yaml").write_text(f"data: {{text: {{mlt_Latn: [{text}]}}}}\n", encoding="utf-8")
    cut = study.run("cut", {"language": "mlt_Latn", "data": "text"}, {"value": 2_000_000, "before": 3_000_000})
    assert cut.exists()
    cell = {"language": "mlt_Latn", "data": "text", "method": "seq_bn", "seed": 1}
    study.run("adapt", cell, {"value": 3.0}, needs=[study.runs[0]["hash"]])
    study.run("score", cell, {"value": 30.0}, needs=[study.runs[1]["hash"]])
    study.run("adapt", cell, {"value": 3.0})
    runs = {run.name: run for run in read_runs([tmp_path])[0]}
    by_hash = {run.hash: run for run in runs.values()}
    assert data_megabytes(runs["score-002"], by_hash) == pytest.approx(2.0)
    parsed, load = [], correlations.load_yaml
    monkeypatch.setattr(correlations, "load_yaml", lambda text: parsed.append(text) or load(text))
    assert data_megabytes(runs["adapt-003"], by_hash) == pytest.approx(50e-6)
    assert data_megabytes(runs["adapt-003"], by_hash) == pytest.approx(50e-6)
    assert len(parsed) == 1, "for thousands of runs it took minutes"
    # What was built is no measure of a model.
    assert [r.measure.metric for r in sort_results(list(runs.values()))] == [
        "pseudo_perplexity",
        "validation_loss",
    ]


def test_regression_finds_the_effect_of_alpha(analysis):
    found = next(r for r in analysis.regressions if r.measure == "pseudo-perplexity")
    effect = next(e for e in found.effects if e.term.startswith("alpha"))
    assert effect.low > 0 and found.left_out == len(LANGUAGES) and found.groups == len(LANGUAGES)


def test_curves_are_means_over_seeds(study, analysis):
    results = results_of(analysis, "pseudo_perplexity")
    found = curves_of(results, "alpha")
    maltese = next(c for c in found.curves if c.language == "mlt_Latn")
    assert list(maltese.points) == [0.1, 0.4, 1.0]
    assert maltese.points[0.1].mean == pytest.approx(20 * (0.5 - 0.04 + 0.005))
    assert found.curves[0].language == "mean of the languages" and found.curves[0].points[0.1].count == 5


def test_axis_that_does_not_vary_is_told(study):
    with pytest.raises(InputError, match="--axis noise") as told:
        analyse([study.path], ["noise"])
    assert "alpha" in told.value.hint


@pytest.mark.parametrize(
    ("name", "kind"),
    [("mlt_Latn.txt", "text"), ("graph-data-mlt_Latn", "graph-data"), ("adapt-graph-mlt_Latn-1", "adapt-graph")],
)
def test_kind_of_data_by_its_name(name, kind):
    assert data_kind(name) == kind


def test_runs_as_a_table(study: StudyFolder) -> None:
    frame = langlift.runs_frame(study.path)
    finished = [run for run in study.runs if run["kind"] == "adapt"]
    adapters = frame[frame.kind == "adapt"]
    assert list(adapters.name) == [run["name"] for run in finished]
    assert list(adapters.value) == [run["result"]["value"] for run in finished]
    assert list(adapters.language) == [run["cell"]["language"] for run in finished]
    assert {"before", "seed", "tokens", "seconds", "folder"} <= set(frame.columns)
    assert frame.groupby("language").value.mean().notna().all()
    with pytest.raises(langlift.InputError, match="neither a study nor a run"):
        langlift.runs_frame(study.path / "nothing")
