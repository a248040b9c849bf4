"""The report: parses strictly, is accessible, shows what the analysis says, and its exports can be read."""

import csv
import io
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest
from study_folder import BASE, StudyFolder, add_alignment, make_study, write_recipe

from langlift.errors import InputError
from langlift.reports import study_page
from langlift.reports.study_page import write_report
from langlift.reports.study_tables import published_table, results_table
from langlift.reports.tables import Cell, Table, as_csv, as_latex
from langlift.studies.analysis.analysing import analyse
from langlift.studies.published import published_figures, what_differs

CHROMIUM = "/usr/bin/chromium"
RESOURCE = re.compile(r"""\b(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", re.IGNORECASE)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "made-up"
    make_study(folder)
    (folder / "study.yaml").write_text("name: Small <and> made up\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def analysis(study):
    return analyse([study])


@pytest.fixture(scope="module")
def page(study, analysis):
    """(result, the page, its text)."""
    out = study.parent / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_page, "analyse", lambda folders, axes: analysis)  # it takes seconds: once is enough
        result = write_report([study], out, exports=study.parent / "tables")
    return result, out, out.read_text(encoding="utf-8")


def test_all_sections_are_there(page):
    result, _, _ = page
    assert result.sections == [
        "overview", "results", "differences", "behaviour", "published", "correlations", "regression", "curves",
        "fusion", "training", "cost",
    ]  # fmt: skip
    assert result.unfinished == ["task-killed"]


def test_different_precisions_are_pointed_out(tmp_path):
    study = make_study(tmp_path / "study")
    folders = sorted((study.path / "runs").glob("task-*/seed-*"))
    for number, folder in enumerate(folders):
        (folder / "metrics.json").write_text(json.dumps({"precision": "bf16" if number else "float32"}))
    (sentiment,) = [one for one in analyse([study.path]).results if one.measure.task == "sentiment"]
    (note,) = [one for one in results_table(sentiment).notes if "precision" in one]
    assert f"float32 in 1, such as {folders[0].parent.name}" in note and f"bf16 in {len(folders) - 1}," in note
    (folders[0] / "metrics.json").write_text(json.dumps({"precision": "bf16"}))
    (sentiment,) = [one for one in analyse([study.path]).results if one.measure.task == "sentiment"]
    assert not any("precision" in one for one in results_table(sentiment).notes)


def test_alignment_has_a_section_with_tables_and_heat_maps(tmp_path):
    study = StudyFolder(tmp_path / "study")
    add_alignment(study)
    (tmp_path / "study/study.yaml").write_text("name: made-up\n")
    result = write_report([tmp_path / "study"], tmp_path / "page.html", exports=tmp_path)
    assert result.sections == ["overview", "alignment", "cost"], "no table of conditions compares what is unlike"
    assert {"alignment-eng-latn", "alignment-facebookai-xlm-roberta-base"} <= set(result.tables)
    rows = list(csv.DictReader((tmp_path / "alignment-eng-latn.csv").open()))
    assert [(row["language"], row["condition"]) for row in rows] == [
        (code, who) for code in ("mlt_Latn", "swh_Latn") for who in ("no adapter", "seq_bn")
    ]
    assert float(rows[1]["Linear CKA"]) == pytest.approx(0.53) and rows[1]["Linear CKA seeds"] == "2"
    assert float(rows[0]["Linear CKA"]) == pytest.approx(0.3) and rows[0]["Residual"] == "0.8"
    page = (tmp_path / "page.html").read_text()
    assert "seq_bn: mlt_Latn 0.53, swh_Latn 0.63" in page and "seq_bn: 1 0.90, 2 0.58" in page
    (found, other) = analyse([tmp_path / "study"]).alignments
    assert (found.compared_with, other.compared_with) == ("eng_Latn", BASE)
    assert found.layers["seq_bn"] == pytest.approx([0.9, 0.58])
    pytest.importorskip("html5lib").HTMLParser(strict=True).parse(page)


def test_page_parses_strictly(page):
    html5lib = pytest.importorskip("html5lib")
    html5lib.HTMLParser(strict=True).parse(page[2])


def test_page_loads_nothing(page):
    """Outside of the script (Vega holds addresses of schemas), no element asks for anything."""
    markup = re.sub(r"<script>.*?</script>", "", page[2], flags=re.DOTALL)
    assert not RESOURCE.search(markup)
    assert "@import" not in markup and "<link" not in markup


def test_structure_is_accessible(page):
    """What a screen reader needs, checked without a browser."""
    html5lib = pytest.importorskip("html5lib")
    tree = html5lib.parse(page[2], namespaceHTMLElements=False)
    assert tree.get("lang") == "en"
    assert len(tree.findall(".//h1")) == 1 and len(tree.findall(".//main")) == 1
    for table in tree.findall(".//table"):
        assert table.find("caption").text.strip()
        assert all(cell.get("scope") == "col" for cell in table.findall("thead/tr/th"))
        assert all(row[0].tag == "th" and row[0].get("scope") == "row" for row in table.findall("tbody/tr"))
    charts = tree.findall(".//div[@role='img']")
    assert len(charts) > 20 and all(len(chart.get("aria-label")) > 20 for chart in charts)
    ids = re.findall(r'\sid="([^"]+)"', re.sub(r"<script.*?</script>", "", page[2], flags=re.DOTALL))
    assert len(ids) == len(set(ids))
    for link in tree.findall(".//nav//a"):
        assert link.get("href")[1:] in ids


@pytest.mark.slow
def test_axe_finds_nothing_in_chromium(page):
    """axe-core, wide and narrow, light and dark; then a chart becomes interactive under the pointer."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright is not installed")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no Chromium at {CHROMIUM} (Debian's package chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width, scheme in ((1200, "light"), (375, "dark")):
            view = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
            tab = view.new_page()
            mistakes: list[str] = []
            tab.on("pageerror", lambda error, mistakes=mistakes: mistakes.append(str(error)))
            tab.goto(page[1].as_uri())
            tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            found = axe.Axe().run(tab, {"exclude": [["svg"]]})  # hidden from screen readers, and large
            assert found.violations_count == 0, found.generate_report()
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            tab.locator(".chart").first.hover()
            tab.wait_for_selector(".chart .vega-embed svg")
            assert mistakes == []
        browser.close()


def test_numbers_are_those_of_the_analysis(page, analysis):
    results = next(r for r in analysis.results if r.measure.task == "sentiment")
    rows = list(csv.DictReader(io.StringIO(as_csv(results_table(results)))))
    for row in rows[:-1]:  # the last is the mean
        language = row["language"]
        for condition in results.conditions:
            found = results.spread(language, condition)
            if found is None:
                assert row[condition.label] == ""
                continue
            assert float(row[condition.label]) == pytest.approx(found.mean)
            assert float(row[f"{condition.label} std"]) == pytest.approx(found.std)
            assert f"{found.mean:.1f}" in page[2]
        means = {c.label: s.mean for c in results.conditions if (s := results.spread(language, c))}
        assert f"<b>{max(means.values()):.1f}</b>" in page[2]


def test_published_figures_come_with_what_differs(page, analysis):
    """XLM-R is the base here, so its figures alone are shown; every table of them says what differs."""
    results = next(r for r in analysis.results if r.measure.metric == "pseudo_perplexity")
    maltese = {c.label: published_figures(results.measure, c, "mlt_Latn") for c in results.conditions}
    with Path(str(files("langlift") / "facts" / "published_pppl.csv")).open(encoding="utf-8") as file:
        row = next(r for r in csv.DictReader(file) if r["model"] == "xlmr" and r["language"] == "mt")
    assert [(f.model, f.value) for f in maltese["no adapter"]] == [("XLM-R", float(row["base"]))]
    assert all(f[0].value == float(row["glot_seq_bn"]) for label, f in maltese.items() if label != "no adapter")
    assert published_figures(results.measure, results.conditions[0], "fin_Latn") == []
    tables = [
        published_table(r, what_differs(r, analysis.runs)) for r in analysis.results if not r.measure.is_loss
    ]
    assert [t.name for t in tables] == [name for name in page[0].tables if name.endswith("-published")]
    assert all("Not the same experiment" in t.notes[0] and len(t.notes) > 1 for t in tables)
    assert any("epochs 3 here; 25 there" in note for table in tables for note in table.notes)


def test_a_task_without_published_figures_has_no_such_section(tmp_path):
    study = StudyFolder(tmp_path / "study")
    for seed in (1, 2, 3):
        cell = {"language": "myv_Cyrl", "base": BASE, "task": "pos", "metric": "accuracy", "use": "alone"}
        folder = study.run("task", cell | {"seed": seed}, {"value": 70.0 + seed, "before": None})
        write_recipe(folder, "task", {"epochs": 10, "batch_size": 8, "learning_rate": 3e-4})
    (tmp_path / "study/study.yaml").write_text("name: made-up\n")
    result = write_report([tmp_path / "study"], tmp_path / "page.html")
    assert "results" in result.sections and "published" not in result.sections


def test_exports_parse(page, study):
    folder = study.parent / "tables"
    for name in page[0].tables:
        rows = list(csv.reader((folder / f"{name}.csv").open(encoding="utf-8", newline="")))
        assert len(rows) > 1 and all(len(row) == len(rows[0]) for row in rows)
        text = (folder / f"{name}.tex").read_text(encoding="utf-8")
        body = re.search(r"\\midrule\n(.*)\\bottomrule", text, re.DOTALL)[1]
        columns = len(re.search(r"tabular}{(\w+)}", text)[1])
        for line in body.splitlines():
            assert len(re.findall(r"(?<!\\)&", line)) == columns - 1
            assert not re.search(r"(?<!\\)[_%#]", line)
    links = re.findall(r'href="data:text/(?:csv|x-tex)', page[2])
    assert len(links) == 2 * len(page[0].tables)


def test_what_users_wrote_is_escaped(page):
    assert "&lt;a&amp;b&gt;_text" in page[2]
    assert "<a&b>" not in page[2]
    assert "<h1>Small &lt;and&gt; made up</h1>" in page[2], "the study's name"
    table = Table("n", "50 % of a_b", ["x & y"], [[Cell("~^\\{}")]])
    assert r"50 \% of a\_b" in as_latex(table) and r"x \& y" in as_latex(table)
    assert r"\textasciitilde{}\textasciicircum{}\textbackslash{}\{\}" in as_latex(table)


def test_single_runs_of_earlier_commands(tmp_path, langlift):
    """An adapter's run and a task's of two seeds: each seed counts, and what is missing is left out."""
    adapter = tmp_path / "adapt-mlt_Latn-1"
    adapter.mkdir()
    write_recipe(adapter, "adapt", {"method": "seq_bn", "objective": "mlm", "seed": 1})
    recipe = "command: adapt\ninputs: {language: mlt_Latn, base: langlift-nano, data: mlt_Latn.txt}\n"
    (adapter / "recipe.yaml").write_text(f"{recipe}adapt: {{method: seq_bn, seed: 1}}\n", encoding="utf-8")
    metrics = {
        "validation_loss": 4.0,
        "validation_loss_before": 6.0,
        "tokens": 100,
        "flops": 10**9,
        "seconds": 3.0,
    }
    (adapter / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    task = tmp_path / "topic"
    inputs = f"{{task: topic, base: langlift-nano, data: mlt_Latn, language_adapter: {adapter}}}"
    for seed, value in ((1, 40.0), (2, 44.0)):
        (task / f"seed-{seed}").mkdir(parents=True)
        measured = {"seed": seed, "dev_macro_f1": 50.0, "test_macro_f1": value}
        (task / f"seed-{seed}" / "metrics.json").write_text(json.dumps(measured), encoding="utf-8")
    (task / "recipe.yaml").write_text(
        f"command: task\ninputs: {inputs}\ntask: {{method: seq_bn, seeds: [1, 2]}}\n", encoding="utf-8"
    )
    (task / "metrics.json").write_text('{"baseline": {"tfidf": 61.5}}', encoding="utf-8")
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    write_recipe(stopped, "adapt", {})
    out = tmp_path / "r.html"
    result = langlift("report", adapter, task, stopped, "--out", out, "--json").json
    assert result["runs"] == 3 and result["unfinished"] == ["stopped"]
    assert "correlations" not in result["sections"] and "fusion" not in result["sections"]
    text = out.read_text(encoding="utf-8")
    assert "42.0" in text and "± 2.8" in text and "fewer than three seeds" in text
    assert "baseline: tfidf" in text and re.search(r"<(b|strong)[^>]*>61.5", text), "the best is a baseline"


def test_attention_is_by_condition_with_all_seeds(tmp_path):
    """A study's adapters have other names for each seed; bases have different numbers of layers."""
    study = StudyFolder(tmp_path / "study")
    for base, method, layers, share in (("a", "seq_bn", 2, 0.5), ("b", "seq_bn", 3, 0.5), ("b", "lora", 3, 0.125)):
        for seed in (1, 2):
            cell = {"base": base, "method": method, "data": "text,graph", "use": "fused"}
            folder = study.sentiment("mlt_Latn", cell, seed, 0.9)
            shares = {"text": share + seed / 8, "graph": 1 - share - seed / 8}
            by_layer = {f"adapt_{name}_{seed}_ab12": [one] * layers for name, one in shares.items()}
            report = {"fusion_attention": by_layer, "fusion_attention_by_seed": {str(seed): by_layer}}
            (folder / "metrics.json").write_text(json.dumps({"report": report}), encoding="utf-8")
    (tmp_path / "study/study.yaml").write_text("name: made-up\n")
    (part,) = study_page._fusion(analyse([tmp_path / "study"]))
    assert [figure.note for figure in part.figures] == ["mean of 2 seeds"] * 3
    rows = list(csv.reader(io.StringIO(as_csv(part.tables[0]))))
    assert rows[0][2:] == ["layer 1", "layer 2", "layer 3"]
    sentiment = "sentiment, Maltese (mlt_Latn): "
    assert [row[:2] for row in rows[1::2]] == [
        [f"{sentiment}a, seq_bn", "text"],
        [f"{sentiment}b, seq_bn", "text"],
        [f"{sentiment}b, lora", "text"],
    ]
    assert [row[2:] for row in rows[1::2]] == [["0.6875", "0.6875", ""], ["0.6875"] * 3, ["0.3125"] * 3]


def test_errors_are_one_line(tmp_path, langlift, study):
    out = tmp_path / "report.html"
    wrong = langlift("report", tmp_path / "nowhere", tmp_path, "--out", out, "--json")
    assert wrong.code == 2 and "nowhere" in wrong.error["error"] and not out.exists()
    assert langlift("report", study, "--out", tmp_path / "report.pdf", "--json").code == 2
    with pytest.raises(InputError, match="no finished run"):
        empty = tmp_path / "stopped"
        empty.mkdir()
        write_recipe(empty, "adapt", {})
        analyse([empty])


def test_cells_are_no_formulas_in_a_spreadsheet() -> None:
    rows = [[Cell("=1+1"), Cell("−2.0", -2.0)], [Cell("@x"), Cell("3.0", 3.0)]]
    assert as_csv(Table("name", "caption", ["word", "score"], rows)) == "word,score\n'=1+1,-2.0\n'@x,3.0\n"
