"""Executes or resumes one run of a study: calls a function of langlift's API, and writes run.json at the end."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langlift.adapters.method import is_whole_model
from langlift.backbones.base_name import BaseName
from langlift.corpus.building import MAX_BYTES, build_corpus
from langlift.corpus.text_data import texts_to_score
from langlift.errors import LangliftError, is_panic
from langlift.evaluation.alignment import compare_vectors, neuron_overlap, parallel_sentences, sentence_vectors
from langlift.evaluation.pseudo_perplexity import WITHIN_WORD, score_model
from langlift.files import files_in, settle, write_json, write_text
from langlift.graph.building import build_graph
from langlift.graph.recipe import GraphRecipe
from langlift.languages import find_language
from langlift.prompting.running import prompt
from langlift.studies.cutting import cut_data
from langlift.studies.folder import COSTS, FAILED, PRECISION, SENTENCES, is_done, locked_folder, prepare
from langlift.studies.step import RUN, UNSAFE, Input, Step
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.training.adaptation import adapt
from langlift.training.cost import peak_memory_bytes, reset_peak_memory
from langlift.training.family import adapt_family
from langlift.training.family_file import Family
from langlift.training.precision import one_precision
from langlift.training.recipes import CAUSAL, AdaptRecipe, FamilyRecipe
from langlift.training.run_folder import METRICS
from langlift.vocab.building import build_vocabulary
from langlift.vocab.recipe import VocabRecipe

ANSWERS = "answers"
"""The folder of a study in which answers are kept, for all its runs."""
WAIT = 60.0
"""Seconds to wait for a terminating process to release its folder."""


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended: ``error`` (one line) and ``hint`` say why it failed or was ``skipped``, or are empty."""

    run: str
    error: str = ""
    hint: str = ""
    skipped: bool = False

    @property
    def ok(self) -> bool:
        """Whether it is finished."""
        return not self.error


def execute(step: Step, runs: Path) -> RunOutcome:
    """Execute or resume one run in its folder ``runs/NAME``; nothing is done if it is finished.

    Errors are written to the folder and returned; only interrupts are raised.
    """
    folder = step.folder_in(runs)
    try:
        with locked_folder(folder, "run", WAIT):
            if is_done(runs, step):
                return RunOutcome(step.name)
            try:
                prepare(folder)
                _run(step, runs, folder)
                return RunOutcome(step.name)
            except BaseException as error:  # one run must not stop the others
                if not (isinstance(error, Exception) or is_panic(error)):
                    raise
                failure = _failure(step, error)
            with suppress(LangliftError):  # the disk may be full; the error is reported in any case
                write_json(folder / FAILED, {"error": failure.error, "hint": failure.hint})
            return failure
    except LangliftError as error:
        return _failure(step, error)


def _failure(step: Step, error: BaseException) -> RunOutcome:
    if isinstance(error, LangliftError):
        return RunOutcome(step.name, error.message, error.hint)
    return RunOutcome(step.name, f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}")


def _run(step: Step, runs: Path, folder: Path) -> None:
    reset_peak_memory()
    started = time.monotonic()
    with one_precision(runs.parent / PRECISION):
        result, metrics = getattr(_Verbs(step, runs), step.kind)()
    if metrics is not None:
        write_json(folder / METRICS, metrics)
    seconds = time.monotonic() - started
    cost = {"tokens": None, "flops": None, "seconds": seconds, "peak_memory_bytes": peak_memory_bytes()}
    cost |= {key: result.pop(key) for key in COSTS if key in result}
    content = {
        "kind": step.kind,
        "name": folder.name,
        "hash": step.hash,
        "cell": dict(step.cell),
        "needs": [one.hash for one in step.needs],
        "result": result,
        "cost": cost,
        "published": step.published,
    }
    settle(*files_in(folder))  # before run.json, which says that it is finished
    write_json(folder / RUN, content)


Result = tuple[dict[str, Any], Mapping[str, Any] | None]
"""The main numbers and costs, and the content of metrics.json unless the verb writes it."""


