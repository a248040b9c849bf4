"""The tables of a study's report, from its analysis; numbers are only formatted here."""

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from langlift.errors import InputError
from langlift.languages import find_language
from langlift.reports.tables import Cell, Table, capital, words
from langlift.studies.analysis.alignments import Aligned
from langlift.studies.analysis.bootstrap import TEST_ITEMS, Difference, Differences
from langlift.studies.analysis.correlations import Correlation
from langlift.studies.analysis.curves import AxisCurves
from langlift.studies.analysis.measures import SHARES, Measure, Results, label, settings_of
from langlift.studies.analysis.regression import Regression
from langlift.studies.analysis.spread import Spread
from langlift.studies.published import published_figures
from langlift.studies.store import StudyRun

NONE = Cell("–", value="")


def language_name(code: str) -> str:
    """A language's English name and script; what is no language, as it is."""
    try:
        language = find_language(code)
    except InputError:
        return code
    return f"{language.name} ({code})"


def number(value: float, measure: Measure) -> str:
    """A score with one decimal; perplexities with about three digits; losses with three decimals."""
    if measure.is_loss:
        return f"{value:,.3f}"
    if measure.is_perplexity:
        return f"{value:,.{0 if value >= 1000 else 1 if value >= 100 else 2}f}"
    return f"{value:.3f}" if measure.metric in SHARES else f"{value:.1f}"


def spread_text(found: Spread, measure: Measure) -> str:
    """Mean ± standard deviation, as text."""
    spread = "" if found.std is None else f" ± {number(found.std, measure)}"
    return f"{number(found.mean, measure)}{spread}"


def p_value(p: float | None) -> Cell:
    """With three decimals, or as below 0.001 where these are zeros."""
    if p is None:
        return NONE
    return Cell("<0.001" if p < 0.0005 else f"{p:.3f}", p)


def spread_cell(found: Spread | None, measure: Measure, best: bool = False) -> Cell:
    """Mean ± standard deviation; count and interval for programs."""
    if found is None:
        return NONE
    further = {"std": found.std, "low": found.low, "high": found.high, "seeds": found.count}
    spread = "" if found.std is None else f"± {number(found.std, measure)}"
    return Cell(number(found.mean, measure), found.mean, spread, further, best)


def results_table(results: Results) -> Table:
    """Languages in rows, conditions in columns, the best of a row in bold."""
    measure, rows = results.measure, []
    ranked = results.comparable
    baselines = {language: results.baselines(language) for language in results.languages}
    names = list(dict.fromkeys(name for found in baselines.values() for name in found))
    for language, found in baselines.items():
        spreads = [results.spread(language, condition) for condition in results.conditions]
        plain = [Cell(number(found[name], measure), found[name]) if name in found else NONE for name in names]
        rows.append([Cell(language_name(language), language), *plain, *_ranked(spreads, measure, ranked)])
    overall = [results.overall(condition) for condition in results.conditions]
    notes = [f"{_better(measure)} ± is the standard deviation over seeds; the CSV also has 95 % intervals."]
    if any(overall):
        plain = [NONE] * len(names)
        rows.append([Cell("mean of the languages", "mean"), *plain, *_ranked(overall, measure, ranked)])
        notes.append(
            "Mean of the languages: only for what was run in all of them; ± is over seeds, of the seeds' means."
        )
    if not ranked:
        notes.append("Losses on other data, objectives or bases cannot be compared, so no best is marked.")
    if results.repeated:
        notes.append(f"Left out: {results.repeated} runs with the same settings and seed as another one.")
    if names:
        notes.append("Baselines: trained on the same data, without a language model.")
    plain_columns = [f"baseline: {name.replace('_', ' ')}" for name in names]
    columns = ["language", *plain_columns, *(condition.label for condition in results.conditions)]
    return Table(measure.name, f"{capital(measure.title)}: mean ± standard deviation", columns, rows, notes=notes)


