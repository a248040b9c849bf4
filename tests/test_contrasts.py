"""The published tables, tested: contrasts against scipy and by hand, their families, the command, the pages."""

import csv
import importlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from math import log
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from study_folder import StudyFolder, add_alignment

from langlift.cli.main import main
from langlift.errors import InputError
from langlift.reports import study_page
from langlift.reports.contrast_tables import contrast_tables
from langlift.reports.study_page import write_report
from langlift.studies.analysis.bootstrap import ALL
from langlift.studies.contrasts import BOTH, QUESTIONS, SEEN, UNSEEN, Contrast, published_contrasts

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "published-tables.md"


@pytest.fixture(scope="module", autouse=True)
def contrasts() -> Iterator[list[Contrast]]:
    """Computed once for all tests, which takes seconds; the report then has them from here."""
    found = published_contrasts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_page, "published_contrasts", lambda: found)
        yield found


def find(contrasts: list[Contrast], question: str, language: str, *key: str) -> Contrast:
    """The one contrast of a measure, a base and two columns."""
    (found,) = [
        c
        for c in contrasts
        if (c.question, c.language) == (question, language) and (c.measure, c.base, c.better, c.than) == key
    ]
    return found


def rows(table: str, base: str) -> list[dict[str, str]]:
    """The rows of a published table, read here once more."""
    path = Path(str(files("langlift"))) / "facts" / f"published_{table}.csv"
    with path.open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row.get("model", base) == base]


@pytest.mark.parametrize(("base", "count"), [("mbert", 30), ("xlmr", 29)])
def test_a_contrast_is_scipys(contrasts, base, count):
    """XLM-R has no topic figures for Sundanese."""
    found = find(contrasts, "full", ALL, "tc", base, "glot_fft", "glot_seq_bn_inv")
    pairs = [(row["glot_fft"], row["glot_seq_bn_inv"]) for row in rows("tc", base)]
    gains = [float(full) - float(adapter) for full, adapter in pairs if full and adapter]
    assert found.units == len(gains) == count
    assert found.difference == pytest.approx(np.mean(gains))
    expected = scipy.stats.bootstrap((gains,), np.mean, method="percentile", rng=np.random.default_rng(3))
    assert [found.low, found.high] == pytest.approx(list(expected.confidence_interval), abs=0.08)
    test = scipy.stats.permutation_test((gains,), np.mean, permutation_type="samples", random_state=1)
    assert found.p == pytest.approx(test.pvalue, abs=0.002)


def test_pseudo_perplexities_are_compared_by_the_logarithm_of_their_ratio(contrasts):
    """Positive if lower, and only in the languages that the base has seen."""
    found = find(contrasts, "text", SEEN, "pppl", "mbert", "glot_seq_bn", "base")
    seen = [row for row in rows("pppl", "mbert") if row["in_pretraining"] == "true"]
    logs = [log(float(row["base"]) / float(row["glot_seq_bn"])) for row in seen]
    assert found.difference == pytest.approx(np.mean(logs)) and found.difference > 0
    assert found.units == len(seen) == 24


def test_gains_in_unseen_and_seen_languages_are_compared_as_two_groups(contrasts):
    found = find(contrasts, "exposure", BOTH, "tc", "xlmr", "glot_lora", "base")
    groups: dict[str, list[float]] = {"true": [], "false": []}
    for row in rows("tc", "xlmr"):
        if row["base"]:
            groups[row["in_pretraining"]].append(float(row["glot_lora"]) - float(row["base"]))
    unseen, seen = groups["false"], groups["true"]
    assert found.difference == pytest.approx(np.mean(unseen) - np.mean(seen))
    test = scipy.stats.permutation_test(
        (unseen, seen), lambda a, b: abs(np.mean(a) - np.mean(b)), vectorized=False, alternative="greater"
    )
    assert found.p == pytest.approx(test.pvalue)  # exact: 3 of 29 languages are unseen


def test_prompted_models_are_compared_in_the_same_languages(contrasts):
    found = find(contrasts, "prompted", ALL, "tc", "mbert", "glot_seq_bn_inv", "GPT-4-0613")
    large = {row["language"]: float(row["GPT-4-0613"]) for row in rows("llm_tc", "mbert")}
    gains = [float(row["glot_seq_bn_inv"]) - large[row["language"]] for row in rows("tc", "mbert")]
    assert found.difference == pytest.approx(np.mean(gains))


def test_every_question_is_asked_of_all_measures_that_have_its_columns(contrasts):
    counts = Counter(c.question for c in contrasts if c.language in (ALL, BOTH))
    assert counts == {
        "text": 30, "graph": 24, "full": 18, "adapters": 48, "data": 24, "fusion": 12, "exposure": 54,
        "prompted": 34,
    }  # fmt: skip
    assert counts.keys() == QUESTIONS.keys()
    units = {(c.question, c.measure, c.base, c.better, c.than, c.language): c.units for c in contrasts}
    for (*key, language), count in units.items():
        if language == ALL:
            assert count == units[(*key, SEEN)] + units[(*key, UNSEEN)]


