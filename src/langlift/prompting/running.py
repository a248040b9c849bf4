"""Prompt a large model on a task's test split; the run folder is like that of a task."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

from langlift.backbones.base_name import BaseName
from langlift.config.loading import recorded
from langlift.errors import InputError, LangliftError
from langlift.model_cards import render_card
from langlift.notebook import Shown
from langlift.progress import ProgressBar, say
from langlift.prompting.asking import ANSWERS, Answer, AnswerStore, Outcome, Prompt, open_answers
from langlift.prompting.formats import AnswerFormat, answer_format, without_thinking
from langlift.prompting.local import LocalModel
from langlift.prompting.recipe import PromptRecipe
from langlift.prompting.server import Server, is_url
from langlift.prompting.template import PromptTemplate, load_template
from langlift.tasks.learner import TaskData
from langlift.tasks.runner import data_inputs, name_of, over_seeds, write_predictions
from langlift.tasks.task import PROMPTED, TASKS
from langlift.training.run import open_run
from langlift.training.run_folder import is_finished

SERVING = ("concurrency", "timeout", "retries", "first_wait", "batch_size")
MAY_CHANGE = frozenset((*SERVING, "failures", "price_in", "price_out"))
"""Settings that may change on ``--resume``."""
EXAMPLES = 5
"""Number of unreadable answers in the result."""


@dataclass(frozen=True)
class PromptResult(Shown):
    """The result of ``langlift prompt`` on the test split: ``metric``, 0 to 100, over the seeds.

    ``published`` has the same without unreadable answers, as the published script counted. ``unparsed``, ``cut``
    (truncated answers), ``failed`` (prompts without an answer) and ``misplaced`` (entities that are not in the
    sentence) are totals over the seeds; ``unparsed_examples`` shows some. ``asked`` prompts were answered now,
    ``kept`` before; ``retries`` are counted by reason. Token counts are of all answers, except the ``uncounted``
    ones; ``cost`` is their price (None if unknown). ``structured``: the server accepted the schema.
    """

    task: str
    metric: str
    mean: float
    std: float | None
    seeds: list[float]
    published: dict[str, Any]
    baseline: dict[str, float]
    model: str
    shots: int
    test_examples: int
    unparsed: int
    unparsed_examples: list[dict[str, Any]]
    cut: int
    failed: int
    misplaced: int
    asked: int
    kept: int
    retries: dict[str, int]
    prompt_tokens: int
    answer_tokens: int
    uncounted: int
    cost: float | None
    structured: bool
    seconds: float
    repaired: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def prompt(
    task: str,
    data: str | Path,
    model: BaseName | str,
    out: Path,
    recipe: PromptRecipe,
    model_name: str | None = None,
    template: Path | None = None,
    train_data: Sequence[str | Path] | None = None,
    answers: Path | None = None,
    key_variable: str | None = None,
    resume: bool = False,
    wait: bool = False,
) -> PromptResult:
    """Prompt a model with every test example, once for each seed; each seed is a run folder ``out/seed-N``.

    ``model`` is the base URL of a server, which knows the model as ``model_name``, or a local causal model. Solved
    examples are drawn only from the train split. Answers are stored in ``answers`` (by default in ``out``), and
    prompts that have an answer there are not sent again. The server's key is the environment variable
    ``key_variable`` (by default OPENAI_API_KEY). With ``wait``, it waits for another process that adds to the same
    answers.

    Raises:
        InputError: bad data, model, template or recipe, or ``out`` contains another run.
        LangliftError: some prompts got no answer; all other answers are kept.
    """
    if task not in PROMPTED:
        raise InputError(f"--task {task}: cannot be prompted", f"one of {', '.join(PROMPTED)}")
    run = PromptedTask.read(task, data, recipe, template, train_data)
    run.data.tell(data)
    prompts = {seed: run.prompts(seed) for seed in recipe.seeds}
    opened_model = open_model(model, model_name, key_variable, recipe)
    name = BaseName.of(model).name
    inputs = {
        "task": task,
        "model": name if model_name is not None else name_of(name),
        "model_name": model_name,
        **data_inputs(data, train_data, run.data),
        "template": run.template.source,
    }
    if not is_finished(out):
        opened_model.require(list(chain.from_iterable(prompts.values())))
    with open_run(out, recorded("prompt", inputs, recipe), resume, MAY_CHANGE) as opened:
        if opened.finished:
            return PromptResult(**opened.metrics)
        with open_answers(answers or out / ANSWERS, wait) as store:
            start = time.monotonic()
            of = opened_model.identity
            keyed = {seed: [(one.key(of), one) for one in some] for seed, some in prompts.items()}
            requests = dict(chain.from_iterable(keyed.values()))
            before = len(requests.keys() & store.answers.keys())
            outcome = _ask(opened_model, requests, store)
            if outcome.failures and recipe.failures == "stop":
                reasons = Counter(outcome.failures.values()).most_common(3)
                raise LangliftError(
                    f"{len(outcome.failures)} of {len(requests)} prompts got no answer: "
                    + "; ".join(f"{count} x {reason}" for reason, count in reasons),
                    "the other answers are kept: the same command (langlift prompt: with --resume) sends only "
                    "these again; with failures=wrong they count as wrong",
                )
            seconds = time.monotonic() - start
            seeds = [
                run.evaluate(out, seed, inputs, prompts[seed], [store.answers.get(key) for key, _ in own])
                for seed, own in keyed.items()
            ]
            received = [store.answers[key] for key in requests if key in store.answers]
            result = run.result(seeds, opened_model.name, received, outcome, len(received) - before, seconds)
        opened.finish(asdict(result))
    return result


def prompts_to_ask(
    task: str,
    data: str | Path,
    recipe: PromptRecipe,
    template: Path | None = None,
    train_data: Sequence[str | Path] | None = None,
) -> list[Prompt]:
    """The different prompts of a run; raises an InputError for bad data or a bad template."""
    run = PromptedTask.read(task, data, recipe, template, train_data)
    prompts = [one for seed in recipe.seeds for one in run.prompts(seed)]
    return list({one.key(""): one for one in prompts}.values())


def open_model(
    model: BaseName | str, name: str | None, key_variable: str | None, recipe: PromptRecipe
) -> Server | LocalModel:
    """A server if ``model`` is a URL, else a local model; raises an InputError if it cannot be."""
    model = BaseName.of(model)
    if is_url(model.name):
        return Server(model.name, name, key_variable, recipe)
    for flag, value in (("--model-name", name), ("--key-variable", key_variable)):
        if value is not None:
            raise InputError(f"{flag}: only with the URL of a server", f"--model {model} is a local model")
    return LocalModel(model, recipe)


def _ask(model: Server | LocalModel, requests: Mapping[str, Prompt], store: AnswerStore) -> Outcome:
    """Send the prompts without an answer, by key (identical prompts are one)."""
    missing = {key: request for key, request in requests.items() if key not in store.answers}
    if not missing:
        return Outcome()
    if kept := len(requests) - len(missing):
        say(f"Answered before: {kept} of {len(requests)} prompts")
    with ProgressBar("asking", len(requests), "prompts", kept) as bar:

        def on_answer(key: str, answer: Answer) -> None:
            store.add(key, answer)
            bar.advance()

        return model.ask(missing, on_answer)


@dataclass(frozen=True)
class PromptedTask:
    """The parts of a run that all seeds share."""

    format: AnswerFormat
    data: TaskData[Any, Any]
    template: PromptTemplate
    recipe: PromptRecipe

    @classmethod
    def read(
        cls,
        task: str,
        data: str | Path,
        recipe: PromptRecipe,
        template: Path | None = None,
        train_data: Sequence[str | Path] | None = None,
    ) -> Self:
        """Read the template and the task's data."""
        loaded = load_template(task, template)
        train = list(map(str, train_data or ()))
        splits = TASKS[task].learner.read(str(data), train, False, recipe.columns)
        return cls(answer_format(task, splits.labels), splits, loaded, recipe)

    def prompts(self, seed: int) -> list[Prompt]:
        """A prompt for each test example; an InputError if answers that the template writes cannot be parsed."""
        values, recipe, train, test = self.format.values, self.recipe, self.data.train, self.data.test
        drawn = self.format.draw(train, recipe.shots, seed, recipe.balanced)
        for number in drawn or range(min(len(train), EXAMPLES)):
            self._require_parsable(number)
        shots = [values(train, number) for number in drawn]
        return [
            Prompt(
                messages=self.template.messages(self.format.common, shots, values(test, number)),
                temperature=recipe.temperature,
                answer_tokens=recipe.answer_tokens,
                seed=seed if recipe.temperature else None,
                schema=self.format.schema if recipe.structured == "auto" else None,
            )
            for number in range(len(test))
        ]

    def _require_parsable(self, number: int) -> None:
        values = self.format.values(self.data.train, number)
        written = self.template.render("answer", {**self.format.common, **values})
        parsed, missed = self.format.parse(written, self.data.train, number)
        # Tags are not compared: if entities of a sentence have the same text, another may be found first.
        if parsed is None or missed or parsed != values.get("label", parsed):
            raise InputError(
                f"{self.template.name}: answer: '{written}' could not be read back",
                "answers are a label, alone or as JSON, or a JSON list of entities",
            )

    def evaluate(
        self,
        out: Path,
        seed: int,
        inputs: Mapping[str, Any],
        prompts: Sequence[Prompt],
        answers: Sequence[Answer | None],
    ) -> dict[str, Any]:
        """Parse and score the answers of a seed, and write its folder in ``out``; returns its metrics."""
        recipe, test, task = self.recipe, self.data.test, self.format.task
        parsed, misplaced, unparsed = [], 0, []
        for number, answer in enumerate(answers):
            text = None if answer is None else without_thinking(answer.text)
            one, missed = (None, 0) if text is None else self.format.parse(text, test, number)
            parsed.append(one)
            misplaced += missed
            if answer is not None and one is None:
                unparsed.append({"number": number, "answer": _shortened(answer.text)})
        readable = [number for number, one in enumerate(parsed) if one is not None]
        published = self.format.published_score(test.chosen(readable), [parsed[number] for number in readable])
        left_out = recipe.unparsed == "left_out"
        counted = readable if left_out else range(len(test))
        split, chosen = test.chosen(counted), [parsed[number] for number in counted]
        metrics = {
            "seed": seed,
            f"test_{task.metric.name}": published if left_out else self.format.score(split, chosen),
            "published": {task.metric.name: published, "left_out": len(test) - len(readable)},
            "test_examples": len(test),
            "unparsed": len(unparsed),
            "unparsed_examples": unparsed[:EXAMPLES],
            "cut": sum(answer is not None and answer.finish == "length" for answer in answers),
            "failed": sum(answer is None for answer in answers),
            "misplaced": misplaced,
        }
        card = render_card(
            "prompt.md",
            task=task,
            inputs=inputs,
            recipe=recipe,
            labels=self.data.labels,
            metrics=metrics,
            example=prompts[0].messages,
        )
        folder = out / f"seed-{seed}"
        with open_run(folder, recorded("prompt", {**inputs, "seed": seed}, recipe), True, MAY_CHANGE) as opened:
            write_predictions(folder, task.learner.rows(split, self.format.answers(split, chosen)))
            opened.finish(metrics, card)
        return metrics

    def result(
        self,
        seeds: Sequence[Mapping[str, Any]],
        model: str,
        answers: Sequence[Answer],
        outcome: Outcome,
        asked: int,
        seconds: float,
    ) -> PromptResult:
        """The result of the whole run; ``answers`` are the answers to its different prompts."""
        task, recipe = self.format.task, self.recipe
        prompt_tokens = sum(answer.prompt_tokens or 0 for answer in answers)
        answer_tokens = sum(answer.answer_tokens or 0 for answer in answers)
        cost = (prompt_tokens * recipe.price_in + answer_tokens * recipe.price_out) / 1e6
        examples = [{"seed": seed["seed"], **example} for seed in seeds for example in seed["unparsed_examples"]]
        return PromptResult(
            task=task.name,
            metric=task.metric.name,
            **over_seeds([seed[f"test_{task.metric.name}"] for seed in seeds]),
            published=over_seeds([seed["published"][task.metric.name] for seed in seeds]),
            baseline=task.learner.baselines(self.data.train, self.data.test),
            model=model,
            shots=recipe.shots,
            test_examples=len(self.data.test),
            unparsed_examples=examples[:EXAMPLES],
            **{key: sum(seed[key] for seed in seeds) for key in ("unparsed", "cut", "failed", "misplaced")},
            asked=asked,
            kept=len(answers) - asked,
            retries=dict(sorted(outcome.retries.items())),
            prompt_tokens=prompt_tokens,
            answer_tokens=answer_tokens,
            uncounted=sum(answer.prompt_tokens is None or answer.answer_tokens is None for answer in answers),
            cost=round(cost, 6) if recipe.price_in or recipe.price_out else None,
            structured=any(answer.structured for answer in answers),
            seconds=round(seconds, 1),
            repaired=self.data.repaired,
            remarks=[*self.data.remarks, *outcome.remarks],
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:200]} ... {text[-90:]}"
