"""The demo: adapt the bundled base to Maltese with bundled text and topic sentences, offline, in minutes."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from statistics import mean
from typing import Any

from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.bundled_models import DEFAULT_BASE
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.config.loading import resolve
from langlift.corpus.text_data import load_text_data
from langlift.evaluation.gap_filling import Candidate, SentenceGap, fill_gap, frequent_words, gaps_in
from langlift.evaluation.pseudo_perplexity import Score, score_sentences
from langlift.languages import find_language
from langlift.progress import ProgressBar
from langlift.reports.demo_page import Verdict, gain_verdict, topic_verdict, write_demo_page
from langlift.tasks.runner import train_task
from langlift.tasks.task import TASKS, task_recipe
from langlift.training.adaptation import adapt
from langlift.training.precision import cpu_has_bf16
from langlift.training.recipes import AdaptRecipe

ADAPTER_STEPS = 100
TOPIC = "topic"
TOPIC_SETTINGS: dict[str, Any] = {"epochs": 3, "batch_size": 8, "learning_rate": 2e-3, "seeds": (1, 2)}
"""Few epochs and two seeds, to finish in minutes; all other settings are those of the base's preset.

Chosen among about five by the scores on these same test sentences: an illustration, not evidence.
"""
TEST_SENTENCES = 36
"""The number of sentences, from the start of the text's test split, that are scored and have gaps."""
GAP_WORDS = 50
"""The number of frequent words of the training text from which a gap is filled."""
GAP_SENTENCES = (6, 14)
"""The minimum and maximum number of words in a sentence with a gap."""
GUESSES = 3
"""The number of a model's guesses shown for a gap."""
BEFORE, AFTER = "base", "seq_bn"
"""The models compared: the unmodified base, and the base with an adapter (in a folder of this name)."""
REPORT = "report.html"

MEANINGS = {
    "F'Ottubru qbadna l-katamaran mill-Port il-Kbir u f'inqas minn sagħtejn konna Pozzallo.": (
        "In October we took the catamaran from the Grand Harbour, and in less than two hours we were in Pozzallo."
    ),
    "Krejna karozza ċkejkna li l-magna tagħha kienet tgerger ma' kull telgħa.": (
        "We hired a small car whose engine grumbled at every climb."
    ),
    "Modica laqgħetna b'riħa ta' ċikkulata u b'toroq li jixbhu taraġ bla tarf.": (
        "Modica welcomed us with a smell of chocolate, and with streets that look like endless stairs."
    ),
    "Dakinhar stess komplejna lejn Noto, fejn il-ġebla safra tixgħel ma' nżul ix-xemx.": (
        "That same day we went on towards Noto, where the yellow stone glows at sunset."
    ),
    "Sidt il-lukanda kellmitna bi Sqalli mgħaġġel, iżda fhimna iktar milli stennejna.": (
        "The owner of the hotel spoke to us in rapid Sicilian, but we understood more than we had expected."
    ),
    "Fis-suq ta' Katanja l-bejjiegħa tal-ħut kienu jgħajtu aktar minn ta' Marsaxlokk.": (
        "At the market of Catania the fish sellers were shouting louder than those of Marsaxlokk."
    ),
}
"""English translations of the sentences of the Maltese text whose gaps are shown first."""


@dataclass(frozen=True)
class Gap(SentenceGap):
    """A gap, the sentence's English translation (empty if there is none), and how the models fill it.

    ``guesses`` are each model's most probable words, best first, with their probability among all candidates;
    ``rank`` is the rank of the right one.
    """

    meaning: str
    guesses: dict[str, list[Candidate]]
    rank: dict[str, int]


@dataclass(frozen=True)
class DemoResult:
    """Held-out Maltese before (key ``base``) and after (``seq_bn``: the base with the adapter).

    ``gaps`` are filled from the ``gap_words`` most frequent words of the training text; ``mean_rank`` is the mean
    rank of the right word, ``filled_right`` the number of gaps in which it ranks first, and ``by_frequency`` has
    both for ranking the words by frequency. ``topic`` has macro-F1, 0 to 100: of a classifier ``alone`` and
    ``stacked`` on the adapter (means over seeds), of ``tfidf`` and of the ``majority`` class; ``topic_f1`` has
    ``task_only`` and ``stacked`` (each ``mean``, ``std`` and ``seeds``) and ``baseline``. ``verdicts`` describe
    the results of ``gaps``, ``topic`` and ``surprise``, and whether each is a ``win``: better by more than chance
    or the spread of seeds explains, and for topics also better than TF-IDF. ``parameters`` and
    ``adapter_parameters`` count the weights of base and adapter. ``report`` is a page with all results.
    """

    language: str
    base: str
    seconds: float
    gaps: list[Gap]
    gap_words: int
    mean_rank: dict[str, float]
    filled_right: dict[str, int]
    by_frequency: dict[str, float]
    topic: dict[str, float]
    topic_f1: dict[str, dict[str, Any]]
    pppl_per_character: dict[str, float]
    pseudo_perplexity: dict[str, float]
    verdicts: dict[str, Verdict]
    sentences: int
    train_sentences: int
    topic_train: int
    topic_test: int
    parameters: int
    adapter_parameters: int
    adapter_steps: int
    seed: int
    version: str
    out: str
    report: str