def test_p_is_corrected_for_the_question(contrasts):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    own = [c for c in contrasts if (c.question, c.language) == ("full", ALL)]
    expected = multitest.multipletests([c.p for c in own], method="holm")[1]
    assert [c.p_holm for c in own] == pytest.approx(expected)
    (table,) = [t for t in contrast_tables(contrasts) if t.name == "published-full-all-languages"]
    assert [row[-1].value for row in table.rows] == [c.p_holm for c in own]


def test_the_command_needs_no_runs(capsys):
    with pytest.raises(SystemExit) as end:
        main(["report", "--published"])
    printed = capsys.readouterr().out
    assert end.value.code == 0
    assert re.search(r"topic +mBERT +full − Seq_bn_inv text +30 +\+2\.19 \[", printed)
    with pytest.raises(SystemExit):
        main(["report", "--published", "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["report"] is None and result["runs"] == 0 and result["sections"] == ["contrasts"]
    assert result["contrasts"][0] | {"question": "text", "base": "mbert", "units": 30} == result["contrasts"][0]


def test_a_report_of_runs_can_have_them_as_a_section(tmp_path):
    add_alignment(StudyFolder(tmp_path / "study"))
    (tmp_path / "study" / "study.yaml").write_text("name: made-up\n", encoding="utf-8")
    result = write_report([tmp_path / "study"], tmp_path / "page.html", tmp_path / "tables", published=True)
    assert result.sections[-1] == "contrasts" and "overview" in result.sections
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Is full fine-tuning better than adapters? (all languages)" in page
    with (tmp_path / "tables" / "published-full-all-languages.csv").open(encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert float(first["difference [95 %] low"]) < float(first["difference [95 %]"])


def test_a_report_of_nothing_or_without_a_page_is_refused(tmp_path):
    with pytest.raises(InputError, match="no runs"):
        write_report([], tmp_path / "page.html")
    with pytest.raises(InputError, match="no runs"):
        write_report([], None, axes=["max_bytes"], published=True)
    with pytest.raises(InputError, match="--out is missing"):
        write_report([tmp_path], None)


def test_the_page_of_published_tables_alone_can_be_written(tmp_path):
    result = write_report([], tmp_path / "page.html", published=True)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert result.report and "<h1>The tables of arXiv 2502.10140</h1>" in page


def test_every_figure_of_the_page_is_what_the_command_computes(contrasts, monkeypatch):
    """``python tools/published_page.py`` makes them again; other decimals are the method's constants."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    tool = importlib.import_module("published_page")
    monkeypatch.setattr(tool, "published_contrasts", lambda: contrasts)
    page = PAGE.read_text(encoding="utf-8")
    assert tool.page_with_figures(page) == page
    cited = len(tool.CITE.findall(page))
    assert cited == page.count("<!-- cite ") >= 30 and "\n<!-- cite " not in page
    wrong = page.replace("+2.19 (95 % interval 1.02", "+2.18 (95 % interval 1.02").replace("**+1.95", "**+1.96")
    assert wrong != page and tool.page_with_figures(wrong) == page
    rest = tool.CITE.sub("", tool.TABLE.sub("", page))
    assert set(re.findall(r"[-−+]?\d+\.\d+", rest)) == {"2502.10140", "0.69", "0.10", "0.0001", "0.05"}


def test_what_the_page_says_in_words(contrasts):
    """The verdicts, the numbers of languages and the rise of pseudo-perplexity in scripts new to mBERT."""
    certain = {c: c.p_holm < 0.05 for c in contrasts}
    assert {c.units for c in contrasts if c.language == UNSEEN} == {3, 6}
    assert not any(certain[c] for c in contrasts if c.language == UNSEEN)
    tasks = [c for c in contrasts if c.measure != "pppl"]
    assert not any(certain[c] for c in tasks if c.question in ("graph", "adapters") and c.language != BOTH)
    full = [c for c in contrasts if (c.question, c.language) == ("full", ALL)]
    assert all(certain[c] and c.difference > 0 for c in full if c.measure == "tc")
    assert not any(certain[c] for c in full if c.measure == "sa")
    fusion = [c for c in contrasts if (c.question, c.language) == ("fusion", ALL)]
    assert {c.base for c in fusion if certain[c]} == {"xlmr"} and sum(certain[c] for c in fusion) == 6
    assert all(certain[c] for c in contrasts if (c.question, c.language) == ("prompted", ALL))
    assert not any(certain[c] for c in contrasts if (c.question, c.language, c.measure) == ("text", ALL, "pppl"))
    for row in rows("pppl", "mbert"):
        if row["language"] in ("si", "am", "bo", "ku"):
            rises = [float(row[column]) / float(row["base"]) for column in row if column.startswith("glot")]
            assert len(rises) == 4 and min(rises) > (100 if row["language"] in ("si", "am") else 1)
