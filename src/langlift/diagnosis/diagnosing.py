"""``langlift diagnose``: measure base models on one or several languages, rank them, and advise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path
from statistics import mean

from langlift.backbones.base_model import BaseModel, BaseName
from langlift.backbones.loading import default_device
from langlift.diagnosis.advice import Advice, advise, plan, recipe_for
from langlift.diagnosis.family_advice import FamilyPlan, advise_family
from langlift.diagnosis.measures import BaseMeasures, GraphSize, LanguageText, TextSize, read_language
from langlift.diagnosis.thresholds import THRESHOLDS, UNREADABLE, Threshold
from langlift.errors import InputError
from langlift.evaluation.pseudo_perplexity import WITHIN_WORD, score_sentences
from langlift.language_facts import DataSize, exposure
from langlift.languages import Language
from langlift.progress import say
from langlift.training.step_time import step_time
from langlift.vocab.diagnosis import unread_share, vocabulary_fit


@dataclass(frozen=True)
class BaseDiagnosis:
    """One base model on one language: what was measured, and what is advised."""

    measures: BaseMeasures
    advice: Advice


@dataclass(frozen=True)
class LanguageDiagnosis:
    """One language: the sizes of its text and graph, public sizes, and each base model, best first.

    ``own_fertility``: tokens per word of a vocabulary of 16,000 pieces learned from this text alone.
    """

    language: str
    name: str
    text: TextSize
    graph: GraphSize | None
    published: dict[str, DataSize]
    own_fertility: float | None
    bases: list[BaseDiagnosis]


@dataclass(frozen=True)
class Diagnosis:
    """What ``langlift diagnose`` found.

    ``ranking``: the base models, best first, with their within-word pseudo-perplexity per character (of several
    languages the geometric mean), the only measure here that can be compared between vocabularies; those without
    masked head have none and come last. ``advice`` is for the best base model: for the one language, or for the
    family. Each entry of ``languages`` has language, name, text, graph, published, own_fertility and bases, whose
    entries have measures and advice. ``thresholds`` are the limits that advice turns on. ``failed`` has base
    models that could not be measured, with the reason. ``picture`` is the file written, if one was asked for.
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
    """Measure each of ``bases`` on the text of each language, rank them and advise.

    ``data`` holds each language's text files or built folders, ``graph`` a built graph of the one language.
    ``sentences`` is how many held-out sentences are scored. Without ``timing`` no time is told. A base that cannot
    be measured does not stop the others.

    Raises:
        InputError: no base or language, or none that can be used.
    """
    named = {base.name: base for base in map(BaseName.of, bases)}
    if not named:
        raise InputError("no base model is given", "name one or more with --base")
    if len(named) < len(bases):
        raise InputError("a base model is given twice", "name each once")
    if graph is not None and len(data) != 1:
        raise InputError("--graph belongs to one language", "diagnose that language by itself")
    texts = [read_language(language, paths, graph, sentences) for language, paths in data.items()]
    if not texts:
        raise InputError("no language is given", "give a language, or a family file with languages")
    found, failed = _measured(named, texts, precision)
    ranking = _ranking(found)
    languages = []
    for number, text in enumerate(texts):
        diagnosed = []
        for base in _best_first([each[number] for each in found.values()]):
            chosen = plan(text, base)
            recipe = recipe_for(base.base, chosen)
            if timing and family is None:
                base = replace(base, step=step_time(named[base.base], text.train, recipe))
            diagnosed.append(BaseDiagnosis(base, advise(text, base, chosen, recipe)))
        languages.append(
            LanguageDiagnosis(
                language=str(text.language),
                name=text.language.name,
                text=text.size,
                graph=text.graph,
                published=text.published,
                own_fertility=text.own_fertility,
                bases=diagnosed,
            )
        )
    if family is None:
        advice = languages[0].bases[0].advice
    else:
        best = next(iter(ranking))
        step = None
        if timing:
            together = [line for text in texts for line in text.train]
            step = step_time(named[best], together, family.recipe)
        advice = advise_family(family, best, texts, found[best], step)
    return Diagnosis(languages, ranking, advice, list(THRESHOLDS), failed)


def _best_first(bases: Sequence[BaseMeasures]) -> list[BaseMeasures]:
    """By pseudo-perplexity, those that cannot read the text behind the others, those without head last."""
    return sorted(bases, key=lambda base: _place(base.per_character, unread_share(base.vocabulary)))


def _ranking(found: Mapping[str, Sequence[BaseMeasures]]) -> dict[str, float | None]:
    """Base models, best first, with their mean over the languages.

    One that cannot read a language comes behind the others, one without head last.
    """
    means = {base: _mean([one.per_character for one in each]) for base, each in found.items()}
    unread = {base: max(unread_share(one.vocabulary) for one in each) for base, each in found.items()}
    order = sorted(found, key=lambda base: _place(means[base], unread[base]))
    return {base: means[base] for base in order}


def _place(per_character: float | None, unread: float) -> tuple[bool, bool, float]:
    return per_character is None, unread >= UNREADABLE.value, per_character or 0.0


def _mean(values: Sequence[float | None]) -> float | None:
    known = [log(value) for value in values if value is not None]
    return exp(mean(known)) if known else None


def _measured(
    bases: Mapping[str, BaseName], texts: Sequence[LanguageText], precision: str
) -> tuple[dict[str, list[BaseMeasures]], dict[str, str]]:
    """The measures of each base on every language, and why there are none of some."""
    found, errors = {}, {}
    for name, base in bases.items():
        try:
            found[name] = _measure(base, texts, precision)
        except InputError as error:
            errors[name] = error
    if not found:
        raise next(iter(errors.values()))
    return found, {base: f"{error.message}; {error.hint}" for base, error in errors.items()}


def _measure(base: BaseName, texts: Sequence[LanguageText], precision: str) -> list[BaseMeasures]:
    """One base on every language; the model is loaded once."""
    say(f"measuring {base}")
    loaded = BaseModel.load(base, masked_only=True, head_needed=False)
    model, tokenizer = loaded.model.to(default_device()), loaded.tokenizer
    measures = []
    for text in texts:
        score = None
        if loaded.head is not None:
            score = score_sentences(model, tokenizer, text.scored, WITHIN_WORD, "fast", precision)
            precision = score.precision  # chosen once: the model is in it now
        measures.append(
            BaseMeasures(
                base=base.name,
                per_character=score.per_character if score else None,
                sentences=score.sentences if score else 0,
                truncated=score.truncated if score else 0,
                precision=score.precision if score else None,
                vocabulary=vocabulary_fit(tokenizer, text.measured, text.letters, text.spaced),
                exposure=exposure(base.name, text.language),
                step=None,
            )
        )
    return measures