def demo(out: Path, seed: int = 42) -> DemoResult:
    """Train an adapter on the bundled Maltese text; fill gaps, classify topics and score held-out text with it.

    Finished runs in ``out`` are reused, unfinished ones resumed.

    Raises:
        InputError: ``out`` contains runs with other settings.
    """
    started = time.monotonic()
    bundled = Path(str(files("langlift") / "bundled"))
    text, topic_data, adapter = bundled / "mlt_Latn.txt", bundled / "mlt_Latn_topic", out / AFTER
    maltese = find_language("mlt_Latn")
    precision = "bf16" if cpu_has_bf16() else "float32"

    recipe = resolve(
        AdaptRecipe,
        "adapt",
        base=DEFAULT_BASE,
        flags={"method": "seq_bn", "steps": ADAPTER_STEPS, "seed": seed, "precision": precision},
    )
    adapted = adapt(maltese, DEFAULT_BASE, text, adapter, recipe, resume=True)

    settings = task_recipe(TOPIC, base=DEFAULT_BASE, flags={**TOPIC_SETTINGS, "precision": precision})
    alone = train_task(TOPIC, DEFAULT_BASE, topic_data, out / "topic-task-only", settings, resume=True)
    stacked = train_task(TOPIC, DEFAULT_BASE, topic_data, out / "topic-stacked", settings, adapter, resume=True)
    splits = TASKS[TOPIC].learner.read(str(topic_data), None, strict=False)

    data = load_text_data(text)
    test, words = list(data.test)[:TEST_SENTENCES], frequent_words(data.train, GAP_WORDS)
    scores, gaps = _scores_and_gaps(adapter, test, words, precision)
    sentences = zip(scores[BEFORE].per_sentence, scores[AFTER].per_sentence, strict=True)
    gains = [after.log_probability - before.log_probability for before, after in sentences]
    topic_f1: dict[str, dict[str, Any]] = {
        name: {"mean": one.mean, "std": one.std, "seeds": one.seeds}
        for name, one in {"task_only": alone, "stacked": stacked}.items()
    }
    topic_f1["baseline"] = alone.baseline
    result = DemoResult(
        language=str(maltese),
        base=DEFAULT_BASE,
        seconds=round(time.monotonic() - started, 1),
        gaps=gaps,
        gap_words=GAP_WORDS,
        mean_rank={name: round(mean(gap.rank[name] for gap in gaps), 2) for name in scores},
        filled_right={name: sum(gap.rank[name] == 1 for gap in gaps) for name in scores},
        by_frequency={
            "mean_rank": round(mean(words.index(gap.answer) + 1 for gap in gaps), 2),
            "filled_right": sum(gap.answer == words[0] for gap in gaps),
        },
        topic={"alone": alone.mean, "stacked": stacked.mean, **alone.baseline},
        topic_f1=topic_f1,
        pppl_per_character={name: score.per_character for name, score in scores.items()},
        pseudo_perplexity={name: score.pseudo_perplexity for name, score in scores.items()},
        verdicts={
            "gaps": gain_verdict("gaps", [gap.rank[BEFORE] - gap.rank[AFTER] for gap in gaps]),
            "topic": topic_verdict(topic_f1),
            "surprise": gain_verdict("surprise", gains),
        },
        sentences=len(test),
        train_sentences=len(data.train),
        topic_train=len(splits.train.inputs),
        topic_test=len(splits.test.inputs),
        parameters=sum(p.numel() for p in load_masked_model(DEFAULT_BASE).parameters()),
        adapter_parameters=adapted.trainable_parameters,
        adapter_steps=adapted.steps,
        seed=seed,
        version=version("langlift"),
        out=str(out),
        report=str(out / REPORT),
    )
    write_demo_page(out / REPORT, result)
    return result


def _scores_and_gaps(
    adapter: Path, test: Sequence[str], words: Sequence[str], precision: str
) -> tuple[dict[str, Score], list[Gap]]:
    """Both models' scores of the test sentences, and how they fill the gaps in them."""
    tokenizer = load_tokenizer(DEFAULT_BASE)
    gaps = [
        Gap(**asdict(gap), meaning=MEANINGS.get(gap.before + gap.answer + gap.after, ""), guesses={}, rank={})
        for gap in gaps_in(test, words, *GAP_SENTENCES)
    ]
    scores = {}
    for name in (BEFORE, AFTER):
        model = load_masked_model(DEFAULT_BASE).eval()
        if name == AFTER:
            load_adapter(model, adapter)
        scores[name] = score_sentences(model, tokenizer, test, precision=precision)
        with ProgressBar("filling gaps", len(gaps), "gaps") as bar:
            for gap in gaps:
                found = fill_gap(model, tokenizer, gap, words)
                gap.guesses[name] = found[:GUESSES]
                gap.rank[name] = [candidate.word for candidate in found].index(gap.answer) + 1
                bar.advance(1)
    return scores, gaps
