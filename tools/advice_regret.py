"""What the advice of ``langlift diagnose`` costs against the best of the grid of docs/reproduce_advice.sh.

python tools/advice_regret.py keep OUT/BASE...   add the grid of a base to docs/studies/advice-results.json
python tools/advice_regret.py tables             write the tables of docs/diagnose.md again

Regret: by how many percent the pseudo-perplexity per character with what is advised is above that with the best of
the grid; in F1, the difference from the better of two.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import expm1, log, sqrt
from pathlib import Path
from statistics import geometric_mean, mean, stdev
from typing import Any

from kept_results import DOCS, SEEN, TABLE, of_study, table
from kept_results import kept as kept_runs
from scipy.stats import t

from langlift.backbones.loading import weightless_model
from langlift.diagnosis.advice import plan
from langlift.diagnosis.measures import BaseMeasures, LanguageText, TextSize
from langlift.language_facts import Exposure
from langlift.languages import find_language
from langlift.vocab.diagnosis import VocabularyFit

REGRET = DOCS.parent / "src" / "langlift" / "facts" / "advice_regret.yaml"
KEPT, PAGE = DOCS / "studies" / "advice-results.json", DOCS / "diagnose.md"
OPTIONS = {
    "keep-seq_bn-mlm": "Seq_bn",
    "keep-seq_bn_inv-mlm": "Seq_bn_inv",
    "keep-full-mlm": "whole model",
    "keep-full-full_word": "whole model, whole words",
    "extend-full-mlm": "extended vocabulary",
    "specialise-full-mlm": "new vocabulary",
}
"""The grid: vocabulary, method and objective, as the tables call them."""
STACKING = (
    ("topic", 701, "Ten", "Ten"),
    ("topic", 100, "Few labels", "Few labels"),
    ("ner", 100, "Methods", "Longer"),
    ("pos", 100, "Few tags", "Longer"),
)
"""Task, labelled sentences, and the studies with the task adapter alone and stacked."""
Grid = Mapping[str, Any]
"""One base and language: ``measures`` and ``advice`` of ``diagnose``, and the options' ``scores``."""


