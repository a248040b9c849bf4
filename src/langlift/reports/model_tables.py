"""Tables of decoders and of prompted models."""

from collections.abc import Sequence
from statistics import mean

from langlift.reports.study_tables import language_name, number, spread_cell
from langlift.reports.tables import Cell, Table, capital, words
from langlift.studies.analysis.measures import Results
from langlift.studies.analysis.spread import spread
from langlift.studies.published import LARGE_PLACE, large_figures, shots_of
from langlift.studies.single_runs import PROMPTED


def per_unit_table(results: Results) -> Table:
    """The perplexity of decoders per token, character and byte: a row for each language and condition."""
    units = {"perplexity": "per token", "per_character": "per character", "per_byte": "per byte"}
    rows = []
    for language in results.languages:
        for condition in results.conditions:
            runs = results.runs(language, condition)
            values = [[float(run.result[unit]) for run in runs if unit in run.result] for unit in units]
            if all(values):
                cells = [spread_cell(spread(some), results.measure) for some in values]
                rows.append([Cell(language_name(language), language), *words(condition.label), *cells])
    caption = "Perplexity of decoders by unit: mean ± standard deviation"
    notes = ["Between bases with different tokenizers compare characters or bytes, not tokens."]
    columns = ["language", "condition", *units.values()]
    return Table(f"{results.measure.name}-by-unit", caption, columns, rows, frozenset({0, 1}), notes)


def small_and_large_table(results: Results, differs: Sequence[str]) -> Table | None:
    """What was run here and the figures published for large models in one table, best first.

    Only beside prompted models of one's own, and for languages that have such figures. ``differs`` says why the
    published ones are not of the same experiment.
    """
    published = {name: found for name in results.languages if (found := large_figures(results.measure, name))}
    if not published or not any(condition.settings.get("use") == PROMPTED for condition in results.conditions):
        return None
    rows: list[tuple[list[Cell], list[Cell], float]] = []
    for condition in results.conditions:
        own = [results.spread(language, condition) for language in published]
        means = [one.mean for one in own if one is not None]
        if means:
            how = "prompted here" if condition.settings.get("use") == PROMPTED else "trained here"
            cells = [spread_cell(one, results.measure) for one in own]
            rows.append((words(condition.label, how), cells, mean(means)))
    for model in next(iter(published.values())):
        figures = [found[model] for found in published.values()]
        cells = [Cell(number(one, results.measure), one) for one in figures]
        rows.append((words(model, f"published, {shots_of(model)}"), cells, mean(figures)))
    notes = [
        "Best first, by the mean of the languages that a row has.",
        f"Published: {LARGE_PLACE}: 3-shot by Ji et al. (2024), GPT zero-shot by Adelani et al. (2024); the "
        "source says F1. Not the same experiment:",
        *differs,
    ]
    return Table(
        f"{results.measure.name}-small-and-large",
        f"{capital(results.measure.title)}: small models and large ones",
        ["model", "how", *map(language_name, published)],
        [[*names, *cells] for names, cells, _ in sorted(rows, key=lambda row: -row[2])],
        frozenset({0, 1}),
        notes,
    )
