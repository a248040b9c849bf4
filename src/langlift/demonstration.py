"""The main job in minutes, offline: lift Maltese with the bundled model, text, triples and topic sentences."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from langlift.backbones.loading import NANO, load_masked_model, load_tokenizer
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.config.loading import resolve
from langlift.config.recipes import AdaptRecipe, TaskRecipe
from langlift.corpus.text_data import load_text_data
from langlift.evaluation.gap_filling import fill_gap, frequent_words
from langlift.evaluation.pseudo_perplexity import Score, score_sentences
from langlift.graph.building import build_graph
from langlift.languages import find_language
from langlift.reports.demo_page import write_demo_page
from langlift.tasks.labelled_text import read_labelled_text
from langlift.tasks.runner import TaskResult
from langlift.tasks.topic import train_topic
from langlift.training.adaptation import adapt
from langlift.training.precision import cpu_has_bf16

NAMES = {
    "base": "langlift-nano",
    "seq_bn": "+ Seq_bn, text",
    "seq_bn_inv": "+ Seq_bn_inv, text",
    "graph": "+ Seq_bn, graph",
}
"""The models compared: the base, and an adapter each."""
GAP_WORDS = 50
"""A gap is filled with one of so many frequent words of the training text."""
TOPIC_SETTINGS = {"epochs": 10, "batch_size": 8}
"""Shorter than the preset's, so that six classifiers are trained in under three minutes."""
REPORT = "report.html"


@dataclass(frozen=True)
class Gap:
    """A sentence with a gap: what stands before, the right word, what stands after, and the meaning in English.

    ``filled`` is the word that each model finds most probable, ``rank`` the place of the right one.
    """

    before: str
    answer: str
    after: str
    meaning: str
    filled: dict[str, str]
    rank: dict[str, int]


GAPS = (
    ("Ommi sajret borma kbira ", "ta'", " minestra.", "My mother cooked a big pot of soup."),
    ("Poġġejt il-ktieb ", "fuq", " il-mejda.", "I put the book on the table."),
    ("Ma stajtx noħroġ, ", "għax", " kienet nieżla x-xita.", "I could not go out, because it was raining."),
    ("Missieri mar il-baħar ", "biex", " jistad.", "My father went to the sea to fish."),
    ("Iz-zija ", "kienet", " toqgħod f'dar żgħira.", "My aunt used to live in a small house."),
    ("Immur l-iskola ", "ma'", " ħija.", "I go to school with my brother."),
)
"""Sentences that are not in the sample: before, right word, after, meaning."""


@dataclass(frozen=True)
class DemoResult:
    """Held-out Maltese before and after; dictionaries of models have the keys of ``NAMES``.

    ``topic_f1`` has ``task_only`` and ``stacked`` (each ``mean``, ``std`` and ``seeds``: macro-F1, 0 to 100) and
    ``baseline`` (``tfidf``, ``majority``). ``report`` is the page that shows it all.
    """

    language: str
    seconds: float
    pppl_per_character: dict[str, float]
    pseudo_perplexity: dict[str, float]
    gaps: list[Gap]
    gap_words: int
    topic_f1: dict[str, dict[str, Any]]
    sentences: int
    train_sentences: int
    train_triples: int
    topic_train: int
    topic_test: int
    seed: int
    version: str
    out: str
    report: str


def demo(out: Path, seed: int = 42) -> DemoResult:
    """Train text and graph adapters on the bundled Maltese samples; score held-out text, gaps and topics.

    Runs that ``out`` holds already, finished or not, are used and gone on with.

    Raises:
        InputError: ``out`` holds runs with other settings.
    """
    started = time.monotonic()
    bundled = Path(str(files("langlift") / "bundled"))
    text, topic_data, graph = bundled / "mlt_Latn.txt", bundled / "mlt_Latn_topic", out / "graph-data"
    maltese = find_language("mlt_Latn")
    data = load_text_data(text)
    if not graph.exists():
        build_graph(maltese, [f"conceptnet:{bundled / 'mlt_Latn_graph.tsv'}"], graph)

    precision = "bf16" if cpu_has_bf16() else "float32"
    adapters = {"seq_bn": ("seq_bn", text), "seq_bn_inv": ("seq_bn_inv", text), "graph": ("seq_bn", graph)}
    for name, (method, source) in adapters.items():
        recipe = resolve(
            AdaptRecipe, "adapt", preset="nano", flags={"method": method, "seed": seed, "precision": precision}
        )
        adapt(maltese, NANO, source, out / name, recipe, resume=True)
    words = frequent_words(data.train, GAP_WORDS)
    scores, gaps = _scores_and_gaps(out, data.test, words)

    settings = resolve(TaskRecipe, "task", preset="nano", flags={**TOPIC_SETTINGS, "precision": precision})
    alone = train_topic(NANO, topic_data, out / "topic-task-only", settings, resume=True)
    stacked = train_topic(NANO, topic_data, out / "topic-stacked", settings, out / "seq_bn", resume=True)
    splits = read_labelled_text(topic_data)

    result = DemoResult(
        language=str(maltese),
        seconds=round(time.monotonic() - started, 1),
        pppl_per_character={name: score.per_character for name, score in scores.items()},
        pseudo_perplexity={name: score.pseudo_perplexity for name, score in scores.items()},
        gaps=gaps,
        gap_words=GAP_WORDS,
        topic_f1={"task_only": _spread(alone), "stacked": _spread(stacked), "baseline": alone.baseline},
        sentences=len(data.test),
        train_sentences=len(data.train),
        train_triples=len(load_text_data(graph).train),
        topic_train=len(splits["train"].texts),
        topic_test=len(splits["test"].texts),
        seed=seed,
        version=version("langlift"),
        out=str(out),
        report=str(out / REPORT),
    )
    write_demo_page(out / REPORT, result, NAMES, {name: out / name for name in adapters})
    return result


def _scores_and_gaps(out: Path, test: Sequence[str], words: Sequence[str]) -> tuple[dict[str, Score], list[Gap]]:
    """Every model's score of the test sentences, and how it fills every gap."""
    tokenizer = load_tokenizer(NANO)
    gaps = [Gap(*gap, filled={}, rank={}) for gap in GAPS]
    scores = {}
    for name in NAMES:
        model = load_masked_model(NANO)
        if name != "base":
            load_adapter(model, out / name)
        scores[name] = score_sentences(model, tokenizer, test)
        for gap in gaps:
            found = fill_gap(model, tokenizer, gap.before, gap.answer, gap.after, words)
            gap.filled[name], gap.rank[name] = found.filled, found.rank
    return scores, gaps


def _spread(result: TaskResult) -> dict[str, Any]:
    return {"mean": result.mean, "std": result.std, "seeds": result.seeds}
