"""The tables of a study's report, from its analysis; numbers are only formatted here."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean, stdev

from langlift.errors import InputError
from langlift.evaluation.alignment import MOST_ACTIVE
from langlift.languages import find_language
from langlift.reports.tables import NONE, Cell, Table, capital, interval, number, signed, words
from langlift.studies.analysis.analysing import Similarity
from langlift.studies.analysis.bootstrap import TEST_ITEMS, Difference, Differences
from langlift.studies.analysis.correlations import Correlation
from langlift.studies.analysis.effects import FEW_LANGUAGES, AxisCurves, Regression
from langlift.studies.analysis.measures import SHARES, Measure, Results, Spread, label, settings_of, spread
from langlift.studies.folder import StudyRun
from langlift.studies.published import LARGE_MODELS_TABLE, large_figures, published_figures, shots_of
from langlift.studies.study import PROMPTED_USE

TWO, THREE = frozenset({0, 1}), frozenset({0, 1, 2})
"""The leading columns of text."""


def language_name(code: str) -> str:
    """A language's English name and code; anything else unchanged."""
    try:
        language = find_language(code)
    except InputError:
        return code
    return f"{language.name} ({code})"


def score_text(value: float, measure: Measure) -> str:
    """A score with one decimal; perplexities with about three digits; losses with three decimals."""
    if measure.is_loss:
        return f"{value:,.3f}"
    if measure.is_perplexity:
        return f"{value:,.{0 if value >= 1000 else 1 if value >= 100 else 2}f}"
    return f"{value:.3f}" if measure.metric in SHARES else f"{value:.1f}"


def spread_cell(spread: Spread | None, measure: Measure, best: bool = False) -> Cell:
    """Mean ± standard deviation; count and interval for programs."""
    if spread is None:
        return NONE
    further = {"std": spread.std, "low": spread.low, "high": spread.high, "seeds": spread.count}
    deviation = "" if spread.std is None else f"± {score_text(spread.std, measure)}"
    return Cell(score_text(spread.mean, measure), spread.mean, deviation, further, best)


def results_table(results: Results) -> Table:
    """Languages in rows, conditions in columns, the best of a row in bold."""
    measure, rows = results.measure, []
    baselines = {language: results.baselines(language) for language in results.languages}
    names = list(dict.fromkeys(name for found in baselines.values() for name in found))
    for language, found in baselines.items():
        spreads = [results.spread(language, condition) for condition in results.conditions]
        plain = [Spread(1, found[name]) if name in found else None for name in names]
        cells = _ranked([*plain, *spreads], results)
        cells[: len(names)] = [replace(cell, further={}) for cell in cells[: len(names)]]
        rows.append([_language(language), *cells])
    overall = [results.overall(condition) for condition in results.conditions]
    better = "Lower is better." if measure.lower_is_better else "Higher is better."
    notes = [f"{better} ± is the standard deviation over seeds; the CSV also has 95 % intervals."]
    if any(overall):
        cells = [Cell("mean of the languages", "mean"), *[NONE] * len(names), *_ranked(overall, results)]
        rows.append(cells)
        notes.append(
            "Mean of the languages: only for what was run in all of them; ± is over seeds, of the seeds' means."
        )
    if not results.comparable:
        notes.append(
            "Losses on different data, objectives or bases cannot be compared, so none is marked as best."
        )
    if results.repeated:
        notes.append(f"Not counted: {results.repeated} runs with the same settings and seed as another one.")
    by_precision: dict[str, list[str]] = {}
    for run in results.all_runs:
        for precision in run.precisions:
            by_precision.setdefault(precision, []).append(run.name)
    if len(by_precision) > 1:
        counts = "; ".join(f"{key} in {len(some)}, such as {some[0]}" for key, some in by_precision.items())
        notes.append(f"The runs have different precisions, which explains part of small differences: {counts}.")
    if names:
        notes.append("Baselines: trained on the same data, without a language model.")
    columns = ["language", *(f"baseline: {name.replace('_', ' ')}" for name in names)]
    columns += [condition.label for condition in results.conditions]
    return Table(measure.name, f"{capital(measure.title)}: mean ± standard deviation", columns, rows, notes=notes)


