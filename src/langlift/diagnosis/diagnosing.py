"""``langlift diagnose``: measure base models on one or more languages, rank them, and give advice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean

from langlift.backbones.loading import BaseModel, BaseName, default_device
from langlift.diagnosis.advice import (
    LIMITS,
    THRESHOLDS,
    Advice,
    FamilyPlan,
    Threshold,
    advise,
    advise_family,
    plan,
    recipe_for,
)
from langlift.diagnosis.measures import BaseMeasures, GraphSize, LanguageText, TextSize, read_language
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import WITHIN_WORD, score_sentences
from langlift.language_facts import DataSize, exposure
from langlift.languages import Language
from langlift.notebook import Shown
from langlift.progress import say
from langlift.training.cost import step_time
from langlift.vocab.diagnosis import vocabulary_fit


@dataclass(frozen=True)
class BaseDiagnosis:
    """One base model on one language: measures and advice."""

    measures: BaseMeasures
    advice: Advice


@dataclass(frozen=True)
class LanguageDiagnosis:
    """One language: sizes of its text and graph and of public data, and each base model, best first.

    ``own_fertility``: tokens per word of a vocabulary of 16,000 tokens learned from this text alone.
    """

    language: str
    name: str
    text: TextSize
    graph: GraphSize | None
    published: dict[str, DataSize]
    own_fertility: float | None
    bases: list[BaseDiagnosis]


@dataclass(frozen=True)
class Diagnosis(Shown):
    """The result of ``langlift diagnose``.

    ``ranking``: the base models, best first, with their within-word pseudo-perplexity per character (geometric
    mean over languages), the only measure here that is comparable between vocabularies; those without MLM head
    have none and come last. ``advice``: for the best base model, and for the language or the family.
    ``languages``: each has language, name, text, graph, published, own_fertility and bases, whose entries have
    measures and advice. ``thresholds``: the limits that the advice depends on. ``failed``: base models that could
    not be measured, with the reason. ``picture``: the file written with ``--out``.
    """

    languages: list[LanguageDiagnosis]
    ranking: dict[str, float | None]
    advice: Advice
    thresholds: list[Threshold]
    failed: dict[str, str]
    picture: str | None = None


def diagnose(
    data: Mapping[Language, Sequence[Path]],
    bases: Sequence[BaseName | str],
    graph: Path | None = None,
    *,
    sentences: int = 30,
    timing: bool = True,
    precision: str = "auto",
    family: FamilyPlan | None = None,
) -> Diagnosis:
    """Measure each of ``bases`` on the text of each language, rank them and give advice.

    ``data``: the text files or built folders of each language. ``graph``: a built graph, if there is one language.
    ``sentences``: the number of held-out sentences to score. Without ``timing``, no time is estimated. A base that
    cannot be measured does not stop the others.

    Raises:
        InputError: there is no base or language, or none can be used.
    """
    named = {base.name: base for base in map(BaseName.of, bases)}
    if not named:
        raise InputError("no base model is given", "name one or more with --base")
    if len(named) < len(bases):
        raise InputError("a base model is given twice", "name each once")
    if graph is not None and len(data) != 1:
        raise InputError("--graph is for one language", "diagnose that language on its own")
    texts = [read_language(language, paths, graph, sentences) for language, paths in data.items()]
    if not texts:
        raise InputError("no language is given", "give a language, or a family file with languages")
    found: dict[str, list[BaseMeasures]] = {}
    errors: dict[str, InputError] = {}
    for name, base in named.items():
        try:
            found[name] = _measure(base, texts, precision)
        except InputError as error:
            errors[name] = error
    if not found:
        raise next(iter(errors.values()))
    ranking = _ranking(found)
    timed = named if timing and family is None else {}
    languages = [
        _of_language(text, [each[number] for each in found.values()], timed) for number, text in enumerate(texts)
    ]
    if family is None:
        advice = languages[0].bases[0].advice
    else:
        best, together = next(iter(ranking)), [line for text in texts for line in text.train]
        step = step_time(named[best], together, family.recipe) if timing else None
        advice = advise_family(family, texts, found[best], step)
    failed = {name: f"{error.message}; {error.hint}" for name, error in errors.items()}
    return Diagnosis(languages, ranking, advice, THRESHOLDS, failed)


def _of_language(
    text: LanguageText, measures: Sequence[BaseMeasures], timed: Mapping[str, BaseName]
) -> LanguageDiagnosis:
    """The bases, best first, with advice; the ``timed`` ones with the time of a training step."""
    bases = []
    for base in sorted(measures, key=lambda one: _rank(one.per_character, one.vocabulary.unread_share)):
        chosen = plan(text, base)
        recipe = recipe_for(base.base, chosen)
        if base.base in timed:
            base = replace(base, step=step_time(timed[base.base], text.train, recipe))
        bases.append(BaseDiagnosis(base, advise(text, base, chosen, recipe)))
    return LanguageDiagnosis(
        language=str(text.language),
        name=text.language.name,
        text=text.size,
        graph=text.graph,
        published=text.published,
        own_fertility=text.own_fertility,
        bases=bases,
    )


def _ranking(measures: Mapping[str, Sequence[BaseMeasures]]) -> dict[str, float | None]:
    """Base models, best first, with their mean over the languages."""
    known = {base: [one.per_character for one in each if one.per_character] for base, each in measures.items()}
    means = {base: geometric_mean(values) if values else None for base, values in known.items()}
    unread = {base: max(one.vocabulary.unread_share for one in each) for base, each in measures.items()}
    return dict(sorted(means.items(), key=lambda item: _rank(item[1], unread[item[0]])))


def _rank(per_character: float | None, unread: float) -> tuple[bool, bool, float]:
    """By pseudo-perplexity, after them those that cannot read the text, and last those without MLM head."""
    return per_character is None, unread >= LIMITS["unreadable"], per_character or 0.0


def _measure(base: BaseName, texts: Sequence[LanguageText], precision: str) -> list[BaseMeasures]:
    """One base model on every language."""
    say(f"measuring {base}")
    loaded = BaseModel.load(base, masked_only=True, head_needed=False)
    model, tokenizer = loaded.model.to(default_device()), loaded.tokenizer
    measures = []
    for text in texts:
        found = BaseMeasures(
            base=base.name,
            parameters=model.num_parameters(),
            vocabulary=vocabulary_fit(tokenizer, text.measured, text.letters, text.spaced),
            exposure=exposure(base.name, text.language),
        )
        if loaded.head is not None:
            score = score_sentences(model, tokenizer, text.scored, WITHIN_WORD, "fast", precision)
            precision = score.precision  # the model has it from now on
            names = ("per_character", "sentences", "truncated", "precision")
            found = replace(found, **{name: getattr(score, name) for name in names})
        measures.append(found)
    return measures
