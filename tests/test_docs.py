"""The pages: every shell block can be run or says why not, and every command line in them still parses."""

import importlib
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from doc_blocks import PAGES, ROOT, SHELL, blocks, command_lines, langlift_arguments
from typer.exceptions import TyperException

import langlift
from langlift.cli.main import app
from langlift.config.loading import preset_path, resolve
from langlift.errors import InputError
from langlift.tasks.task import task_recipe

LANGUAGES = {*SHELL, "python", "yaml", "json", "text", "diff", "csv", ""}
PLACEHOLDER = re.compile(r"^(\.\.\.|[A-Z])$")
INLINE = re.compile(r"`(langlift (?:[a-z-]+)[^`]*)`")
ROOT_COMMAND = typer.main.get_command(app)


@pytest.fixture(params=PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def page(request: pytest.FixtureRequest) -> Path:
    """Each page in turn."""
    return request.param


def test_every_shell_block_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block}: mark the fence as one of {sorted(LANGUAGES)}"
        if not block.shell:
            assert block.reason is None, f"{block}: only shell blocks are run"
        elif block.reason is not None:
            assert len(block.reason) >= 10, f"{block}: say why it is not run"
        elif not block.setup:
            words = [word for line in command_lines(block.text) for word in line]
            placeholders = [word for word in words if PLACEHOLDER.match(word)]
            assert not placeholders, f"{block}: {placeholders} cannot be run; mark it <!-- not run: REASON -->"


def test_every_command_line_parses(page: Path) -> None:
    for block in blocks(page):
        if block.shell and not block.setup:
            for words in command_lines(block.text):
                if (arguments := langlift_arguments(words)) is not None:
                    check(str(block), arguments, complete="..." not in words)


def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", text)]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_commands_named_in_sentences_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for inline in INLINE.findall(text):
        for part in re.split(r"\s+and\s+", inline):
            for words in command_lines(part.replace("\n", " ")):
                if (arguments := langlift_arguments(words)) is not None:
                    check(f"{page.relative_to(ROOT)}: `{inline}`", alternatives(arguments), complete=False)


def alternatives(arguments: list[str]) -> list[str]:
    """Of ``import|export`` in a sentence the first."""
    return [argument.split("|")[0] if index < 2 else argument for index, argument in enumerate(arguments)]


def check(where: str, arguments: list[str], complete: bool) -> None:
    """The command exists, knows these options and settings and, where it is ``complete``, has all it requires."""
    words = [word.strip("[]") for word in arguments if word not in ("...", "[...]")]
    command: Any = ROOT_COMMAND
    name: list[str] = []
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{where}: no command 'langlift {' '.join([*name, words[0]])}'"
        name.append(words[0])
        command = command.commands[words.pop(0)]
    if hasattr(command, "commands"):
        return  # a group such as `langlift task`, or `langlift --help`
    options = {
        name for parameter in command.params if not getattr(parameter, "is_flag", True) for name in parameter.opts
    }
    if not complete and words and words[-1] in options:
        words.append("VALUE")  # a sentence may name an option without its value
    context = command.context_class(command, info_name=" ".join(name))
    try:
        values, extra, _ = command.make_parser(context).parse_args(list(words))
    except TyperException as error:
        pytest.fail(f"{where}: {error}")
    assert not extra, f"{where}: unexpected {extra}"
    if complete:
        for parameter in command.params:
            given = values.get(parameter.name)
            assert not parameter.required or given not in (None, (), []), f"{where}: lacks {parameter.name}"
    check_settings(where, " ".join(name), command.callback.recipe, values)