def differences_tables(results: Results, found: Differences) -> list[Table]:
    """What is better than what: over all languages, and language by language."""
    name, unit = results.measure.name, results.measure.gain_unit
    notes = [
        f"Differences in {unit}. p is two-sided; Holm's correction is for the table. {_what(found)}",
        "Three seeds show little of what other seeds would give: take p values near a limit with care.",
    ]
    tables = []
    for some, suffix, where in (
        (found.overall, "differences", "over all languages"),
        (found.by_language, "differences-by-language", "by language"),
    ):
        if some:
            caption = f"{capital(results.measure.title)}: paired differences {where}"
            columns = [
                "condition",
                "compared with",
                "language",
                "difference",
                "95 % interval",
                "p",
                "p, Holm",
                "units",
            ]
            rows = [_difference(d) for d in some]
            folded = suffix != "differences" and bool(found.overall)
            tables.append(Table(f"{name}-{suffix}", caption, columns, rows, frozenset({0, 1, 2}), notes, folded))
    return tables


def behaviour_table(results: Results) -> Table | None:
    """As published and corrected, side by side, where both were run."""
    measure, rows = results.measure, []
    for corrected, published in results.published:
        for language in results.languages:
            ours, theirs = results.spread(language, corrected), results.spread(language, published)
            if ours is None or theirs is None:
                continue
            change = ours.mean - theirs.mean
            rows.append(
                [
                    Cell(language_name(language), language),
                    *words(corrected.label or "all runs"),
                    spread_cell(theirs, measure),
                    spread_cell(ours, measure),
                    Cell(f"{'−' if change < 0 else '+'}{number(abs(change), measure)}", change),
                ]
            )
    if not rows:
        return None
    columns = ["language", "condition", "as published", "corrected", "change"]
    notes = ["As published: with the behaviour of the papers' code (preset published)."]
    caption = f"{capital(measure.title)}: as published and corrected"
    return Table(f"{measure.name}-behaviour", caption, columns, rows, frozenset({0, 1}), notes)


def published_table(results: Results, differs: Sequence[str]) -> Table | None:
    """Ours beside the published figures, with what differs."""
    rows, models = [], []
    for language in results.languages:
        for condition in results.conditions:
            ours = results.spread(language, condition)
            found = published_figures(results.measure, condition, language) if ours else []
            if found:
                models += [figure.model for figure in found]
                values = {f.model: Cell(number(f.value, results.measure), f.value) for f in found}
                rows.append((language, condition.label, spread_cell(ours, results.measure), values, found[0]))
    if not rows:
        return None
    columns = list(dict.fromkeys(models))
    cells = [
        [
            Cell(language_name(language), language),
            *words(condition),
            ours,
            *(values.get(model, NONE) for model in columns),
            *words(figure.column),
        ]
        for language, condition, ours, values, figure in rows
    ]
    source = "; ".join(dict.fromkeys(figure.place for *_, figure in rows))
    head = ["language", "condition", "here", *(f"published, {model}" for model in columns), "published column"]
    notes = [f"Published: {source}. Not the same experiment:", *differs]
    caption = f"{capital(results.measure.title)}: here and as published"
    text = frozenset({0, 1, len(head) - 1})
    return Table(f"{results.measure.name}-published", caption, head, cells, text, notes)


def correlation_table(found: Sequence[Correlation]) -> Table:
    """All correlations."""
    rows = [
        [
            *words(c.measure, c.condition, f"{c.y} with {c.x}"),
            Cell(str(len(c.points)), len(c.points)),
            Cell(_signed(c.pearson), c.pearson),
            p_value(c.pearson_p),
            Cell(_signed(c.spearman), c.spearman),
            p_value(c.spearman_p),
        ]
        for c in found
    ]
    columns = ["measure", "condition", "of", "languages", "Pearson's r", "p of r", "Spearman's ρ", "p of ρ"]
    notes = [
        "Pearson's r is with the decimal logarithm of the size or perplexity. p values are not corrected for "
        f"their number, which is {2 * len(rows)}.",
    ]
    return Table("correlations", "Correlations over languages", columns, rows, frozenset({0, 1, 2}), notes)


