"""The kept figures of studies, and their tables in docs/results.md and docs/results-nano.md.

python tools/kept_results.py keep STUDY...   add the finished runs of studies to docs/studies/results.jsonl
python tools/kept_results.py tables          write the tables and the picture again
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import atanh, expm1, log, sqrt, tanh
from pathlib import Path
from statistics import geometric_mean, mean, stdev
from typing import Any

import yaml
from scipy.stats import spearmanr, t

from langlift.languages import find_language
from langlift.reports.charts import bar_panels, write_picture
from langlift.studies.study_file import STUDY

DOCS = Path(__file__).parents[1] / "docs"
KEPT, PAGES = DOCS / "studies" / "results.jsonl", [DOCS / "results.md", DOCS / "results-nano.md"]
PICTURE = DOCS / "assets" / "mini-few-labels.svg"
TABLE = re.compile(r"(<!-- table (\w+)[^>]*-->\n).*?(<!-- end of table -->)", re.DOTALL)
LANGUAGES = ("mlt", "yor", "ibo", "sna", "kab", "swh", "uig", "cym", "gla", "hau")
SEEN = {
    **dict.fromkeys(("swh", "uig", "cym", "gla"), " (in XLM-R's data)"),
    "hau": " (and in the masked training)",
}
Scores = Mapping[str, Mapping[int, float]]
"""The scores of each column in one language, by seed."""
WITHOUT = "Without contrast: "
"""Before the names of studies whose text adapters were trained before the preset had the contrast."""
Run = dict[str, Any]
Columns = Mapping[str, tuple[str, Run]]
"""The columns of a table -> the study of their runs, and what the runs' cells have."""