class _Verbs:
    """A method for each kind of run."""

    def __init__(self, step: Step, runs: Path) -> None:
        self.step, self.runs, self.out = step, runs, step.output_in(runs)
        self.settings: Mapping[str, Any] = step.settings

    def paths(self, name: str) -> list[Path]:
        """The paths of an input: what exists, and the results of other runs."""
        inputs = self.step.inputs.get(name, ())
        return [one.output_in(self.runs) if isinstance(one, Step) else Path(one.path) for one in inputs]

    def recipe(self, kind: type) -> Any:
        """The settings as a recipe."""
        others = ("language", "family", "task", "sources")
        return kind(**{name: value for name, value in self.settings.items() if name not in others})

    def model(self) -> tuple[str, Path | None]:
        """The base and the adapter on it; a whole trained model is itself the base."""
        base = self.step.base()
        for trained in self.paths("trained"):
            return (str(trained), None) if is_whole_model(self.step.cell["method"]) else (base, trained)
        return base, None

    def corpus(self) -> Result:
        language, sources = find_language(self.settings["language"]), list(map(str, self.step.paths("sources")))
        scored = [one.output_in(self.runs) / "test.jsonl" for one in self.step.needs]
        exclude = [*scored, *self.step.paths("exclude")]
        max_bytes = self.settings.get("max_bytes", MAX_BYTES)
        result = build_corpus(language, sources, self.out, max_bytes=max_bytes, exclude=exclude)
        found = {"value": result.kept["bytes"], "before": result.read["bytes"], "seconds": result.seconds}
        return found, asdict(result)

    def graph(self) -> Result:
        language, sources = find_language(self.settings["language"]), list(map(str, self.step.paths("sources")))
        result = build_graph(language, sources, self.out, self.recipe(GraphRecipe))
        return {"value": result.kept, "before": result.rows, "seconds": result.seconds}, asdict(result)

    def cut(self) -> Result:
        result = cut_data(self.paths("of")[0], self.out, self.settings["max_bytes"])
        return {"value": result.bytes, "before": result.of_bytes}, asdict(result)

    def vocab(self) -> Result:
        corpora, recipe = self.paths("corpora"), self.recipe(VocabRecipe)
        result = build_vocabulary(self.settings["family"], self.step.base(), corpora, self.out, recipe)
        return {"value": result.size, "before": None}, asdict(result)

    def adapt(self) -> Result:
        language, recipe = self.settings["language"], self.recipe(AdaptRecipe)
        data = self.paths(f"data:{language}")
        result = adapt(find_language(language), self.step.base(), data, self.out, recipe, resume=True)
        return _trained_result(result)

    def family(self) -> Result:
        names = [name for name in self.step.inputs if name.startswith("data:")]
        data = {find_language(name.removeprefix("data:")): tuple(self.paths(name)) for name in names}
        vocabulary = next((str(path) for path in self.paths("vocabulary")), None)
        family = Family(self.settings["family"], BaseName(self.step.base()), data, vocabulary)
        return _trained_result(adapt_family(family, self.out, self.recipe(FamilyRecipe), resume=True))

    def score(self) -> Result:
        (base, adapter), settings = self.model(), self.settings
        (text,) = self.paths("text")
        texts = texts_to_score(text, settings["split"] if text.is_file() else None, settings["sentences"])
        variant = "default" if settings["variant"] == CAUSAL else settings["variant"]
        result: Any = score_model(base, texts, adapter, variant, precision=settings["precision"])
        if settings["variant"] == CAUSAL:
            value = result.perplexity if settings["unit"] == "token" else result.per_character
        else:
            value = result.per_character if variant == WITHIN_WORD else result.pseudo_perplexity
        metrics = asdict(result)
        kept = ("tokens", "characters", "log_probability")
        each = [{key: one[key] for key in kept if key in one} for one in metrics.pop("per_sentence")]
        write_text(self.out / SENTENCES, "".join(json.dumps(one) + "\n" for one in each))
        names = ("perplexity", "per_character", "per_byte", "unknown_share", "byte_share", "sentences")
        found = {"value": value, "before": None, **{name: metrics[name] for name in names if name in metrics}}
        return found | {"tokens": result.tokens, "seconds": result.seconds}, metrics

    def alignment(self) -> Result:
        base, adapter = self.model()
        layers, texts = self.settings["layers"], self.step.paths("text", "other")
        pairs = parallel_sentences(texts[0], texts[-1])[: self.settings["sentences"]]
        ours, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
        measured = sentence_vectors(base, ours, adapter, layers)
        other = "other_base" in self.step.inputs
        if other:
            base, adapter = self.step.base("other_base"), None
        compared = sentence_vectors(base, theirs, adapter, layers)
        neurons = None if other else neuron_overlap(measured.active, compared.active)
        first, second = measured.vectors, compared.vectors
        if len(first) != len(second):  # only the outputs of models of different depth correspond
            first, second = first[-1:], second[-1:]
        by_layer = [asdict(compare_vectors(one, two)) for one, two in zip(first, second, strict=True)]
        last = {**by_layer[-1], "neurons": neurons}
        return {"value": last["cka"], "before": None, **last}, {**last, "by_layer": by_layer}

    def task(self) -> Result:
        base, adapter = self.model()
        data, train = self.paths("data")[0], self.paths("train_data")
        recipe, adapters = self.recipe(TaskRecipe), self.paths("adapters") or adapter
        result = train_task(self.settings["task"], base, data, self.out, recipe, adapters, train, resume=True)
        further = {name: measured["mean"] for name, measured in result.further.items()}
        return _trained_result(result, value=result.mean, before=None, **further, baseline=result.baseline)

    fuse = task

    def prompt(self) -> Result:
        call: Any = self.step.call
        # The answers of all runs of the same model, task and language are kept in one file.
        name = "-".join((Path(call.model.name).name, self.settings["task"], self.settings["language"]))
        digest = next(one.sha256 for one in self.step.inputs["model"] if isinstance(one, Input))
        result = prompt(
            self.settings["task"],
            self.paths("data")[0],
            call.model.model,
            self.out,
            call.recipe,
            call.model.model_name,
            call.template,
            self.paths("train_data"),
            self.runs.parent / ANSWERS / f"{UNSAFE.sub('_', name)}-{digest[:8]}.jsonl",
            call.model.key_variable,
            resume=True,
            wait=True,
        )
        names = "baseline unparsed cut failed misplaced asked kept prompt_tokens answer_tokens seconds"
        found: dict[str, Any] = {name: getattr(result, name) for name in names.split()}
        return {"value": result.mean, "before": None, **found, "price": result.cost}, None


def _trained_result(result: Any, **found: Any) -> Result:
    found = found or {"value": result.validation_loss, "before": result.validation_loss_before}
    return found | {name: getattr(result, name) for name in COSTS if hasattr(result, name)}, None