def check_settings(where: str, command: str, recipe: Any, values: dict[str, Any]) -> None:
    """Settings named by ``--set``, and presets, are there."""
    if recipe is None:
        return
    settings = {field.name: field for field in fields(recipe)}
    for assignment in values.get("assignments") or []:
        key, _, value = assignment.partition("=")
        assert key in settings, f"{where}: no setting '{key}'"
        choices = settings[key].metadata.get("choices")
        assert not choices or value in ("", "...", *choices), f"{where}: {key} is one of {choices}"
    for key in ("method", "objective", "precision"):
        choices = settings[key].metadata.get("choices") if key in settings else None
        given = values.get(key)
        assert not (isinstance(given, str) and choices) or given in choices, f"{where}: {key} is one of {choices}"
    preset = values.get("preset")
    if isinstance(preset, str) and preset != "NAME":
        preset_path(preset)
        section = command.split(" ")[0]
        if section == "task":
            task_recipe(command.split(" ")[1], preset=preset)
        else:
            resolve(recipe, section, preset=preset)


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("langlift adpat Welsh", "no command 'langlift adpat'"),
        ("langlift adapt Welsh --base M --data D --out O --stepz 3", "stepz"),
        ("langlift adapt Welsh --base M --data D", "lacks out"),
        ("langlift adapt Welsh Manx --base M --data D --out O", "unexpected"),
        ("langlift adapt Welsh --base M --data D --out O --set stepz=3", "no setting 'stepz'"),
        ("langlift adapt Welsh --base M --data D --out O --method seqbn", "method is one of"),
        ("accelerate launch -m langlift vocab bild", "no command 'langlift vocab bild'"),
    ],
)
def test_a_stale_command_line_is_found(line: str, mistake: str) -> None:
    (words,) = command_lines(line)
    arguments = langlift_arguments(words)
    assert arguments is not None
    with pytest.raises((AssertionError, pytest.fail.Exception), match=re.escape(mistake)):
        check("page", arguments, complete=True)


def test_an_unknown_preset_is_found() -> None:
    with pytest.raises(InputError):
        (words,) = command_lines("adapt Welsh --base M --data D --out O --preset nanoo")
        check("page", words, complete=True)


def test_blocks_are_found_in_every_form(tmp_path: Path) -> None:
    page = ROOT / "docs" / "imagined.md"
    text = """Text.

    langlift languages Welsh

- a list

    goes on

<!-- not run: needs
a GPU -->
```bash
langlift demo
```

<!-- setup
touch x
-->
1. one:

   ```bash
   langlift demo --json
   ```
"""
    from doc_blocks import _blocks

    found = list(_blocks(page, text.splitlines()))
    assert [(block.line, block.shell, block.setup, block.reason) for block in found] == [
        (3, True, False, None),
        (12, True, False, "needs a GPU"),
        (16, True, True, None),
        (21, True, False, None),
    ]
    assert found[-1].text == "langlift demo --json"
    assert command_lines("a \\\n  b # c\nfor x in y; do\n  langlift z\ndone") == [
        ["a", "b"], ["for", "x", "in", "y"], ["do"], ["langlift", "z"], ["done"],
    ]  # fmt: skip


def test_the_python_page_names_every_public_name() -> None:
    listed = set(re.findall(r"^::: (\S+)$", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert listed == {f"{place}.{name}" for name, place in langlift._PLACES.items()}


def test_every_page_is_in_the_navigation() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = str(yaml.safe_load(settings)["nav"])
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    missing = {page for page in pages if page not in nav}
    assert not missing, f"add {sorted(missing)} to nav in mkdocs.yml"


def test_python_blocks_compile(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, str(block), "exec")


@pytest.mark.parametrize(
    ("tool", "name"),
    [("kept_results", "results.md"), ("kept_results", "results-nano.md"), ("advice_regret", "diagnose.md")],
)
def test_the_tables_of_a_page_are_those_of_the_kept_runs(
    tool: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``python tools/TOOL.py tables`` makes them again."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    module = importlib.import_module(tool)
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert module.TABLE.search(page), "the page has tables of kept runs"
    assert module.page_with_tables(page) == page


def test_diagnose_says_the_regret_of_the_kept_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """``python tools/advice_regret.py tables`` writes it again."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    module = importlib.import_module("advice_regret")
    assert module.REGRET.read_text(encoding="utf-8") == module.facts(module.kept()["langlift-nano"])