def per_unit_table(results: Results) -> Table:
    """The perplexity of decoders per token, character and byte: a row for each language and condition.

    Without rows for other measures.
    """
    units = {"perplexity": "per token", "per_character": "per character", "per_byte": "per byte"}
    rows = []
    for language, condition in results.filled:
        runs = results.runs(language, condition)
        values = [[float(run.result[unit]) for run in runs if unit in run.result] for unit in units]
        if all(values):
            cells = [spread_cell(spread(some), results.measure) for some in values]
            rows.append([_language(language), *words(condition.label), *cells])
    caption = "Perplexity of decoders by unit: mean ± standard deviation"
    notes = ["To compare bases with different tokenizers, use characters or bytes, not tokens."]
    columns = ["language", "condition", *units.values()]
    return Table(f"{results.measure.name}-by-unit", caption, columns, rows, TWO, notes)


def differences_tables(results: Results, differences: Differences) -> list[Table]:
    """Paired differences between conditions: over all languages, and by language."""
    units = {one.resampled for one in [*differences.overall, *differences.by_language]}
    notes = [f"Differences in {results.measure.gain_unit}. p is two-sided, with Holm's correction for the table."]
    if TEST_ITEMS in units:
        notes[0] += (
            " Test items and seeds are resampled 2,000 times (paired bootstrap), the same for both conditions."
        )
    if units - {TEST_ITEMS}:
        notes[0] += (
            " If runs saved no items, units are languages (means of seeds) or the seeds of one language, with "
            "Student's t interval and a sign-flip test: p of n units with the same sign is 2 / 2ⁿ (exact up to 13 "
            "units, then 10,000 random flips)."
        )
    notes.append("Three seeds show little of the variation between seeds: be careful with p values near a limit.")
    columns = ["condition", "compared with", "language", "difference", "95 % interval", "p", "p, Holm", "units"]
    name, caption = f"{results.measure.name}-differences", f"{capital(results.measure.title)}: paired differences"
    overall, by_language = (
        list(map(_difference, some)) for some in (differences.overall, differences.by_language)
    )
    tables = [
        Table(name, f"{caption} over all languages", columns, overall, THREE, notes),
        Table(f"{name}-by-language", f"{caption} by language", columns, by_language, THREE, notes, bool(overall)),
    ]
    return [table for table in tables if table.rows]


def behaviour_table(results: Results) -> Table | None:
    """Published and corrected behaviour side by side, if both were run."""
    measure, rows = results.measure, []
    for corrected, published in results.published:
        for language in results.languages:
            ours, theirs = results.spread(language, corrected), results.spread(language, published)
            if ours is None or theirs is None:
                continue
            change = ours.mean - theirs.mean
            text = f"{'−' if change < 0 else '+'}{score_text(abs(change), measure)}"
            cells = [spread_cell(theirs, measure), spread_cell(ours, measure), Cell(text, change)]
            rows.append([_language(language), *words(corrected.label or "all runs"), *cells])
    if not rows:
        return None
    columns = ["language", "condition", "as published", "corrected", "change"]
    notes = ["As published: with the behaviour of the papers' code (preset published)."]
    caption = f"{capital(measure.title)}: as published and corrected"
    return Table(f"{measure.name}-behaviour", caption, columns, rows, TWO, notes)