def regression_table(found: Regression) -> Table:
    """One mixed model."""
    rows = [
        [
            *words(e.term),
            Cell(_digits(e.estimate), e.estimate),
            Cell(_digits(e.standard_error), e.standard_error),
            Cell(f"{e.z:.2f}", e.z),
            p_value(e.p),
            Cell(f"{_digits(e.low)} to {_digits(e.high)}", further={"low": e.low, "high": e.high}),
        ]
        for e in found.effects
    ]
    notes = [
        f"{found.observations} runs in {found.groups} languages; standard deviation of the random intercepts "
        f"{found.group_std:.3f}, residual {found.residual_std:.3f}. REML, Wald tests.",
    ]
    if not found.converged:
        notes.append("The fit did not converge properly or is singular: take the numbers with care.")
    if found.left_out:
        notes.append(f"Left out: {found.left_out} runs that lack one of these settings.")
    if found.dropped:
        notes.append(f"Not to be told from the others: {'; '.join(found.dropped)}.")
    columns = ["term", "estimate", "standard error", "z", "p", "95 % interval"]
    caption = f"Effects on {found.outcome}: linear mixed model, language as random effect"
    return Table(f"regression-{_file_name(found.measure)}", caption, columns, rows, notes=notes)


def curve_table(found: AxisCurves) -> Table:
    """The points of curves."""
    rows = [
        [
            Cell(language_name(curve.language), curve.language),
            *words(curve.condition or "all runs"),
            Cell(f"{point.x:,.6g}", point.x),
            spread_cell(point.spread, found.measure),
        ]
        for curve in found.curves
        for point in curve.points
    ]
    axis = found.axis.replace("_", " ")
    caption = f"{capital(found.measure.title)} by {axis}"
    columns = ["language", "condition", axis, found.measure.title]
    name = f"{found.measure.name}-by-{found.axis}"
    return Table(name, caption, columns, rows, frozenset({0, 1}), folded=True)


def alignment_table(found: Aligned) -> Table:
    """How like vectors are to those of one language or base: a row for each language and condition."""
    cka = found.results["cka"]
    rows = [
        [
            Cell(language_name(language), language),
            *words(condition.label),
            *(spread_cell(r.spread(language, condition), r.measure) for r in found.results.values()),
        ]
        for language in cka.languages
        for condition in cka.conditions
        if cka.values(language, condition)
    ]
    counts = {run.result["sentences"] for some in cka.cells.values() for run in some}
    notes = [
        f"{' or '.join(f'{count:,}' for count in sorted(counts))} sentences. CKA: 1 is the same but for rotation "
        "and scale; sentences that do not belong together reach what stands beside it.",
        "Retrieved: share of sentences of the second half of the text whose counterpart is nearest, after a "
        f"rotation found on the first half (by chance {2 / max(counts):.3f}). Residual: share of the variance "
        "there that the rotation leaves unexplained; above 1 it is worse than none.",
    ]
    if any(run.result["sentences"] < 2 * run.result["width"] for some in cka.cells.values() for run in some):
        notes.append("Half of the text has fewer sentences than vectors have dimensions: CKA alone tells much.")
    columns = ["language", "condition", *(capital(r.measure.title) for r in found.results.values())]
    caption = f"Likeness to {language_name(found.to)}: mean ± standard deviation"
    return Table(f"alignment-{_file_name(found.to)}", caption, columns, rows, frozenset({0, 1}), notes)


