"""Ask a large model about a task's test split: a run folder as tasks have it, to be set beside them."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from langlift.backbones.base_name import BaseName
from langlift.config.loading import recorded
from langlift.errors import InputError, LangliftError
from langlift.files import atomic_file
from langlift.model_cards import render_card
from langlift.progress import ProgressBar, say
from langlift.prompting.answer_store import ANSWERS, AnswerStore, open_answers
from langlift.prompting.answers import without_thinking
from langlift.prompting.asking import Answer, Model, Outcome, Prompt
from langlift.prompting.forms import Form, form_of, placeholders_of
from langlift.prompting.local import LocalModel
from langlift.prompting.recipe import PromptRecipe
from langlift.prompting.server import Server, is_url
from langlift.prompting.template import PromptTemplate, load_template
from langlift.tasks.learner import TaskData
from langlift.tasks.runner import PREDICTIONS, name_of, over_seeds
from langlift.tasks.task import PROMPTED, TASKS
from langlift.training.run import open_run
from langlift.training.run_folder import is_finished

MAY_CHANGE = frozenset((*PromptRecipe.SERVING, "failures", "price_in", "price_out", "batch_size"))
EXAMPLES = 5
"""So many of the answers that cannot be read are shown."""


@dataclass(frozen=True)
class PromptResult:
    """What ``langlift prompt`` measured on the test split: ``metric``, 0 to 100, over the seeds.

    ``published`` has the mean, std and seeds of the same with unreadable answers left out, as the published
    script counted. ``unparsed``, ``cut`` (answers at the limit of their length), ``failed`` (prompts without an
    answer) and ``misplaced`` (entities that are not in the sentence) are counted over all seeds,
    ``unparsed_examples`` shows some. ``asked`` prompts were answered now, ``kept`` ones before; ``retries`` are
    counted by reason. ``prompt_tokens`` and ``answer_tokens`` are those of all answers, ``uncounted`` the answers
    without such counts, ``cost`` what the tokens cost at the prices given (None without). ``structured``: the
    server was asked to keep to a schema, and took that.
    """

    task: str
    metric: str
    mean: float
    std: float
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
    """Ask a model about every test example, once for each seed; each seed is a run folder ``out/seed-N``.

    ``model`` is the base URL of a server, which knows the model as ``model_name``, or a causal model here.
    Solved examples come from train alone. Answers are kept in ``answers`` (by default in ``out``), and what is
    there is not asked again. The key of a server is the environment variable ``key_variable`` (by default
    OPENAI_API_KEY). With ``wait`` another process that adds to the same answers is waited for.

    Raises:
        InputError: bad data, model, template or recipe, or ``out`` holds another run.
        LangliftError: some prompts got no answer; all answers that came are kept.
    """
    if task not in PROMPTED:
        raise InputError(f"--task {task}: cannot be asked by prompts", f"one of {', '.join(PROMPTED)}")
    run = _prepared(task, data, recipe, template, train_data)
    for what, count in run.data.repaired.items():
        say(f"{data}: {what.replace('_', ' ')}: {count}")
    prompts = {seed: run.prompts(seed) for seed in recipe.seeds}
    model = BaseName.of(model)
    asked = open_model(model, model_name, key_variable, recipe)
    inputs = {
        "task": task,
        "model": model.name if model_name is not None else name_of(model.name),
        "model_name": model_name,
        "data": name_of(data),
        "train_data": ", ".join(map(name_of, train_data)) if train_data else None,
        "data_sha256": run.data.sha256,
        "template": run.template.source,
    }
    if not is_finished(out):
        asked.require([one for some in prompts.values() for one in some])
    with open_run(out, recorded("prompt", inputs, recipe), resume, MAY_CHANGE) as opened:
        if opened.finished:
            return PromptResult(**opened.metrics)
        with open_answers(answers or out / ANSWERS, wait) as store:
            start = time.monotonic()
            keys = {seed: [one.key(asked.identity) for one in some] for seed, some in prompts.items()}
            wanted = {
                key: one for seed in recipe.seeds for key, one in zip(keys[seed], prompts[seed], strict=True)
            }
            before = sum(store.get(key) is not None for key in wanted)
            told = _ask(asked, wanted, store)
            if told.failures and recipe.failures == "stop":
                raise _unanswered(told.failures, len(wanted))
            seconds = time.monotonic() - start
            fresh = sum(store.get(key) is not None for key in wanted) - before
            runs = [
                run.count(
                    out / f"seed-{seed}", seed, inputs, prompts[seed], [store.get(key) for key in keys[seed]]
                )
                for seed in recipe.seeds
            ]
            result = run.result(runs, asked.name, [store.get(key) for key in wanted], told, fresh, seconds)
        opened.finish(asdict(result))
    return result


def prompts_to_ask(
    task: str,
    data: str | Path,
    recipe: PromptRecipe,
    template: Path | None = None,
    train_data: Sequence[str | Path] | None = None,
) -> list[Prompt]:
    """The prompts that a run would ask, each once.

    Raises:
        InputError: bad data or template.
    """
    run = _prepared(task, data, recipe, template, train_data)
    prompts = [one for seed in recipe.seeds for one in run.prompts(seed)]
    return list({one.key(""): one for one in prompts}.values())


def _prepared(
    task: str,
    data: str | Path,
    recipe: PromptRecipe,
    template: Path | None,
    train_data: Sequence[str | Path] | None,
) -> "_Run":
    asked_how = load_template(task, template, placeholders_of(task))
    splits = TASKS[task].learner.read(str(data), [str(name) for name in train_data or ()], False)
    return _Run(form_of(task, splits.labels), splits, asked_how, recipe)


def open_model(model: BaseName | str, name: str | None, key_variable: str | None, recipe: PromptRecipe) -> Model:
    """A server where ``model`` is a URL, else a model here.

    Raises:
        InputError: it cannot be found, or the options given do not fit it.
    """
    model = BaseName.of(model)
    if is_url(model.name):
        return Server(model.name, name, key_variable, recipe)
    for flag, value in (("--model-name", name), ("--key-variable", key_variable)):
        if value is not None:
            raise InputError(f"{flag}: only with the URL of a server", f"--model {model} is a model here")
    return LocalModel(model, recipe)


def _ask(model: Model, wanted: Mapping[str, Prompt], store: AnswerStore) -> Outcome:
    """Ask what is not answered yet; identical prompts are one."""
    missing = {key: one for key, one in wanted.items() if store.get(key) is None}
    if not missing:
        return Outcome()
    if len(missing) < len(wanted):
        say(f"Answered before: {len(wanted) - len(missing)} of {len(wanted)} prompts")
    with ProgressBar("asking", len(wanted), "prompts", len(wanted) - len(missing)) as bar:

        def answered(key: str, answer: Answer) -> None:
            store.add(key, answer)
            bar.advance()

        return model.ask(missing, answered)


def _unanswered(failures: Mapping[str, str], total: int) -> LangliftError:
    reasons = "; ".join(f"{count} x {reason}" for reason, count in Counter(failures.values()).most_common(3))
    return LangliftError(
        f"{len(failures)} of {total} prompts got no answer: {reasons}",
        "the other answers are kept: the same again (langlift prompt: with --resume) asks only for these; with "
        "failures=wrong they count as wrong",
    )


@dataclass(frozen=True)
class _Run:
    """What the seeds of a run have in common."""

    form: Form[Any]
    data: TaskData[Any]
    template: PromptTemplate
    recipe: PromptRecipe

    def prompts(self, seed: int) -> list[Prompt]:
        """A prompt for each test example.

        Raises:
            InputError: an answer that the template writes could not be read.
        """
        form, recipe, train = self.form, self.recipe, self.data.train
        drawn = form.draw(train, recipe.shots, seed, recipe.balanced)
        for number in drawn or range(min(len(train), EXAMPLES)):
            self._require_readable(number)
        shots = [(form.question(train, number), form.solved(train, number)) for number in drawn]
        return [
            Prompt(
                messages=self.template.messages(form.common, shots, form.question(self.data.test, number)),
                temperature=recipe.temperature,
                answer_tokens=recipe.answer_tokens,
                seed=seed if recipe.temperature else None,
                schema=form.schema if recipe.structured == "auto" else None,
            )
            for number in range(len(self.data.test))
        ]

    def _require_readable(self, number: int) -> None:
        form, train = self.form, self.data.train
        written = self.template.answer(form.common, form.solved(train, number))
        found, missed = form.read(written, train, number)
        # Entities of a sentence may have the same text, so that another of them is found first.
        if found is None or missed or (isinstance(found, str) and found != form.gold(train, number)):
            raise InputError(
                f"{self.template.name}: answer: '{written}' could not be read back",
                "answers are a label, alone or as JSON, or a JSON list of entities",
            )

    def count(
        self,
        folder: Path,
        seed: int,
        inputs: Mapping[str, Any],
        prompts: Sequence[Prompt],
        answers: Sequence[Answer | None],
    ) -> dict[str, Any]:
        """Read and measure one seed's answers, and write its folder."""
        form, recipe, test, task = self.form, self.recipe, self.data.test, self.form.task
        texts = [None if answer is None else without_thinking(answer.text) for answer in answers]
        read = [(None, 0) if t is None else form.read(t, test, number) for number, t in enumerate(texts)]
        found = [answer for answer, _ in read]
        readable = [number for number, answer in enumerate(found) if answer is not None]
        unreadable = [n for n, answer in enumerate(found) if answer is None and answers[n] is not None]
        left_out = recipe.unparsed == "left_out"
        counted = readable if left_out else list(range(len(test)))
        whole = [form.wrong(test, number) if answer is None else answer for number, answer in enumerate(found)]
        split, chosen = test.chosen(counted), [whole[number] for number in counted]
        published = form.published_score(test.chosen(readable), [whole[number] for number in readable])
        metrics = {
            "seed": seed,
            f"test_{task.metric.name}": published if left_out else form.score(split, chosen),
            "published": {task.metric.name: published, "left_out": len(test) - len(readable)},
            "test_examples": len(test),
            "unparsed": len(unreadable),
            "unparsed_examples": [
                {"number": number, "answer": _shortened(answers[number])} for number in unreadable[:EXAMPLES]
            ],
            "cut": sum(answer is not None and answer.finish == "length" for answer in answers),
            "failed": sum(answer is None for answer in answers),
            "misplaced": sum(missed for _, missed in read),
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
        with open_run(folder, recorded("prompt", {**inputs, "seed": seed}, recipe), True, MAY_CHANGE) as opened:
            with atomic_file(folder / PREDICTIONS) as path, path.open("w", encoding="utf-8") as file:
                for row in task.learner.rows(split, form.answers(chosen)):
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
            opened.finish(metrics, card)
        return metrics

    def result(
        self,
        runs: Sequence[Mapping[str, Any]],
        model: str,
        answers: Sequence[Answer | None],
        told: Outcome,
        asked: int,
        seconds: float,
    ) -> PromptResult:
        """The whole run's, from those of its seeds."""
        task, recipe, came = self.form.task, self.recipe, [answer for answer in answers if answer is not None]
        tokens_in = sum(answer.prompt_tokens or 0 for answer in came)
        tokens_out = sum(answer.answer_tokens or 0 for answer in came)
        cost = (tokens_in * recipe.price_in + tokens_out * recipe.price_out) / 1e6
        return PromptResult(
            task=task.name,
            metric=task.metric.name,
            **over_seeds([run[f"test_{task.metric.name}"] for run in runs]),
            published=over_seeds([run["published"][task.metric.name] for run in runs]),
            baseline=task.learner.baselines(self.data.train, self.data.test),
            model=model,
            shots=recipe.shots,
            test_examples=len(self.data.test),
            unparsed=sum(run["unparsed"] for run in runs),
            unparsed_examples=[
                {"seed": run["seed"], **example} for run in runs for example in run["unparsed_examples"]
            ][:EXAMPLES],
            cut=sum(run["cut"] for run in runs),
            failed=sum(run["failed"] for run in runs),
            misplaced=sum(run["misplaced"] for run in runs),
            asked=asked,
            kept=len(came) - asked,
            retries=dict(sorted(told.retries.items())),
            prompt_tokens=tokens_in,
            answer_tokens=tokens_out,
            uncounted=sum(answer.prompt_tokens is None or answer.answer_tokens is None for answer in came),
            cost=round(cost, 6) if recipe.price_in or recipe.price_out else None,
            structured=any(answer.structured for answer in came),
            seconds=round(seconds, 1),
            repaired=self.data.repaired,
            remarks=[*self.data.remarks, *told.remarks],
        )


def _shortened(answer: Answer | None) -> str:
    text = "" if answer is None else answer.text
    return text if len(text) <= 300 else f"{text[:200]} ... {text[-90:]}"