def published_table(results: Results, differs: Sequence[str]) -> Table | None:
    """Our figures and the published ones, with how the experiments differ."""
    found = [
        (language, condition, figures)
        for language, condition in results.filled
        if (figures := published_figures(results.measure, condition, language))
    ]
    if not found:
        return None
    models = list(dict.fromkeys(figure.model for *_, figures in found for figure in figures))
    rows = []
    for language, condition, figures in found:
        values = {one.model: _score(one.value, results.measure) for one in figures}
        ours = spread_cell(results.spread(language, condition), results.measure)
        theirs = [values.get(model, NONE) for model in models]
        rows.append([_language(language), *words(condition.label), ours, *theirs, *words(figures[0].column)])
    source = "; ".join(dict.fromkeys(figures[0].table for *_, figures in found))
    columns = ["language", "condition", "here", *(f"published, {model}" for model in models), "published column"]
    notes = [f"Published: {source}. Not the same experiment:", *differs]
    caption = f"{capital(results.measure.title)}: here and as published"
    text = TWO | {len(columns) - 1}
    return Table(f"{results.measure.name}-published", caption, columns, rows, text, notes)


def small_and_large_table(results: Results, differs: Sequence[str]) -> Table | None:
    """Our results and the figures published for large models in one table, best first.

    Only if models were prompted here, and for languages that have such figures.
    """
    published = {name: found for name in results.languages if (found := large_figures(results.measure, name))}
    if not published or not any(condition.settings.get("use") == PROMPTED_USE for condition in results.conditions):
        return None
    rows: list[tuple[float, list[Cell]]] = []
    for condition in results.conditions:
        own = [results.spread(language, condition) for language in published]
        if means := [one.mean for one in own if one is not None]:
            how = "prompted here" if condition.settings.get("use") == PROMPTED_USE else "trained here"
            cells = [spread_cell(one, results.measure) for one in own]
            rows.append((mean(means), [*words(condition.label, how), *cells]))
    for model in next(iter(published.values())):
        figures = [found[model] for found in published.values()]
        cells = [_score(one, results.measure) for one in figures]
        rows.append((mean(figures), [*words(model, f"published, {shots_of(model)}"), *cells]))
    notes = [
        "Best first, by the mean of the languages in a row.",
        f"Published: {LARGE_MODELS_TABLE}: 3-shot by Ji et al. (2024), GPT zero-shot by Adelani et al. (2024); "
        "the source says F1. Not the same experiment:",
        *differs,
    ]
    caption = f"{capital(results.measure.title)}: small models and large ones"
    columns = ["model", "how", *map(language_name, published)]
    ordered = [cells for _, cells in sorted(rows, key=lambda row: -row[0])]
    return Table(f"{results.measure.name}-small-and-large", caption, columns, ordered, TWO, notes)


def correlation_table(correlations: Sequence[Correlation]) -> Table:
    """All correlations."""
    rows = [
        [
            *words(c.measure, c.condition, f"{c.y} with {c.x}"),
            number(len(c.points), "d"),
            *(
                cell
                for r, p, (low, high) in (
                    (c.pearson, c.pearson_p, c.pearson_interval),
                    (c.spearman, c.spearman_p, c.spearman_interval),
                )
                for cell in (signed(r), interval(signed(low), signed(high)), p_cell(p))
            ),
        ]
        for c in correlations
    ]
    columns = ["measure", "condition", "of", "languages"]
    columns += ["Pearson's r", "95 % interval of r", "p of r", "Spearman's ρ", "95 % interval of ρ", "p of ρ"]
    note = (
        "Pearson's r is with the decimal logarithm of the size or perplexity. For fewer than ten languages p "
        f"is exact, by permutation. p values are not corrected for their number, which is {2 * len(rows)}."
    )
    return Table("correlations", "Correlations over languages", columns, rows, THREE, [note])


