"""Measures of the text and graph of a language, and of base models on them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langlift.corpus.characters import KINDS, LETTER, LIMIT, OTHER_LETTER, characters_per_word, kinds
from langlift.corpus.language_check import warn_of_other_language
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError
from langlift.language_facts import DataSize, Exposure, facts_of
from langlift.languages import Language
from langlift.training.cost import StepTime
from langlift.vocab.diagnosis import WORD, VocabularyFit, count_letters, own_fertility

MEASURED_LINES = 1000
"""Maximum number of held-out lines to measure tokenizers on."""
OWN_LINES = 30_000
"""Maximum number of lines to learn the vocabulary for comparison from."""
SCORED_CHARACTERS = 200
"""Lines to score are cut to this length, at a space: the cost grows with the square of the length."""
SEED = 0


@dataclass(frozen=True)
class TextSize:
    """The size of a text.

    ``words`` and ``distinct_words`` are None in scripts without spaces. ``script_share``: the share of its letters
    in the language's script.
    """

    lines: int
    words: int | None
    distinct_words: int | None
    characters: int
    bytes: int
    script_share: float


@dataclass(frozen=True)
class GraphSize:
    """The size of a built graph: the number of sentences (triples), relations, and bytes of the sentences."""

    sentences: int
    relations: int
    bytes: int


@dataclass(frozen=True)
class LanguageText:
    """A language with its text, and the measures that do not depend on a base model.

    ``train``: the lines to train on. ``measured``: held-out lines for the tokenizers. ``scored``: held-out lines
    for pseudo-perplexity, shortened. ``own_fertility``: see ``vocab.diagnosis.own_fertility``.
    """

    language: Language
    spaced: bool
    paths: tuple[Path, ...]
    size: TextSize
    graph_path: Path | None
    graph: GraphSize | None
    published: dict[str, DataSize]
    letters: Counter[str]
    own_fertility: float | None
    train: list[str]
    measured: list[str]
    scored: list[str]


@dataclass(frozen=True, kw_only=True)
class BaseMeasures:
    """One base model on one language.

    ``per_character``: within-word pseudo-perplexity per character on ``sentences`` held-out sentences, of which
    ``truncated`` were too long for the model. It and ``precision`` are None for a base without MLM head.
    ``parameters``: their number, None if not known.
    """

    base: str
    parameters: int | None = None
    per_character: float | None = None
    sentences: int = 0
    truncated: int = 0
    precision: str | None = None
    vocabulary: VocabularyFit
    exposure: Exposure
    step: StepTime | None = None

    @property
    def has_head(self) -> bool:
        """Whether the base has an MLM head."""
        return self.per_character is not None


def read_language(
    language: Language, paths: Sequence[Path], graph: Path | None = None, sentences: int = 30
) -> LanguageText:
    """Read a language's text files or built folders, and a built graph.

    Raises:
        InputError: they cannot be read or are too small, ``graph`` has no triples, or the script is unknown.
    """
    if sentences < 1:
        raise InputError(f"--sentences {sentences}: at least one is needed", "30 are enough to rank base models")
    texts = [load_text_data(path) for path in paths]
    train = [line for text in texts for line in text.train]
    test = [line for text in texts for line in text.test]
    held_out = [line for text in texts for line in (*text.dev, *text.test)]
    everything = [*train, *held_out]
    letters = count_letters(everything)
    if not letters:
        raise InputError(f"{paths[0]}: contains no letters", "give running text in the language")
    warn_of_other_language(language, train)
    measured = _sampled(held_out, MEASURED_LINES)
    spaced = characters_per_word(language.script) == 0
    words = Counter(word for line in everything for word in WORD.findall(line)) if spaced else None
    size = TextSize(
        lines=len(everything),
        words=None if words is None else words.total(),
        distinct_words=None if words is None else len(words),
        characters=sum(map(len, everything)),
        bytes=sum(len(line.encode()) for line in everything),
        script_share=_script_share(letters, language.script),
    )
    return LanguageText(
        language=language,
        spaced=spaced,
        paths=tuple(paths),
        size=size,
        graph_path=graph,
        graph=None if graph is None else _graph_size(graph),
        published=facts_of(language).sizes,
        letters=letters,
        own_fertility=own_fertility(_sampled(train, OWN_LINES), measured) if spaced else None,
        train=train,
        measured=measured,
        scored=[_shortened(line) for line in _sampled(test, sentences)],
    )


def _sampled(lines: Sequence[str], limit: int) -> list[str]:
    """At most ``limit`` lines, drawn with a fixed seed, in their order."""
    if len(lines) <= limit:
        return list(lines)
    chosen = np.random.default_rng(SEED).choice(len(lines), limit, replace=False)
    return [lines[i] for i in sorted(chosen)]


def _shortened(line: str) -> str:
    if len(line) <= SCORED_CHARACTERS:
        return line
    beginning = line[: SCORED_CHARACTERS + 1]
    return beginning.rpartition(" ")[0] or beginning[:SCORED_CHARACTERS]


def _script_share(letters: Counter[str], script: str) -> float:
    codes = np.minimum([ord(letter) for letter in letters], LIMIT)
    counts = np.bincount(kinds(script)[codes], weights=list(letters.values()), minlength=KINDS)
    return float(counts[LETTER] / max(1, counts[LETTER] + counts[OTHER_LETTER]))


def _graph_size(graph: Path) -> GraphSize:
    data = load_text_data(graph, with_triples=True)
    if data.triples is None:
        raise InputError(f"{graph}: contains no triples", "--graph takes a folder written by langlift graph build")
    sentences = [*data.train, *data.dev, *data.test]
    relations = {triple.relation for triples in data.triples.values() for triple in triples}
    return GraphSize(len(sentences), len(relations), sum(len(sentence.encode()) for sentence in sentences))