def keep(studies: Sequence[str]) -> None:
    """Add the finished runs of some studies to the kept ones, in the order of their names."""
    runs = {run["hash"]: run for run in kept()}
    for path in (path for study in studies for path in Path(study).glob("runs/*/run.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        run["cell"] = {name: value for name, value in run["cell"].items() if value is not None}
        kept_parts = {part: run[part] for part in ("name", "hash", "kind", "cell", "result", "cost")}
        study = yaml.safe_load((path.parents[2] / STUDY).read_text("utf-8"))["name"]
        study = runs.get(run["hash"], {"study": study})["study"]  # of a run in several studies, the first
        runs[run["hash"]] = {"study": study, **kept_parts}
    lines = [json.dumps(run, ensure_ascii=False) for run in sorted(runs.values(), key=lambda run: run["name"])]
    KEPT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def kept() -> list[Run]:
    """All kept runs."""
    return [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()] if KEPT.exists() else []


def page_with_tables(page: str) -> str:
    """The page with each of its tables made again from the kept runs."""
    runs = kept()
    return TABLE.sub(lambda match: match[1] + TABLES[match[2]](runs) + match[3], page)


def topics(runs: Sequence[Run]) -> str:
    """Topics in ten languages, and the pseudo-perplexity within words before and after adaptation."""
    heads = (
        "language",
        "TF-IDF",
        "alone",
        "on a Seq_bn",
        "without contrast",
        "on a Seq_bn_inv",
        "full",
        "per character",
    )
    rows = []
    for code in LANGUAGES:
        own = [run for run in runs if run["cell"].get("language", "").startswith(code)]
        topic = [run for run in own if run["cell"].get("task") == "topic" and of_study(run, "Ten")]
        earlier = [run for run in own if run["cell"].get("task") == "topic" and of_study(run, f"{WITHOUT}ten")]
        scores = [run for run in own if run["cell"].get("metric") == "per_character" and of_study(run, "Ten")]
        before = first(run["result"]["value"] for run in scores if "method" not in run["cell"])
        after = first(values(scores, method="seq_bn"))
        rows.append(
            [
                find_language(code).name + SEEN.get(code, ""),
                first(run["result"]["baseline"].get("tfidf") for run in topic),
                spread(values(topic, use="alone")),
                spread(values(topic, use="stacked", method="seq_bn")),
                spread(values(earlier, use="stacked", method="seq_bn")),
                spread(values(topic, use="stacked", method="seq_bn_inv")),
                spread(values(topic, use="full")),
                " → ".join(filter(None, (before, after))),
            ]
        )
    return table(heads, rows)


def gains(runs: Sequence[Run]) -> str:
    """Topics: a text adapter, and full fine-tuning, against the task adapter alone, by seed; and TF-IDF."""
    stacked: dict[str, list[float]] = {"not in XLM-R's data": [], "in XLM-R's data": []}
    rows, full, ahead = [], [], []
    for code in LANGUAGES:
        own = [
            run
            for run in runs
            if run["cell"].get("language", "").startswith(code)
            and run["cell"].get("task") == "topic"
            and of_study(run, "Ten")
            and run["cell"].get("method") != "seq_bn_inv"
        ]
        differences, of_full = by_seed(own), by_seed(own, "full")
        stacked["in XLM-R's data" if code in SEEN else "not in XLM-R's data"].append(mean(differences))
        full += [mean(of_full)] if of_full else []
        best = max(mean(values(own, use=use)) for use in ("alone", "stacked"))
        ahead.append(best - own[0]["result"]["baseline"]["tfidf"])
        name = find_language(code).name
        rows.append([name, signed(differences), signed([mean(differences)]), signed(of_full), signed([ahead[-1]])])
    for name, found in stacked.items():
        rows.append([f"{len(found)} languages {name}", "", with_interval(found), "", ""])
    rows.append(["all", "", "", with_interval(full), signed([mean(ahead)])])
    columns = (
        "on a Seq_bn, by seed",
        "mean (95 % interval)",
        "full fine-tuning",
        "better of alone and on a Seq_bn, against TF-IDF",
    )
    return table(("language", *columns), rows)


def tokens(runs: Sequence[Run]) -> str:
    """Entities, sentiment and tags, each compared with its baseline."""
    return _tasks(runs, "Entities")


def few(runs: Sequence[Run]) -> str:
    """Entities and topics from few labels."""
    return _tasks(runs, "Few labels")


KNOWLEDGE: Columns = {
    "on text": ("Fusion", {"use": "stacked", "data": "text"}),
    "on text, of fusion's size": ("Task adapters of fusion's size", {"use": "stacked"}),
    "on the graph": ("Fusion", {"use": "stacked", "data": "graph"}),
    "on the graph, full words": ("Objectives", {"objective": "full_word"}),
    "on the graph, targeted": ("Objectives", {"objective": "targeted"}),
    "on the fusion": ("Fusion", {"use": "fused"}),
}


def knowledge(runs: Sequence[Run]) -> str:
    """Entities from few labels on adapters of text, of a graph by objective, and on their fusion."""
    return _by_language(runs, "ner", KNOWLEDGE, ("on text", "on text, of fusion's size", "on the graph"))


def alignment(runs: Sequence[Run]) -> str:
    """How close sentences are to their English translations, and which measures rank languages as topics do."""
    rows, measured = [], []
    for code in LANGUAGES:
        here = [run for run in runs if run["cell"].get("language", "").startswith(code)]
        of_ten = [run for run in here if of_study(run, "Ten")]
        found = {}
        for run in (one for one in here if one["kind"] == "alignment"):
            on = run["cell"].get("data", run["cell"]["base"].removeprefix("langlift-"))
            found[f"{on} with contrast" if on == "text" and of_study(run, "Contrast") else on] = run["result"]
        cells = [
            f"{found[on]['cka']:.2f}, {100 * found[on]['retrieval']:.0f} %" if on in found else ""
            for on in ("nano", "mini", "text", "text with contrast", "graph")
        ]
        topic = values(of_ten, task="topic", use="alone")
        base = next(
            run["result"]["value"]
            for run in of_ten
            if run["cell"]["metric"] == "per_character" and "method" not in run["cell"]
        )
        mini = found["mini"]
        neurons = ", ".join(f"{100 * found[on]['neurons']:.0f} %" for on in ("nano", "mini"))
        name = find_language(code).name + SEEN.get(code, "")
        rows.append([name, *cells, neurons, f"{base:.1f}", spread(topic)])
        measured.append((mini["cka"], mini["retrieval"], mini["neurons"], base, mean(topic)))
    *columns, topics_alone = zip(*measured, strict=True)
    cka, retrieval, shared, base = (rank_correlation(column, topics_alone) for column in columns)
    rows.append(["rank correlation with topics", "", f"{cka}, {retrieval}", "", "", "", shared, base, ""])
    heads = (
        "nano",
        "mini",
        "mini on text",
        "on text with contrast",
        "on the graph",
        "neurons, nano and mini",
        "mini, per character",
        "topics",
    )
    return table(("language", *heads), rows)


METHODS: Columns = {
    "task adapter alone": ("Methods", {"use": "alone"}),
    "on a Seq_bn": ("Methods", {"use": "stacked", "method": "seq_bn"}),
    "on a Seq_bn of 2,000 steps": ("Longer", {"use": "stacked", "steps": 2000}),
    "on a Seq_bn_inv": ("Methods", {"use": "stacked", "method": "seq_bn_inv"}),
    "full fine-tuning": ("Methods", {"use": "full"}),
}


def methods(runs: Sequence[Run]) -> str:
    """Entities from few labels on text adapters by method, and by full fine-tuning."""
    return _by_language(runs, "ner", METHODS, ("task adapter alone", "on a Seq_bn", "on a Seq_bn of 2,000 steps"))


TAGS: Columns = {
    "task adapter alone": ("Few tags", {"use": "alone"}),
    "on a Seq_bn": ("Few tags", {"use": "stacked"}),
    "on a Seq_bn of 2,000 steps": ("Longer", {"use": "stacked", "steps": 2000}),
}


def tags(runs: Sequence[Run]) -> str:
    """Tags from few labels, with text adapters that were trained without contrast."""
    return _by_language(runs, "pos", TAGS, ("task adapter alone",), _scores(runs, "ner", METHODS))


def _by_language(
    runs: Sequence[Run],
    task: str,
    columns: Columns,
    references: Iterable[str],
    of_entities: Mapping[str, Scores] | None = None,
) -> str:
    """A row for each language, a column for each (study, cell), and the differences from some of the columns.

    The differences also together with those ``of_entities``, in other languages.
    """
    found = _scores(runs, task, columns)
    rows = [
        [find_language(code).name, *(spread(list(of_seeds.values())) for of_seeds in scores.values())]
        for code, scores in found.items()
    ]
    for reference in references:
        rows.append([f"compared with {reference}", "", *_compared(list(found.values()), columns, reference)])
        if of_entities:
            both = [*found.values(), *of_entities.values()]
            rows.append(["the same for tags and entities", "", *_compared(both, columns, reference)])
    return table(("language", "baseline", *columns), rows)


def _scores(runs: Sequence[Run], task: str, columns: Columns) -> dict[str, Scores]:
    """For each language, the scores of the baseline and of each column, by seed."""
    own = [run for run in runs if run["cell"].get("task") == task]
    own = [run for run in own if of_study(run, tuple(study for study, _ in columns.values()))]
    found: dict[str, Scores] = {}
    for code in sorted({run["cell"]["language"] for run in own}):
        here = [run for run in own if run["cell"]["language"] == code]
        found[code] = {
            "baseline": {run["cell"]["seed"]: max(run["result"]["baseline"].values()) for run in here},
            **{
                name: {
                    run["cell"]["seed"]: run["result"]["value"]
                    for run in here
                    if of_study(run, study) and cell.items() <= run["cell"].items()
                }
                for name, (study, cell) in columns.items()
            },
        }
    return found


def _compared(found: Sequence[Scores], names: Iterable[str], reference: str) -> list[str]:
    """The differences of each score from one of them with the same seeds, over the languages that have both.

    After the mean and its interval, the pairs of language and seed in which the score is higher.
    """
    compared = []
    for name in names:
        gaps = [
            [scores[name][seed] - scores[reference][seed] for seed in scores[name] if seed in scores[reference]]
            for scores in found
        ]
        if name == reference or len(means := [mean(gap) for gap in gaps if gap]) < 2:
            compared.append("")
            continue
        pairs = [one for gap in gaps for one in gap]
        compared.append(f"{with_interval(means)}, {sum(one > 0 for one in pairs)} of {len(pairs)}")
    return compared


GRAPHS = ("Graph size", "Noise in graphs")
"""Two studies with the same scores of the base."""


def graph_sizes(runs: Sequence[Run]) -> str:
    """Pseudo-perplexity per character with an adapter on a part of a graph, and on all of it."""
    sizes = sorted(
        {run["cell"]["max_bytes"] for run in runs if of_study(run, GRAPHS) and "max_bytes" in run["cell"]}
    )
    columns = {f"{size // 1000} KB": {"max_bytes": size} for size in sizes}
    return _per_character(runs, GRAPHS, {**columns, "all": {"noise": 0}}, "all")


def graph_noise(runs: Sequence[Run]) -> str:
    """Pseudo-perplexity per character with an adapter on a graph of which a share is corrupted."""
    shares = sorted({run["cell"]["noise"] for run in runs if of_study(run, GRAPHS) and "noise" in run["cell"]})
    return _per_character(runs, GRAPHS, {f"{share:.0%} noise": {"noise": share} for share in shares}, "0% noise")


def initialisation(runs: Sequence[Run]) -> str:
    """Pseudo-perplexity per character by the initialisation of a new vocabulary."""
    ways = ("focus", "script", "mean", "random")
    return _per_character(runs, "Initialisation", {way: {"vocabulary_init": way} for way in ways}, "focus")


def _per_character(
    runs: Sequence[Run], study: str | tuple[str, ...], columns: Mapping[str, Run], reference: str
) -> str:
    """A column for the base, and one for the runs with each of these cells, compared with one of them."""
    own = [run for run in runs if of_study(run, study) and run["cell"].get("metric") == "per_character"]
    rows = []
    ratios: dict[str, list[float]] = {name: [] for name in columns}
    for code in sorted({run["cell"]["language"] for run in own}):
        here = [run for run in own if run["cell"]["language"] == code]
        base = values(run for run in here if "method" not in run["cell"])
        found = {name: values(here, **cell) for name, cell in columns.items()}
        for name, of_column in found.items():
            ratios[name].append(log(geometric_mean(of_column) / geometric_mean(found[reference])))
        rows.append([find_language(code).name, spread(base), *map(spread, found.values())])
    compared = ("" if name == reference else with_interval(found, percent) for name, found in ratios.items())
    rows.append([f"compared with {reference}, % (95 % interval)", "", *compared])
    return table(("language", "base", *columns), rows)


def picture(runs: Sequence[Run]) -> dict[str, Any]:
    """Few labels as a chart: the mean scores of each language, next to the baseline."""
    rows = []
    for task, columns in (("ner", METHODS), ("pos", TAGS)):
        for code, scores in _scores(runs, task, columns).items():
            rows += [
                {
                    "panel": "Entity F1, tag accuracy",
                    "name": find_language(code).name,
                    "series": series,
                    "value": mean(found.values()),
                    "text": f"{mean(found.values()):.1f}",
                }
                for series in ("baseline", "task adapter alone", "on a Seq_bn of 2,000 steps", "full fine-tuning")
                if (found := scores.get(series))
            ]
    return bar_panels(rows, ["Entities (first three) and tags", "from 100 labelled sentences"])


def _tasks(runs: Sequence[Run], study: str) -> str:
    """A table with the text adapters of the preset and, in the last column, those trained without contrast."""
    rows = []
    earlier = [run for run in runs if of_study(run, WITHOUT + study.lower())]
    for task in ("ner", "topic", "sentiment", "pos"):
        of_task = [run for run in runs if of_study(run, study) and run["cell"].get("task") == task]
        for code in sorted({run["cell"]["language"] for run in of_task}):
            own = [run for run in of_task if run["cell"]["language"] == code]
            alone, stacked = values(own, use="alone"), values(own, use="stacked", method="seq_bn")
            without = values(earlier, use="stacked", method="seq_bn", task=task, language=code)
            baseline = spread(sorted({max(run["result"]["baseline"].values()) for run in own}))
            rows.append(
                [task, find_language(code).name, baseline, spread(alone), spread(stacked), spread(without)]
            )
    heads = ("task", "language", "baseline", "task adapter alone", "on a Seq_bn", "on one without contrast")
    return table(heads, rows)


TABLES = {
    "topics": topics,
    "gains": gains,
    "tokens": tokens,
    "few": few,
    "tags": tags,
    "knowledge": knowledge,
    "methods": methods,
    "alignment": alignment,
    "graph_sizes": graph_sizes,
    "graph_noise": graph_noise,
    "initialisation": initialisation,
}


def of_study(run: Run, name: str | tuple[str, ...]) -> bool:
    """Whether a run is of a study whose name begins so."""
    return str(run["study"]).startswith(name)


def values(runs: Iterable[Run], **cell: Any) -> list[float]:
    """The results of the runs whose cell has these values."""
    return [run["result"]["value"] for run in runs if cell.items() <= run["cell"].items()]


def by_seed(runs: Iterable[Run], use: str = "stacked") -> list[float]:
    """One use (stacked, full) minus alone, for each seed that has both."""
    scores = {(run["cell"]["use"], run["cell"]["seed"]): run["result"]["value"] for run in runs}
    seeds = sorted(seed for one, seed in scores if one == use)
    return [scores[use, seed] - scores["alone", seed] for seed in seeds if ("alone", seed) in scores]


def with_interval(found: Sequence[float], shown: Callable[[float], float] = float) -> str:
    """The mean over languages with its 95 % interval (Student's t)."""
    half = t.ppf(0.975, len(found) - 1) * stdev(found) / sqrt(len(found))
    middle, low, high = (signed([shown(mean(found) + part)]) for part in (0, -half, half))
    return f"{middle} ({low} to {high})"


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> str:
    """Spearman's, with its 95 % interval (Fisher's z, with the variance of Bonett & Wright 2000)."""
    found = float(spearmanr(first, second).statistic)
    half = 1.96 * sqrt((1 + found**2 / 2) / (len(first) - 3))
    low, high = (tanh(atanh(found) + part) for part in (-half, half))
    return f"{found:.2f} ({low:.2f} to {high:.2f})"


def percent(difference: float) -> float:
    """A difference of logarithms in percent."""
    return 100 * expm1(difference)


def signed(found: Iterable[float]) -> str:
    """Differences to one decimal."""
    return ", ".join(f"{one:+.1f}".replace("-0.0", "0.0").replace("+0.0", "0.0") for one in found)


def first(found: Iterable[float | None]) -> str:
    """The first number there is, or nothing."""
    return next((f"{value:.1f}" for value in found if value is not None), "")


def spread(found: Sequence[float]) -> str:
    """Mean and standard deviation over seeds; only the mean of one."""
    if not found:
        return ""
    return f"{mean(found):.1f}" + (f" ± {stdev(found):.1f}" if len(found) > 1 else "")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---", *["--:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["keep", *studies]:
            keep(studies)
        case ["tables"]:
            for page in PAGES:
                page.write_text(page_with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
            write_picture(PICTURE, picture(kept()))
        case _:
            sys.exit(__doc__)