def regression_table(regression: Regression) -> Table:
    """One mixed model."""
    rows = [
        [
            *words(e.term),
            _digits(e.estimate),
            _digits(e.standard_error),
            number(e.t, ".2f"),
            p_cell(e.p),
            interval(_digits(e.low), _digits(e.high)),
        ]
        for e in regression.effects
    ]
    notes = [
        f"{regression.observations} runs in {regression.groups} languages; standard deviation of the random "
        f"intercepts {regression.group_std:.3f}, residual {regression.residual_std:.3f}. REML; Student's t with "
        f"{regression.degrees_of_freedom} degrees of freedom, one less than the number of languages.",
    ]
    if regression.groups < FEW_LANGUAGES:
        notes.append(f"{regression.groups} languages are few: p values and intervals may still claim too much.")
    if not regression.converged:
        notes.append("The fit did not converge properly or is singular: interpret the numbers with care.")
    if regression.left_out:
        notes.append(f"Left out: {regression.left_out} runs that lack one of these settings.")
    if regression.dropped:
        notes.append(f"Cannot be separated from the others: {'; '.join(regression.dropped)}.")
    columns = ["term", "estimate", "standard error", "t", "p", "95 % interval"]
    caption = f"Effects on {regression.outcome}: linear mixed model, language as random effect"
    return Table(f"regression-{_file_name(regression.measure)}", caption, columns, rows, notes=notes)


def curve_table(axis_curves: AxisCurves) -> Table:
    """The points of curves."""
    rows = [
        [
            _language(curve.language),
            *words(curve.condition or "all runs"),
            number(x, ",.6g"),
            spread_cell(at_x, axis_curves.measure),
        ]
        for curve in axis_curves.curves
        for x, at_x in curve.points.items()
    ]
    axis = axis_curves.axis.replace("_", " ")
    caption = f"{capital(axis_curves.measure.title)} by {axis}"
    columns = ["language", "condition", axis, axis_curves.measure.title]
    return Table(f"{axis_curves.measure.name}-by-{axis_curves.axis}", caption, columns, rows, TWO, folded=True)


def alignment_table(similarity: Similarity) -> Table:
    """How similar vectors are to those of one language or base: a row for each language and condition."""
    cka = similarity.results["cka"]
    rows = [
        [
            _language(language),
            *words(condition.label),
            *(spread_cell(r.spread(language, condition), r.measure) for r in similarity.results.values()),
        ]
        for language, condition in cka.filled
    ]
    counts = sorted({run.result["sentences"] for run in cka.all_runs})
    notes = [
        f"{' or '.join(f'{count:,}' for count in counts)} sentences. CKA: 1 means identical up to rotation and "
        "scale; the value for shuffled sentences, which do not belong together, is given for comparison.",
        "Retrieved: share of sentences of the second half of the text whose counterpart is the nearest, after a "
        f"rotation fitted on the first half (by chance {2 / counts[-1]:.3f}). Residual: share of the variance "
        "there that the rotation leaves unexplained; above 1 it is worse than none.",
    ]
    if "neurons" in similarity.results:
        notes.append(
            f"Shared neurons: the share of the {MOST_ACTIVE:.0%} of feed-forward neurons active at most tokens of "
            f"one text that are among those of the other, too (by chance {MOST_ACTIVE})."
        )
    if any(run.result["sentences"] < 2 * run.result["width"] for run in cka.all_runs):
        notes.append("Half of the text has fewer sentences than vectors have dimensions: only CKA is informative.")
    columns = ["language", "condition", *(capital(r.measure.title) for r in similarity.results.values())]
    caption = f"Similarity to {language_name(similarity.compared_with)}: mean ± standard deviation"
    return Table(f"alignment-{_file_name(similarity.compared_with)}", caption, columns, rows, TWO, notes)