def keep(folders: Sequence[str]) -> None:
    """Add the scores there are to the kept ones; regret needs grids with all options."""
    grids = kept()
    for folder in map(Path, folders):
        for path in sorted(folder.glob("diagnose-*.json")):
            language = path.stem.removeprefix("diagnose-")
            found = {option: folder / f"score-{language}-{option}.json" for option in OPTIONS}
            if not (found := {option: file for option, file in found.items() if file.is_file()}):
                continue
            of_language = _read(path)["languages"][0]
            measures = of_language["bases"][0]["measures"]
            measures["vocabulary"].pop("missing")
            grids.setdefault(folder.name, {})[language] = {
                "measures": {
                    **{part: of_language[part] for part in ("text", "own_fertility")},
                    **{part: measures[part] for part in ("per_character", "vocabulary", "exposure")},
                },
                "advice": "-".join(
                    of_language["bases"][0]["advice"][part] for part in ("vocabulary", "method", "objective")
                ),
                "before": _read(folder / f"score-{language}.json")["per_character"],
                "scores": {option: _read(file)["per_character"] for option, file in found.items()},
            }
    KEPT.write_text(json.dumps(grids, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def kept() -> dict[str, dict[str, Grid]]:
    """The kept grids, by base and language."""
    return _read(KEPT) if KEPT.exists() else {}


def advised(base: str, language: str, grid: Grid) -> str:
    """The option that ``diagnose`` advises now, from the kept measures."""
    measures = grid["measures"]
    text = LanguageText(
        language=find_language(language),
        spaced=measures["own_fertility"] is not None,
        paths=(),
        size=TextSize(**measures["text"]),
        graph_path=None,
        graph=None,
        published={},
        letters=Counter(),
        own_fertility=measures["own_fertility"],
        train=[],
        measured=[],
        scored=[],
    )
    one = BaseMeasures(
        base=base,
        parameters=weightless_model(base).num_parameters(),
        per_character=measures["per_character"],
        vocabulary=VocabularyFit(**measures["vocabulary"], missing=[]),
        exposure=Exposure(**measures["exposure"]),
    )
    chosen = plan(text, one)
    return f"{chosen.vocabulary}-{chosen.method}-{chosen.objective}"


def regret(grid: Grid, option: str) -> float:
    """In percent, for an option of the grid."""
    return 100 * (grid["scores"][option] / min(grid["scores"].values()) - 1)


def best_elsewhere(grids: Mapping[str, Grid], language: str) -> str:
    """The option with the lowest mean regret in all languages but one."""
    others = [grid for name, grid in grids.items() if name != language]
    return min(OPTIONS, key=lambda option: mean(regret(grid, option) for grid in others))


def fitted_elsewhere(grids: Mapping[str, Grid], language: str) -> str:
    """A new vocabulary or an extended one, by the limit of distinct words that is best in all other languages."""
    words = {name: grid["measures"]["text"]["distinct_words"] for name, grid in grids.items()}
    others = sorted((count, name) for name, count in words.items() if name != language)
    middles = [(one[0] + other[0]) / 2 for one, other in pairwise(others)]

    def chosen(name: str, limit: float) -> str:
        return "specialise-full-mlm" if words[name] >= limit else "extend-full-mlm"

    limit = min(middles, key=lambda limit: sum(regret(grids[name], chosen(name, limit)) for _, name in others))
    return chosen(language, limit)


def grid_table(grids: Mapping[str, Grid]) -> str:
    """The scores of every option."""
    rows = []
    for name, grid in grids.items():
        rows.append([find_language(name).name, f"{grid['before']:.1f}", *_marked(grid["scores"])])
    return table(("language", "before", *OPTIONS.values()), rows)


def _marked(scores: Mapping[str, float]) -> list[str]:
    best = min(scores.values())
    numbers = {one: f"**{score:.2f}**" if score == best else f"{score:.2f}" for one, score in scores.items()}
    return [numbers.get(one, "") for one in OPTIONS]


def regret_table(base: str, grids: Mapping[str, Grid]) -> str:
    """The advice's regret by language, beside that of always doing the same."""
    rows = []
    for name, grid in grids.items():
        advice = advised(base, name, grid)
        regrets = (regret(grid, advice), regret(grid, best_elsewhere(grids, name)))
        rows.append([find_language(name).name, OPTIONS[advice], *(f"{one:.1f} %" for one in regrets)])
    return table(("language", "advice", "regret", "regret of what is best in the other languages"), rows)


def facts(grids: Mapping[str, Grid], base: str = "langlift-nano") -> str:
    """What ``diagnose`` says of its advice: mean regret, and the gain over a Seq_bn_inv, in percent."""
    chosen = {name: advised(base, name, grid) for name, grid in grids.items()}
    adapter = "keep-seq_bn_inv-mlm"
    ratios = [grids[name]["scores"][one] / grids[name]["scores"][adapter] for name, one in chosen.items()]
    return (
        "# How far the advice of ``langlift diagnose`` was from the best of the grid (docs/reproduce_advice.sh),\n"
        "# and how much lower pseudo-perplexity per character was than with a Seq_bn_inv, both in percent.\n"
        "# Written by tools/advice_regret.py.\n"
        f"base: {base}\n"
        f"languages: {len(grids)}\n"
        f"regret: {mean(regret(grids[name], one) for name, one in chosen.items()):.1f}\n"
        f"gain: {100 * (1 - geometric_mean(ratios)):.0f}\n"
    )


def fixed_table(base: str, grids: Mapping[str, Grid]) -> str:
    """The mean and the largest regret of the advice, and of always doing the same."""
    choices = {
        "the advice": {name: advised(base, name, grid) for name, grid in grids.items()},
        "the advice when the grid was run": {name: grid["advice"] for name, grid in grids.items()},
        "the advice, with its limit fitted on the other languages": {
            name: fitted_elsewhere(grids, name) for name in grids
        },
        "what is best in the other languages": {name: best_elsewhere(grids, name) for name in grids},
        **{f"always: {label}": dict.fromkeys(grids, option) for option, label in OPTIONS.items()},
    }
    rows = []
    for choice, options in choices.items():
        found = [regret(grids[name], option) for name, option in options.items()]
        rows.append([choice, f"{mean(found):.1f} %", f"{max(found):.1f} %"])
    return table(("choice", "mean regret", "largest"), rows)


def contrast_table(grids: Mapping[str, Grid]) -> str:
    """Pairs of options over the languages: mean difference in percent, with a 95 % interval (t of logarithms)."""
    pairs = (
        ("keep-seq_bn_inv-mlm", "keep-seq_bn-mlm"),
        ("keep-full-mlm", "keep-seq_bn_inv-mlm"),
        ("keep-full-full_word", "keep-full-mlm"),
        ("extend-full-mlm", "keep-full-mlm"),
        ("specialise-full-mlm", "keep-full-mlm"),
        ("specialise-full-mlm", "extend-full-mlm"),
    )
    rows = []
    for one, other in pairs:
        ratios = [log(grid["scores"][one] / grid["scores"][other]) for grid in grids.values()]
        half = t.ppf(0.975, len(ratios) - 1) * stdev(ratios) / sqrt(len(ratios))
        middle, *ends = (100 * expm1(mean(ratios) + step) for step in (0, -half, half))
        better = sum(ratio < 0 for ratio in ratios)
        rows.append(
            [
                f"{OPTIONS[one]}, against {OPTIONS[other].lower()}",
                f"{better} of {len(ratios)}",
                f"{middle:+.1f} %",
                f"{ends[0]:+.1f} to {ends[1]:+.1f}",
            ]
        )
    return table(("contrast", "languages in which it is lower", "difference", "95 % interval"), rows)


def stacking_table() -> str:
    """Regret in F1 of rules for stacking a task adapter on a text adapter, over langlift-mini's kept runs."""
    heads = ["choice"]
    cells: dict[str, list[str]] = {
        rule: [] for rule in ("alone", "stacked", "as advised", "as in the other languages")
    }
    for task, labels, alone, stacked in STACKING:
        singly, together = _by_language(alone, task, "alone"), _by_language(stacked, task, "stacked")
        gains = {name: together[name] - singly[name] for name in singly if name in together}
        heads.append(f"{task}, {labels} labels ({len(gains)})")
        for rule, row in cells.items():
            losses = []
            for name, gain in gains.items():
                like = [other for key, other in gains.items() if key != name and _seen(key) == _seen(name)]
                stack = {
                    "alone": False,
                    "stacked": True,
                    "as advised": task != "topic" or _seen(name),
                    "as in the other languages": mean(like) > 0,
                }[rule]
                losses.append(max(0.0, -gain if stack else gain))
            row.append(f"{mean(losses):.1f} (at most {max(losses):.1f})")
    return table(heads, [[rule, *row] for rule, row in cells.items()])


def _seen(language: str) -> bool:
    """Whether a language of langlift-mini's studies is among XLM-R's 100."""
    return language[:3] in SEEN


def _by_language(study: str, task: str, use: str) -> dict[str, float]:
    """The mean score over the seeds of langlift-mini's kept runs; of stacked ones, those on a Seq_bn."""
    scores: dict[str, list[float]] = {}
    for run in kept_runs():
        cell = run["cell"]
        wanted = cell.get("task") == task and cell.get("use") == use and cell.get("method", "seq_bn") == "seq_bn"
        if wanted and of_study(run, study):
            scores.setdefault(cell["language"], []).append(run["result"]["value"])
    return {language: mean(found) for language, found in scores.items()}


def page_with_tables(page: str) -> str:
    """The page with each of its tables made again from the kept grids and runs."""
    grids = kept()

    def made(match: re.Match[str]) -> str:
        maker, _, base = match[2].partition("_")
        name = f"langlift-{base}"
        made = {
            "grid": lambda: grid_table(grids[name]),
            "regret": lambda: regret_table(name, grids[name]),
            "choices": lambda: fixed_table(name, grids[name]),
            "contrasts": lambda: contrast_table(grids[name]),
            "stacking": stacking_table,
        }[maker]()
        return match[1] + made + match[3]

    return TABLE.sub(made, page)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["keep", *folders]:
            keep(folders)
        case ["tables"]:
            REGRET.write_text(facts(kept()["langlift-nano"]), encoding="utf-8")
            PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
        case _:
            sys.exit(__doc__)
