"""Named entity recognition over BIO tags, from CoNLL files or data sets in the hub's format."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError
from langlift.evaluation.metrics import STRICT_F1, entity_f1, entity_spans
from langlift.tasks.input_rows import TAG, conll_sentences, read_word_rows, words_of
from langlift.tasks.learner import Item, Reading, Row, Split
from langlift.tasks.sources import SPLITS, HubSet, Source, open_source
from langlift.tasks.tagging import Tagged, TaggingLearner, most_frequent_label

ENDINGS = (".conll", ".txt", ".tsv", ".bio")
HUB_FIELDS = (("tokens", "words"), ("ner_tags", "tags", "labels"))
CHUNKS = {"NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"}
"""Types of the chunk column of CoNLL-2003, which looks like named entities."""
BIO = {"S": "B", "U": "B", "E": "I", "L": "I"}
"""The marks of BIOES and BILOU in BIO."""
OUTSIDE = "O"

TaggedWords = Split[list[str], list[str]]
"""Sentences as lists of words, and a tag for each word."""


@dataclass(frozen=True)
class Entity:
    """An entity: words ``start`` up to ``end`` (exclusive); the probability is that of its least certain word."""

    type: str
    text: str
    start: int
    end: int
    probability: float


class FoundEntities(Tagged):
    """A sentence's words, the tag of each and its probability, and the entities in these tags."""

    @cached_property
    def entities(self) -> list[Entity]:
        """The entities, in order."""
        return [
            Entity(kind, " ".join(self.sentence[start:end]), start, end, min(self.probabilities[start:end]))
            for kind, start, end in entity_spans(self.tags)
        ]

    @property
    def counted(self) -> list[str]:
        """The entities' types."""
        return [entity.type for entity in self.entities]

    def record(self) -> dict[str, Any]:
        """``words``, ``tags``, ``probabilities`` (of each word's tag) and ``entities``."""
        return {
            "words": self.sentence,
            "tags": self.tags,
            "probabilities": self.probabilities,
            "entities": [asdict(entity) for entity in self.entities],
        }

    def cells(self) -> dict[str, str]:
        """``entities`` as ``PER: Juma Ali; LOC: Dodoma``, and their ``probabilities``."""
        return {
            "entities": "; ".join(f"{entity.type}: {entity.text}" for entity in self.entities),
            "probabilities": "; ".join(f"{entity.probability:.6f}" for entity in self.entities),
        }

    def lines(self) -> list[str]:
        """Each word and its tag."""
        return [f"{word}\t{tag}" for word, tag in zip(self.sentence, self.tags, strict=True)]


class NamedEntities(TaggingLearner[list[str]]):
    """BIO tags, measured by entity-level F1 on words (with ``label_subwords: every`` on tokens, as published)."""

    what, answer = "type", FoundEntities

    def open(self, data: str) -> Source:
        """A folder of CoNLL files, or a data set in the hub's format."""
        return open_source(data, ENDINGS, "train.conll, dev.conll and test.conll", HUB_FIELDS)

    def items(self, source: Source, split: str, reading: Reading) -> Iterator[Item[list[str], list[str]]]:
        """Sentences with valid tags: an ``I-`` that does not continue an entity becomes ``B-``, and is counted.

        The columns of all CoNLL files of a folder are those guessed from its train file (or the first there is).
        """
        if isinstance(source, HubSet):
            if reading.columns:
                raise InputError(f"--columns: {source.name} has named fields", "leave it out")
            sentences = _hub_sentences(source, split)
        else:
            (path,) = source.files(split)
            layout = conll_layout(next(chain.from_iterable(map(source.found, SPLITS))), reading.columns)
            if layout.remark:
                reading.remark(layout.remark)
            sentences = read_conll(path, lambda kind: reading.note(f"{split}_{kind}"), layout)
        return (Item(one.input, bio_tags(one, split, reading), one.place) for one in sentences)

    def labels(self, train: Sequence[list[str]], where: str) -> list[str]:
        """``O``, and ``B-`` and ``I-`` of each type."""
        types = set(chain.from_iterable(map(self.known, train))) - {""}
        if not types:
            raise InputError(f"{where}: no entity, every tag is O", "nothing can be learned")
        return [OUTSIDE, *(f"{mark}-{kind}" for kind in sorted(types) for mark in "BI")]

    def known(self, gold: list[str]) -> list[str]:
        """The type of each entity."""
        return [tag[2:] if tag.startswith("B-") else "" for tag in gold]

    def input_of(self, text: str, words: Sequence[str] | None = None) -> list[str]:
        """The words."""
        return words_of(text) if words is None else list(words)

    def read_inputs(self, source: Path, word_column: int = 0) -> Iterator[tuple[Row, list[str]]]:
        """Lines, or rows of a TSV file, split into words; or a file with one word per line."""
        return read_word_rows(source, word_column)

    def scores(self, gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, float]:
        """Entity F1, also strict."""
        strict = entity_f1(gold, predicted, strict=True)
        return {self.task.metric.name: entity_f1(gold, predicted), STRICT_F1.name: strict}

    def measure(self, split: TaggedWords, answers: Sequence[Tagged]) -> dict[str, float]:
        """The scores over labelled tokens: one per word, or all of them."""
        gold = [
            [tag for tag, count in zip(tags, answer.counts, strict=True) for _ in range(count)]
            for tags, answer in zip(split.gold, answers, strict=True)
        ]
        return self.scores(gold, [answer.token_tags for answer in answers])

    def baselines(self, train: TaggedWords, test: TaggedWords) -> dict[str, float]:
        """Each word gets its most frequent training tag, an unknown one ``O``; on words."""
        predicted = most_frequent_label(train.inputs, train.gold, test.inputs, unknown=OUTSIDE)
        return {"most_frequent_tag": entity_f1(test.gold, predicted)}

    def counted(self, labels: Sequence[str]) -> list[str]:
        """The types of entities."""
        return [label[2:] for label in labels if label.startswith("B-")]


