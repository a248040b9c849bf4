"""What is measured of a language's text and graph, and of each base model on them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from langlift.corpus.characters import LETTER, LIMIT, OTHER_LETTER, characters_per_word, kinds
from langlift.corpus.text_data import load_text_data
from langlift.errors import InputError
from langlift.language_facts import DataSize, Exposure, facts_of
from langlift.languages import Language
from langlift.training.step_time import StepTime
from langlift.vocab.diagnosis import WORD, VocabularyFit, count_letters, own_fertility

MEASURED_LINES = 1000
"""So many held-out lines go through each tokenizer."""
OWN_LINES = 30_000
"""From so many lines the vocabulary to compare with is learned."""
SCORED_CHARACTERS = 200
"""A line to score is cut, at a space, to so many characters: the cost grows with the square of its length."""
SEED = 0


@dataclass(frozen=True)
class TextSize:
    """The size of a text.

    ``words`` is None where words are not spaced; ``script_share``: of its letters, those in LANG's script, 0 to 1.
    """

    lines: int
    words: int | None
    characters: int
    bytes: int
    script_share: float


@dataclass(frozen=True)
class GraphSize:
    """The size of a built graph: its sentences (triples), kinds of relations, and bytes of the sentences."""

    sentences: int
    relations: int
    bytes: int


@dataclass(frozen=True)
class LanguageText:
    """A language with its text: what is measured once, whatever the base models.

    ``train`` are the lines to train on, ``measured`` held-out lines for the tokenizers, ``scored`` those (cut
    short) for pseudo-perplexity. ``own_fertility`` is that of ``vocab.diagnosis.own_fertility``.
    """

    language: Language
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

    @property
    def spaced(self) -> bool:
        """Whether words are written with spaces between them."""
        return characters_per_word(self.language.script) == 0


@dataclass(frozen=True)
class BaseMeasures:
    """One base model on one language.

    ``per_character``: within-word pseudo-perplexity per character on ``sentences`` held-out sentences, of which
    ``truncated`` were too long for the model and cut; None, like ``precision``, of a base without masked head.
    """

    base: str
    per_character: float | None
    sentences: int
    truncated: int
    precision: str | None
    vocabulary: VocabularyFit
    exposure: Exposure
    step: StepTime | None

    @property
    def has_head(self) -> bool:
        """Whether the base has a masked head."""
        return self.per_character is not None


def read_language(
    language: Language, paths: Sequence[Path], graph: Path | None = None, sentences: int = 30
) -> LanguageText:
    """Read a language's text files or built folders, and a built graph.

    Raises:
        InputError: they cannot be read or are too small, ``graph`` holds no triples, or the script is unknown.
    """
    if sentences < 1:
        raise InputError(f"--sentences {sentences}: at least one is needed", "30 are enough to rank bases by")
    texts = [load_text_data(path) for path in paths]
    train = [line for text in texts for line in text.train]
    held_out = [line for text in texts for line in (*text.dev, *text.test)]
    test = [line for text in texts for line in text.test]
    everything = [*train, *held_out]
    letters = count_letters(everything)
    if not letters:
        raise InputError(f"{paths[0]}: holds no letters", "give running text in the language")
    measured = _some(held_out, MEASURED_LINES)
    spaced = characters_per_word(language.script) == 0
    size = TextSize(
        lines=len(everything),
        words=sum(len(WORD.findall(line)) for line in everything) if spaced else None,
        characters=sum(map(len, everything)),
        bytes=sum(len(line.encode()) for line in everything),
        script_share=_script_share(letters, language.script),
    )
    return LanguageText(
        language=language,
        paths=tuple(paths),
        size=size,
        graph_path=graph,
        graph=None if graph is None else _graph_size(graph),
        published=facts_of(language).sizes,
        letters=letters,
        own_fertility=own_fertility(_some(train, OWN_LINES), measured) if spaced else None,
        train=train,
        measured=measured,
        scored=[_shortened(line) for line in _some(test, sentences)],
    )


def _some(lines: Sequence[str], most: int) -> list[str]:
    """At most so many lines, drawn with a fixed seed, in their order."""
    if len(lines) <= most:
        return list(lines)
    chosen = np.random.default_rng(SEED).choice(len(lines), most, replace=False)
    return [lines[i] for i in sorted(chosen)]


def _shortened(line: str) -> str:
    if len(line) <= SCORED_CHARACTERS:
        return line
    beginning = line[: SCORED_CHARACTERS + 1]
    return beginning.rpartition(" ")[0] or beginning[:SCORED_CHARACTERS]


def _script_share(letters: Counter[str], script: str) -> float:
    table = kinds(script)
    counts = Counter[int]()
    for letter, number in letters.items():
        counts[int(table[min(ord(letter), LIMIT)])] += number
    return counts[LETTER] / max(1, counts[LETTER] + counts[OTHER_LETTER])


def _graph_size(graph: Path) -> GraphSize:
    data = load_text_data(graph, with_triples=True)
    if data.triples is None:
        raise InputError(f"{graph}: holds no triples", "--graph takes a folder made by langlift graph build")
    sentences = [*data.train, *data.dev, *data.test]
    relations = {triple.relation for triples in data.triples.values() for triple in triples}
    return GraphSize(len(sentences), len(relations), sum(len(sentence.encode()) for sentence in sentences))
