"""One run of a study, done or gone on with: langlift's verbs, and run.json at the end."""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langlift.adapters.method import is_whole_model
from langlift.backbones.base_name import BaseName
from langlift.corpus.building import build_corpus
from langlift.corpus.text_data import texts_to_score
from langlift.errors import LangliftError
from langlift.evaluation.alignment import compare_vectors
from langlift.evaluation.perplexity import Perplexity, score_causal_model
from langlift.evaluation.pseudo_perplexity import WITHIN_WORD, Score, score_model
from langlift.evaluation.sentence_vectors import parallel_sentences, sentence_vectors
from langlift.files import write_json, write_text
from langlift.graph.building import build_graph
from langlift.graph.recipe import GraphRecipe
from langlift.languages import find_language
from langlift.prompting.running import prompt
from langlift.studies.asking import answers_file, asked_model, asked_recipe, template_file
from langlift.studies.cutting import cut_data
from langlift.studies.folder import SENTENCES, held, is_done, made_ready, write_failure, write_run
from langlift.studies.step import Step
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.training.adaptation import adapt
from langlift.training.family import adapt_family
from langlift.training.family_file import Family
from langlift.training.memory import peak_memory_bytes, reset_peak_memory
from langlift.training.recipes import CAUSAL, AdaptRecipe, FamilyRecipe
from langlift.training.run_folder import METRICS
from langlift.vocab.building import build_vocabulary
from langlift.vocab.recipe import VocabRecipe

WAIT = 60.0
"""Seconds that a run waits for a dying process to let go of its folder."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: ``error`` (one line) and ``hint`` say why it failed or was ``skipped``, or are empty."""

    error: str = ""
    hint: str = ""
    skipped: bool = False

    @property
    def ok(self) -> bool:
        """Whether it is finished."""
        return not self.error


def execute(step: Step, runs: Path) -> Outcome:
    """Do one run in its folder ``runs/NAME``, or go on with it; a finished one is left as it is.

    What goes wrong is written into the folder and told by the outcome: only interrupts are raised.
    """
    try:
        folder = step.folder_in(runs)
        with held(folder, "run", WAIT):
            return Outcome() if is_done(runs, step) else _tried(step, runs, folder)
    except LangliftError as error:
        return Outcome(error.message, error.hint)


def _tried(step: Step, runs: Path, folder: Path) -> Outcome:
    try:
        made_ready(folder)
        _do(step, runs, folder)
    except LangliftError as error:
        return _failed(folder, error.message, error.hint)
    except Exception as error:  # noqa: BLE001 - one run must not stop the others
        reason = " ".join(str(error).split()) or "no message"
        return _failed(folder, f"{type(error).__name__}: {reason}", "")
    return Outcome()


def _failed(folder: Path, message: str, hint: str) -> Outcome:
    with suppress(LangliftError):  # a full disk may be why it failed: it is told at the end all the same
        write_failure(folder, message, hint)
    return Outcome(message, hint)


def _do(step: Step, runs: Path, folder: Path) -> None:
    reset_peak_memory()
    started = time.monotonic()
    result, metrics = KINDS[step.kind](step, runs, folder)
    if metrics is not None:
        write_json(folder / METRICS, metrics)
    seconds = time.monotonic() - started
    cost = {"tokens": None, "flops": None, "seconds": seconds, "peak_memory_bytes": peak_memory_bytes()}
    cost |= {key: result.pop(key) for key in cost.keys() & result.keys()}
    write_run(
        folder,
        {
            "kind": step.kind,
            "name": folder.name,
            "hash": step.hash,
            "cell": dict(step.cell),
            "needs": [one.hash for one in step.needs],
            "result": result,
            "cost": cost,
            "published": step.published,
        },
    )


Done = tuple[dict[str, Any], Mapping[str, Any] | None]
"""The headline numbers (those of the cost are moved there), and metrics.json where the verb writes none."""


def _paths(step: Step, runs: Path, name: str) -> list[Path]:
    return [one.made_in(runs) if isinstance(one, Step) else Path(one.path) for one in step.inputs.get(name, ())]


def _base(step: Step, name: str = "base") -> str:
    base = step.inputs[name][0]
    if isinstance(base, Step):
        raise TypeError("the base of a run is a model that is there")
    return base.path


def _model(step: Step, runs: Path) -> tuple[str, Path | None]:
    """The base and the adapter on it; a model that was trained whole is itself the base."""
    for trained in step.inputs.get("trained", ()):
        made = trained.made_in(runs) if isinstance(trained, Step) else Path(trained.path)
        return (str(made), None) if is_whole_model(step.cell["method"]) else (_base(step), made)
    return _base(step), None


def _settings(step: Step, kind: type) -> Any:
    """The recipe; what the method does not read has its default."""
    extra = ("language", "family", "task", "sources")
    return kind(**{name: value for name, value in step.settings.items() if name not in extra})


def _sources(step: Step) -> list[str]:
    return [one.path for one in step.inputs["sources"] if not isinstance(one, Step)]


def _corpus(step: Step, runs: Path, folder: Path) -> Done:
    language = find_language(step.settings["language"])
    out = step.made_in(runs)
    result = build_corpus(language, _sources(step), out, exclude=_paths(step, runs, "exclude"))
    return {"value": result.kept["bytes"], "before": result.read["bytes"], "seconds": result.seconds}, asdict(
        result
    )


def _graph(step: Step, runs: Path, folder: Path) -> Done:
    language = find_language(step.settings["language"])
    result = build_graph(language, _sources(step), step.made_in(runs), _settings(step, GraphRecipe))
    return {"value": result.kept, "before": result.rows, "seconds": result.seconds}, asdict(result)