@dataclass(frozen=True)
class ConllLayout:
    """The columns of CoNLL files: of the ``word``, counted from 1 (0: the first that does not number the words),
    and of the ``tag``, an index.

    If they were guessed, from ``file``, ``width`` is the number of columns in all its lines without word numbers
    (0: it differs), and ``remark`` says which one was chosen.
    """

    file: Path
    word: int
    tag: int
    width: int = 0
    remark: str = ""


def conll_layout(file: Path, columns: Sequence[int] = ()) -> ConllLayout:
    """The layout with the given ``columns`` of word and tag, or else the one guessed from a file.

    The first column is the word, after the word's number if there is one. The last column is the tag; if several
    columns have BIO tags, it is the one with most entities (not counting CoNLL-2003's chunks).
    """
    if columns:
        return ConllLayout(file, columns[0], columns[1] - 1)
    rows = [columns for _, columns in chain.from_iterable(conll_sentences(read_raw_lines(file)))]
    widths = {len(columns) for columns in rows}
    width = 0 if len(widths) > 1 else max(widths, default=0)
    tag, remark = _tag_column(rows, width), ""
    if max(widths, default=0) > 2:
        chosen = f"column {tag % width + 1} of {width}" if width else "each line's last column"
        remark = f"{file}: the tags are {chosen}, not counting word numbers (--columns WORD,TAG chooses others)"
    return ConllLayout(file, 0, tag, width, remark)


def _tag_column(rows: Sequence[Sequence[str]], width: int) -> int:
    """The column of the tags: the last (-1), unless one before it has more entities."""
    entities = {}
    for column in range(1, width):
        matches = [TAG.fullmatch(columns[column]) for columns in rows]
        types = {match[2] for match in matches if match and match[2]}
        if all(matches) and not (types and types <= CHUNKS):
            entities[column] = sum(match is not None and match[1] in ("B", "S", "U") for match in matches)
    best = max(entities, key=lambda column: (entities[column], column), default=width - 1)
    return -1 if best == width - 1 else best


def read_conll(
    path: Path, repairs: Callable[[str], None] = lambda kind: None, layout: ConllLayout | None = None
) -> Iterator[Item[list[str], list[str]]]:
    """The sentences of a file with a word and its tag per line, in the columns of ``layout`` (None: guessed).

    An InputError names file and line if a line lacks one of them, or has another number of columns than the file
    from which the layout was guessed.
    """
    layout = layout or conll_layout(path)
    word, tag = max(layout.word - 1, 0), layout.tag
    sentences = list(conll_sentences(read_raw_lines(path), repairs, layout.word))
    for number, columns in chain.from_iterable(sentences):
        place = f"{path}:{number}"
        if len(columns) < max(2, word + 1, tag + 1) or not columns[word] or not columns[tag]:
            where = f" in columns {word + 1} and {tag + 1}" if layout.word else ""
            raise InputError(f"{place}: not a word and its tag{where}", "separate them by a space or tab")
        if layout.width and len(columns) != layout.width:
            raise InputError(
                f"{place}: {len(columns)} columns without word numbers, but {layout.file} has {layout.width}",
                "all files of a folder need the same columns; --columns WORD,TAG chooses the two that matter",
            )
    if sentences and all(columns[word] == "_" for _, columns in chain.from_iterable(sentences)):
        raise InputError(f"{path}: every word is _: the text is withheld", "get the data with its text")
    for lines in sentences:
        words, tags = [columns[word] for _, columns in lines], [columns[tag] for _, columns in lines]
        yield Item(words, tags, [f"{path}:{number}" for number, _ in lines].__getitem__)


def _hub_sentences(source: HubSet, split: str) -> Iterator[Item[list[str], list[str]]]:
    """The sentences of a data set; rows without words are skipped."""
    for place, (words, tags) in source.rows(split):
        if not isinstance(words, list) or not isinstance(tags, list) or len(words) != len(tags):
            raise InputError(f"{place}: not as many tags as words", "fix or drop the row")
        if words:
            yield Item(list(map(str, words)), list(map(str, tags)), ([place] * len(words)).__getitem__)


def bio_tags(sentence: Item[list[str], list[str]], split: str, reading: Reading) -> list[str]:
    """The tags of a sentence in BIO (or an InputError); an ``I-`` that continues no entity becomes ``B-``."""
    tags: list[str] = []
    for number, tag in enumerate(sentence.gold):
        match = TAG.fullmatch(tag)
        if match is None:
            place = sentence.place(number)
            raise InputError(f"{place}: tag '{tag}' is not O, B-TYPE or I-TYPE", "convert the tags to BIO")
        mark, kind = match[1], match[2]
        if mark in BIO:
            reading.note(f"{split}_converted_to_bio")
            mark = BIO[mark]
            tag = f"{mark}-{kind}"
        if mark == "I" and (not tags or tags[-1] not in (f"B-{kind}", f"I-{kind}")):
            before = tags[-1] if tags else "the start of the sentence"
            reading.count(
                f"{split}_inside_without_begin",
                f"{sentence.place(number)}: {tag} after {before} does not continue an entity",
                f"write B-{kind}",
            )
            tag = f"B-{kind}"
        tags.append(tag)
    return tags