def attention_table(maps: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    """Attention by layer: a row for each adapter of each fusion."""
    layers = max(len(shares) for adapters in maps.values() for shares in adapters.values())
    rows = [
        [*words(title, adapter), *(Cell(f"{share:.2f}", share) for share in shares)]
        for title, adapters in maps.items()
        for adapter, shares in adapters.items()
    ]
    columns = ["fusion", "adapter", *(f"layer {i}" for i in range(1, layers + 1))]
    caption = "Mean attention to each adapter by layer"
    return Table("fusion-attention", caption, columns, rows, frozenset({0, 1}), folded=True)


def cost_table(runs: Sequence[StudyRun]) -> Table:
    """What the runs took, by kind and method, and in all."""
    groups: dict[tuple[str, str], list[StudyRun]] = {}
    for run in runs:
        parts = [str(run.cell[key]) for key in ("task", "use", "method", "data") if run.cell.get(key)]
        groups.setdefault((run.kind, ", ".join(parts)), []).append(run)
    rows = [[*words(*key), *_costs(some)] for key, some in sorted(groups.items())]
    rows.append([*words("all", ""), *_costs(runs)])
    columns = ["kind", "of", "runs", "tokens", "FLOPs", "hours", "seconds a run", "peak memory, GB"]
    notes = [
        "Sums, but for seconds a run (mean ± standard deviation) and memory (the most); FLOPs: training alone."
    ]
    silent = sum(not run.cost.get("seconds") for run in runs)
    if silent:
        notes.append(f"{silent} runs do not record what they took, in part or at all; sums leave that out.")
    return Table("cost", "Cost by kind of run", columns, rows, frozenset({0, 1}), notes)


def runs_table(runs: Sequence[StudyRun]) -> Table:
    """Every run."""
    varied = list(dict.fromkeys(key for run in runs for key in settings_of(run)))
    rows = [
        [
            *words(run.name, run.kind),
            Cell(str(run.cell.get("language") or "–")),
            *words(label(settings_of(run), varied) or "–"),
            Cell(str(run.cell.get("seed", "–"))),
            Cell("–" if run.value is None else f"{run.value:,.4g}", run.value),
        ]
        for run in runs
    ]
    columns = ["run", "kind", "language", "settings", "seed", "value"]
    return Table("runs", "All runs", columns, rows, frozenset({0, 1, 2, 3}), folded=True)


def _ranked(spreads: Sequence[Spread | None], measure: Measure, ranked: bool) -> list[Cell]:
    shown = [None if s is None else number(s.mean, measure) for s in spreads]
    means = [s.mean for s in spreads if s is not None]
    best = None
    if ranked and len(means) > 1:
        best = number(min(means) if measure.lower_is_better else max(means), measure)
    return [
        spread_cell(s, measure, text is not None and text == best) for s, text in zip(spreads, shown, strict=True)
    ]


def _difference(d: Difference) -> list[Cell]:
    interval = NONE
    if d.low is not None and d.high is not None:
        interval = Cell(f"{_signed(d.low)} to {_signed(d.high)}", further={"low": d.low, "high": d.high})
    return [
        *words(d.better, d.than, language_name(d.language)),
        Cell(_signed(d.difference), d.difference),
        interval,
        p_value(d.p),
        p_value(d.p_holm),
        Cell(f"{d.units:,} {d.resampled}", d.units, further={"of": d.resampled}),
    ]


def _costs(runs: Sequence[StudyRun]) -> list[Cell]:
    def total(key: str) -> float:
        return sum(run.cost.get(key) or 0 for run in runs)

    seconds = [float(s) for run in runs if (s := run.cost.get("seconds"))]
    peak = max((run.cost.get("peak_memory_bytes") or 0 for run in runs), default=0)
    return [
        Cell(f"{len(runs):,}", len(runs)),
        Cell(f"{total('tokens'):,.0f}", total("tokens")) if total("tokens") else NONE,
        Cell(f"{total('flops'):.2e}", total("flops")) if total("flops") else NONE,
        Cell(f"{sum(seconds) / 3600:,.2f}", sum(seconds) / 3600) if seconds else NONE,
        Cell(f"{mean(seconds):,.0f}", mean(seconds), f"± {stdev(seconds):,.0f}" if len(seconds) > 1 else "")
        if seconds
        else NONE,
        Cell(f"{peak / 1e9:.2f}", peak / 1e9) if peak else NONE,
    ]


def _what(found: Differences) -> str:
    units = {d.resampled for d in [*found.overall, *found.by_language]}
    items = "Test items and seeds are resampled 2,000 times (paired bootstrap), the same for both sides."
    others = (
        "Where runs kept no items, units are languages (means of seeds) or one language's seeds, with Student's t "
        "interval and an exact randomisation test: of n units of one sign p is 2 / 2ⁿ."
    )
    return " ".join([*([items] if TEST_ITEMS in units else []), *([others] if units - {TEST_ITEMS} else [])])


def _better(measure: Measure) -> str:
    return "Lower is better." if measure.lower_is_better else "Higher is better."


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{abs(value):.2f}"


def _digits(value: float) -> str:
    """Three decimals, or of what is small three digits: the effect of one step of hundreds is."""
    return f"{value:.3g}" if 0 < abs(value) < 0.1 else f"{value:.3f}"


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text.lower()).replace("--", "-").strip("-")


def totals(runs: Sequence[StudyRun]) -> dict[str, Any]:
    """Sums over all runs: tokens, flops, seconds."""
    return {key: sum(run.cost.get(key) or 0 for run in runs) for key in ("tokens", "flops", "seconds")}