def attention_table(maps: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    """Attention by layer: a row for each adapter of each fusion."""
    layers = max(len(shares) for adapters in maps.values() for shares in adapters.values())
    rows = [
        [*words(title, adapter), *(number(share, ".2f") for share in shares), *[NONE] * (layers - len(shares))]
        for title, adapters in maps.items()
        for adapter, shares in adapters.items()
    ]
    columns = ["fusion", "adapter", *(f"layer {i}" for i in range(1, layers + 1))]
    return Table("fusion-attention", "Mean attention to each adapter by layer", columns, rows, TWO, folded=True)


def cost_table(runs: Sequence[StudyRun]) -> Table:
    """The cost of the runs, by kind and method, and in total."""
    groups: dict[tuple[str, str], list[StudyRun]] = {}
    for run in runs:
        parts = [str(run.cell[key]) for key in ("task", "use", "method", "data") if run.cell.get(key)]
        groups.setdefault((run.kind, ", ".join(parts)), []).append(run)
    rows = [[*words(*key), *_costs(some)] for key, some in sorted(groups.items())]
    rows.append([*words("all", ""), *_costs(runs)])
    columns = ["kind", "of", "runs", "tokens", "FLOPs", "hours", "seconds per run", "peak memory, GB"]
    notes = [
        "Sums, except seconds per run (mean ± standard deviation) and memory (maximum); FLOPs: training only."
    ]
    if unrecorded := sum(not run.cost.get("seconds") for run in runs):
        notes.append(f"{unrecorded} runs did not record their cost completely, and are missing from the sums.")
    return Table("cost", "Cost by kind of run", columns, rows, TWO, notes)


def runs_table(runs: Sequence[StudyRun]) -> Table:
    """Every run."""
    varied = list(dict.fromkeys(key for run in runs for key in settings_of(run)))
    rows = [
        [
            *words(run.name, run.kind, run.cell.get("language") or "–", label(settings_of(run), varied) or "–"),
            *words(run.cell.get("seed", "–")),
            Cell("–") if run.value is None else number(run.value, ",.4g"),
        ]
        for run in runs
    ]
    columns = ["run", "kind", "language", "settings", "seed", "value"]
    return Table("runs", "All runs", columns, rows, frozenset({0, 1, 2, 3}), folded=True)


def _language(code: str) -> Cell:
    return Cell(language_name(code), code)


def _score(value: float, measure: Measure) -> Cell:
    return Cell(score_text(value, measure), value)


def _ranked(spreads: Sequence[Spread | None], results: Results) -> list[Cell]:
    """With the best in bold, be it a baseline, and all that are shown with the same number."""
    measure = results.measure
    means, best = [one.mean for one in spreads if one is not None], None
    if results.comparable and len(means) > 1:
        best = score_text(min(means) if measure.lower_is_better else max(means), measure)
    return [
        spread_cell(one, measure, one is not None and score_text(one.mean, measure) == best) for one in spreads
    ]


def p_cell(p: float | None) -> Cell:
    """A cell with a p value; a dash for None."""
    return Cell("<0.001", p) if p is not None and p < 0.0005 else number(p, ".3f")


def _difference(d: Difference) -> list[Cell]:
    return [
        *words(d.better, d.than, language_name(d.language)),
        signed(d.difference),
        NONE if d.low is None or d.high is None else interval(signed(d.low), signed(d.high)),
        p_cell(d.p),
        p_cell(d.p_holm),
        Cell(f"{d.units:,} {d.resampled}", d.units, further={"of": d.resampled}),
    ]


def _costs(runs: Sequence[StudyRun]) -> list[Cell]:
    tokens, flops = (sum(run.cost.get(key) or 0 for run in runs) for key in ("tokens", "flops"))
    seconds = [float(s) for run in runs if (s := run.cost.get("seconds"))]
    deviation = f"± {stdev(seconds):,.0f}" if len(seconds) > 1 else ""
    peak = max((run.cost.get("peak_memory_bytes") or 0 for run in runs), default=0) / 1e9
    return [
        number(len(runs), ",d"),
        number(tokens or None, ",.0f"),
        number(flops or None, ".2e"),
        number(sum(seconds) / 3600 or None, ",.2f"),
        number(mean(seconds) if seconds else None, ",.0f", deviation),
        number(peak or None, ".2f"),
    ]


def _digits(value: float) -> Cell:
    """Three decimals, or three digits of a small number, such as the effect of one step among hundreds."""
    return number(value, ".3g" if 0 < abs(value) < 0.1 else ".3f")


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.lower()).replace("--", "-").strip("-")