def _cut(step: Step, runs: Path, folder: Path) -> Done:
    result = cut_data(_paths(step, runs, "of")[0], step.made_in(runs), step.settings["max_bytes"])
    return {"value": result.bytes, "before": result.of_bytes}, asdict(result)


def _vocab(step: Step, runs: Path, folder: Path) -> Done:
    result = build_vocabulary(
        step.settings["family"],
        _base(step),
        _paths(step, runs, "corpora"),
        step.made_in(runs),
        _settings(step, VocabRecipe),
    )
    return {"value": result.size, "before": None}, asdict(result)


def _adapt(step: Step, runs: Path, folder: Path) -> Done:
    language = step.settings["language"]
    data = _paths(step, runs, f"data:{language}")
    result = adapt(find_language(language), _base(step), data, folder, _settings(step, AdaptRecipe), resume=True)
    found = {"value": result.validation_loss, "before": result.validation_loss_before}
    return found | _cost(asdict(result)), None


def _family(step: Step, runs: Path, folder: Path) -> Done:
    data = {
        find_language(name.removeprefix("data:")): tuple(_paths(step, runs, name))
        for name in step.inputs
        if name.startswith("data:")
    }
    vocabulary = next(iter(_paths(step, runs, "vocabulary")), None)
    family = Family(
        step.settings["family"], BaseName(_base(step)), data, None if vocabulary is None else str(vocabulary)
    )
    result = adapt_family(family, folder, _settings(step, FamilyRecipe), resume=True)
    found = {"value": result.validation_loss, "before": result.validation_loss_before}
    return found | _cost(asdict(result)), None


def _score(step: Step, runs: Path, folder: Path) -> Done:
    base, adapter = _model(step, runs)
    settings = step.settings
    text = _paths(step, runs, "text")[0]
    split = settings["split"] if text.is_file() else None
    texts = texts_to_score(text, split, settings["sentences"])
    result: Score | Perplexity
    if settings["variant"] == CAUSAL:
        result = score_causal_model(base, texts, adapter, precision=settings["precision"])
        value = result.perplexity if settings["unit"] == "token" else result.per_character
    else:
        result = score_model(base, texts, adapter, settings["variant"], precision=settings["precision"])
        value = result.per_character if result.variant == WITHIN_WORD else result.pseudo_perplexity
    metrics = asdict(result)
    kept = ("tokens", "characters", "log_probability")
    each = [{key: one[key] for key in kept if key in one} for one in metrics.pop("per_sentence")]
    write_text(folder / SENTENCES, "".join(json.dumps(one) + "\n" for one in each))
    names = ("perplexity", "per_character", "per_byte", "unknown_share", "byte_share", "sentences")
    found = {"value": value, "before": None, **{name: metrics[name] for name in names if name in metrics}}
    return found | {"tokens": result.tokens, "seconds": result.seconds}, metrics


def _alignment(step: Step, runs: Path, folder: Path) -> Done:
    base, adapter = _model(step, runs)
    layers, most = step.settings["layers"], step.settings["sentences"]
    texts = step.texts("text", "other")
    pairs = parallel_sentences(texts[0], texts[-1])[:most]
    ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    first = sentence_vectors(base, ours, adapter, layers)
    (other, its_adapter) = (_base(step, "other_base"), None) if "other_base" in step.inputs else (base, adapter)
    second = sentence_vectors(other, theirs, its_adapter, layers)
    if len(first) != len(second):  # of models of different depth only the outputs belong together
        first, second = first[-1:], second[-1:]
    by_layer = [asdict(compare_vectors(one, two)) for one, two in zip(first, second, strict=True)]
    last = by_layer[-1]
    return {"value": last["cka"], "before": None, **last}, {**last, "by_layer": by_layer}


def _task(step: Step, runs: Path, folder: Path) -> Done:
    base, adapter = _model(step, runs)
    fused = _paths(step, runs, "adapters")
    result = train_task(
        step.settings["task"],
        base,
        _paths(step, runs, "data")[0],
        folder,
        _settings(step, TaskRecipe),
        fused or adapter,
        _paths(step, runs, "train_data"),
        resume=True,
    )
    further = {name: measured["mean"] for name, measured in result.further.items()}
    found = {"value": result.mean, "before": None, **further, "baseline": result.baseline}
    return found | _cost(asdict(result)), None


def _prompt(step: Step, runs: Path, folder: Path) -> Done:
    model, name, key_variable = asked_model(step)
    result = prompt(
        step.settings["task"],
        _paths(step, runs, "data")[0],
        model,
        folder,
        asked_recipe(step),
        name,
        template_file(step),
        _paths(step, runs, "train_data"),
        answers_file(step, runs),
        key_variable,
        resume=True,
        wait=True,
    )
    names = (
        "baseline",
        "unparsed",
        "cut",
        "failed",
        "misplaced",
        "asked",
        "kept",
        "prompt_tokens",
        "answer_tokens",
    )
    found: dict[str, Any] = {name: getattr(result, name) for name in names}
    return {"value": result.mean, "before": None, **found, "price": result.cost, "seconds": result.seconds}, None


def _cost(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {name: metrics[name] for name in ("tokens", "flops", "seconds", "peak_memory_bytes") if name in metrics}


KINDS: dict[str, Callable[[Step, Path, Path], Done]] = {
    "corpus": _corpus,
    "graph": _graph,
    "cut": _cut,
    "vocab": _vocab,
    "adapt": _adapt,
    "family": _family,
    "score": _score,
    "alignment": _alignment,
    "task": _task,
    "fuse": _task,
    "prompt": _prompt,
}
