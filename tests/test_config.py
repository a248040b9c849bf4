"""Settings: which source wins, what is refused and how it is said, and that a recorded recipe can be run again."""

from dataclasses import asdict

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langlift.adapters.method import METHODS
from langlift.bundled_models import BUNDLED
from langlift.config.loading import preset_path, recorded, resolve
from langlift.errors import InputError
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.task import task_recipe
from langlift.training.recipes import PRECISIONS, AdaptRecipe, PretrainRecipe

fuzzing = settings(
    derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SECTIONS = {"adapt": AdaptRecipe, "task": TaskRecipe, "pretrain": PretrainRecipe}


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def adapt(*assignments, **sources):
    return resolve(AdaptRecipe, "adapt", assignments=assignments, **sources)


def refusal_of(*assignments, **sources):
    with pytest.raises(InputError) as refusal:
        adapt(*assignments, **sources)
    return refusal.value


def test_later_sources_win(tmp_path):
    preset = written(
        tmp_path / "p.yaml", "adapt: {steps: 1, batch_size: 1, seed: 1, lora_rank: 1}\ntask: {epochs: 9}"
    )
    config = written(tmp_path / "c.yml", "adapt:\n  steps: 2\n  batch_size: 2\n  seed: 2\n")
    flags = {"steps": 4, "batch_size": None, "method": None}
    recipe = adapt("steps=3", "batch_size=3", preset=str(preset), config=config, flags=flags)
    assert (recipe.steps, recipe.batch_size, recipe.seed, recipe.lora_rank) == (4, 3, 2, 1)
    assert recipe.method == AdaptRecipe().method
    assert adapt("steps=3", "steps=5").steps == 5
    assert adapt() == AdaptRecipe()


def test_a_flag_of_zero_or_false_is_given():
    assert adapt(flags={"seed": 0, "inverse_at_head": False}).seed == 0
    assert adapt(flags={"seed": 0, "inverse_at_head": False}).inverse_at_head is False


def test_only_the_section_of_the_command_is_read(tmp_path):
    config = written(tmp_path / "c.yaml", "adapt: {steps: 7}\ntask: {epochs: 5}\npretrain:\n")
    assert resolve(TaskRecipe, "task", config=config) == TaskRecipe(epochs=5)
    assert resolve(PretrainRecipe, "pretrain", config=config) == PretrainRecipe()


@pytest.mark.parametrize(
    ("assignment", "key", "value"),
    [
        ("learning_rate=1e-4", "learning_rate", 1e-4),
        ("learning_rate=1", "learning_rate", 1.0),
        ("lora_alpha=16", "lora_alpha", 16.0),
        ("steps=500.0", "steps", 500),
        ("inverse_at_head=false", "inverse_at_head", False),
        ("method=lora", "method", "lora"),
        (" seed = 7 ", "seed", 7),
    ],
)
def test_text_becomes_the_type_of_the_setting(assignment, key, value):
    found = getattr(adapt(assignment), key)
    assert found == value
    assert type(found) is type(value)


def test_numbers_that_yaml_reads_as_text_are_numbers_in_a_file_too(tmp_path):
    assert adapt(config=written(tmp_path / "c.yaml", "adapt: {learning_rate: 3e-5}")).learning_rate == 3e-5


def test_lists_are_given_in_yaml_or_between_commas(tmp_path):
    for assignment in ("seeds=4,5", "seeds=[4, 5]", "seeds=4, 5"):
        assert resolve(TaskRecipe, "task", assignments=[assignment]).seeds == (4, 5)
    assert resolve(TaskRecipe, "task", assignments=["seeds=4"]).seeds == (4,)
    config = written(tmp_path / "c.yaml", "pretrain:\n  languages:\n    - mlt_Latn\n    - amh_Ethi\n")
    assert resolve(PretrainRecipe, "pretrain", config=config).languages == ("mlt_Latn", "amh_Ethi")


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("steps=0", "steps must be at least 1, not 0"),
        ("steps=2.5", "steps must be a whole number, not 2.5"),
        ("steps=many", "steps must be a whole number, not 'many'"),
        ("steps=true", "steps must be a whole number, not True"),
        ("steps=", "steps must be a whole number, not None"),
        ("learning_rate=0", "learning_rate must be above 0, not 0.0"),
        ("learning_rate=1.01", "learning_rate must be at most 1, not 1.01"),
        ("learning_rate=.nan", "learning_rate must be a number, not nan"),
        ("learning_rate=inf", "learning_rate must be a number, not 'inf'"),
        ("learning_rate=yes", "learning_rate must be a number, not True"),
        ("learning_rate=[1]", "learning_rate must be a number, not [1]"),
        ("warmup_share=-0.1", "warmup_share must be at least 0, not -0.1"),
        ("inverse_at_head=1", "inverse_at_head must be true or false, not 1"),
        ("method=bitfit", f"method must be one of {', '.join(METHODS)}, not 'bitfit'"),
        ("learning_rte=1", "unknown setting 'learning_rte' (did you mean learning_rate?)"),
        ("xyzzy=1", "unknown setting 'xyzzy'"),
    ],
)
def test_a_mistake_is_told_with_its_source(assignment, said):
    refusal = refusal_of(assignment)
    assert refusal.message == f"--set: {said}"
    known = "docs/cli.md describes all settings"
    assert refusal.hint.startswith("settings of adapt: method, ") if "unknown" in said else refusal.hint == known
    assert refusal.exit_code == 2


def test_the_limits_themselves_are_allowed():
    recipe = adapt("learning_rate=1", "steps=1", "warmup_share=1", "seed=0", "max_tokens=8")
    assert (recipe.learning_rate, recipe.steps, recipe.warmup_share, recipe.max_tokens) == (1, 1, 1, 8)


def test_all_mistakes_are_told_together_each_with_its_source(tmp_path):
    config = written(tmp_path / "c.yaml", "adapt: {stepps: 3, seed: -1}")
    message = refusal_of("batch_size=no", config=config, flags={"precision": "fp8"}).message
    assert message.split("; ") == [
        f"{config}: unknown setting 'stepps' (did you mean steps?)",
        f"{config}: seed must be at least 0, not -1",
        "--set: batch_size must be a whole number, not False",
        f"--precision must be one of {', '.join(PRECISIONS)}, not 'fp8'",
    ]


def test_an_assignment_without_a_value_is_refused():
    assert "steps: not of the form key=value" in refusal_of("steps").message


ALIAS_BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


def test_aliases_are_allowed(tmp_path):
    config = written(tmp_path / "c.yaml", "adapt: {steps: &n 7, save_steps: *n}")
    assert adapt(config=config).save_steps == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("adapt:\n  steps: [1\n  seed: 2\n", ":3: not valid YAML"),
        ("adapt: {steps: 1}\nadpat: {steps: 1}\n", ": unknown section 'adpat'"),
        ("- adapt\n", ": must contain sections"),
        ("adapt: 3\n", ": section 'adapt' must contain"),
        ("adapt: !!python/object:os.system x\n", ":1: not valid YAML"),
        ("adapt:\n  steps: !!int ''\n", ":2: not valid YAML"),
        ('adapt: "\\UFFFFFFFF"\n', ": not valid YAML"),
        ("adapt:\n  steps: !!bool x\n", ":2: not valid YAML"),
        ("adapt: {steps: 2001-99-99}\n", ":1: not valid YAML (month must be in 1..12)"),
        ("[" * 5000, ":1: not valid YAML (more than 50 levels)"),
        ("adapt: &a {steps: *a}\n", ":1: not valid YAML (an alias within its own value)"),
        (ALIAS_BOMB, ":5: not valid YAML (more than 100,000 values)"),
    ],
)
def test_a_damaged_config_file_is_refused_by_path_and_line(tmp_path, text, said):
    path = written(tmp_path / "c.yaml", text)
    assert refusal_of(config=path).message.startswith(f"{path}{said}")


def test_an_unreadable_config_file_is_refused(tmp_path):
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"adapt: # caf\xe9\n")
    assert refusal_of(config=latin).message == f"{latin}: not valid UTF-8"
    for path in (tmp_path / "none.yaml", tmp_path):
        assert refusal_of(config=path).message.startswith(f"{path}: cannot be read")
    assert refusal_of(preset=str(tmp_path / "none.yaml")).message.startswith(f"{tmp_path / 'none.yaml'}: cannot")


def test_an_unknown_preset_lists_the_shipped_ones():
    refusal = refusal_of(preset="nanno")
    assert refusal.message == "--preset nanno: no such preset"
    assert "nano" in refusal.hint


@pytest.mark.parametrize("section", SECTIONS)
def test_the_shipped_preset_changes_every_command_and_is_valid(section):
    assert preset_path("nano").is_file()
    resolved = (
        task_recipe(preset="nano") if section == "task" else resolve(SECTIONS[section], section, preset="nano")
    )
    assert resolved != SECTIONS[section]()


def test_a_bundled_model_brings_its_preset_unless_another_is_named():
    for name, model in BUNDLED.items():
        assert adapt(base=name) == adapt(preset=model.preset) != adapt()
    assert adapt(base="xlm-roberta-base") == adapt()
    assert adapt(base="langlift-nano", preset="llama-3-8b") == adapt(preset="llama-3-8b")


def test_a_block_named_after_a_method_holds_for_that_method_alone(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("task:\n  learning_rate: 0.5\n  full: {learning_rate: 0.25, epochs: 3}\n", encoding="utf-8")
    adapter = resolve(TaskRecipe, "task", config=file)
    full = resolve(TaskRecipe, "task", config=file, flags={"method": "full"})
    assert (adapter.learning_rate, adapter.epochs) == (0.5, 20)
    assert (full.learning_rate, full.epochs) == (0.25, 3)
    assert resolve(TaskRecipe, "task", config=file, flags={"method": "full", "epochs": 9}).epochs == 9
    file.write_text("task: {full: {no_such: 1}}\n", encoding="utf-8")
    with pytest.raises(InputError, match="unknown setting 'no_such'"):
        resolve(TaskRecipe, "task", config=file, assignments=["method=full"])


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(InputError, match=r"row_tokens .512. must not be above max_tokens .256."):
        resolve(PretrainRecipe, "pretrain", flags={"row_tokens": 512})
    with pytest.raises(InputError, match=r"hidden_size .250. must be a multiple"):
        resolve(PretrainRecipe, "pretrain", flags={"hidden_size": 250})
    with pytest.raises(InputError, match="the same seed twice"):
        resolve(TaskRecipe, "task", flags={"seeds": "1,2,1"})
    with pytest.raises(InputError, match="seed must be at most"):
        resolve(AdaptRecipe, "adapt", flags={"seed": 5_000_000_000})


def test_budgets_of_languages_are_a_mapping(tmp_path):
    path = written(tmp_path / "c.yaml", "pretrain: {languages: [mlt_Latn], language_bytes: {mlt_Latn: 5.0e+3}}")
    assert resolve(PretrainRecipe, "pretrain", config=path).language_bytes == {"mlt_Latn": 5000}
    given_flag = resolve(PretrainRecipe, "pretrain", assignments=["language_bytes={swh_Latn: 9}"])
    assert given_flag.language_bytes == {"swh_Latn": 9}
    for text, message in (
        ("{mlt_Latn: 0}", "must be at least 1"),
        ("{mlt_Latn: 64KB}", "must be a whole number"),
        ("64000", "must be 'name: value' pairs"),
        ("{swh_Latn: 5}", "swh_Latn not among languages"),
    ):
        with pytest.raises(InputError, match=message):
            resolve(PretrainRecipe, "pretrain", config=path, assignments=[f"language_bytes={text}"])


positive = st.floats(1e-12, 1.0)
recipes = st.one_of(
    st.builds(
        AdaptRecipe,
        method=st.sampled_from(tuple(METHODS)),
        steps=st.integers(1, 10**9),
        learning_rate=positive,
        weight_decay=st.floats(0, 1e6),
        inverse_at_head=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    ),
    st.builds(
        TaskRecipe,
        learning_rate=positive,
        seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4, unique=True).map(tuple),
    ),
    st.builds(
        PretrainRecipe,
        languages=st.lists(st.from_regex(r"[a-z]{3}_[A-Z][a-z]{3}", fullmatch=True), max_size=3).map(
            lambda some: ("mlt_Latn", *some)
        ),
        decay_share=st.floats(0, 1),
        language_bytes=st.dictionaries(st.just("mlt_Latn"), st.integers(1, 10**12)),
    ),
)


@fuzzing
@given(recipe=recipes)
def test_a_recorded_recipe_is_itself_a_config_that_gives_the_same_recipe(tmp_path, recipe):
    section = next(name for name, kind in SECTIONS.items() if isinstance(recipe, kind))
    record = recorded(section, {"base": "langlift-nano", "data": ["ħ.txt"]}, recipe)
    path = written(tmp_path / "recipe.yaml", yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    again = resolve(type(recipe), section, config=path)
    assert again == recipe
    assert {k: type(v) for k, v in asdict(again).items()} == {k: type(v) for k, v in asdict(recipe).items()}


scalars = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats() | st.text("abc019.e-", max_size=6)


@fuzzing
@given(
    values=st.dictionaries(
        st.sampled_from([*asdict(AdaptRecipe()), "step", "lr"]),
        scalars | st.lists(scalars, max_size=2),
        max_size=4,
    )
)
def test_any_values_in_a_file_give_a_recipe_within_its_limits_or_a_refusal_naming_each(tmp_path, values):
    path = written(tmp_path / "c.yaml", yaml.safe_dump({"adapt": values}))
    try:
        recipe = adapt(config=path)
    except InputError as refusal:
        assert "\n" not in refusal.message
        for mistake in refusal.message.split("; "):
            assert mistake.startswith(f"{path}: ")
            assert any(key in mistake for key in values)
        assert "step" not in values or "unknown setting 'step' (did you mean steps?)" in refusal.message
        return
    assert not {"step", "lr"} & set(values)
    assert recipe.method in METHODS
    assert recipe.steps >= 1
    assert 0 < recipe.learning_rate <= 1
    assert {k: type(v) for k, v in asdict(recipe).items()} == {
        k: type(v) for k, v in asdict(AdaptRecipe()).items()
    }


@pytest.mark.parametrize("name", ["no", "on", "2024_01", "null"])
def test_names_in_a_list_stay_the_names_they_are(tmp_path, name):
    record = recorded("pretrain", {}, PretrainRecipe(languages=(name,)))
    path = written(tmp_path / "recipe.yaml", yaml.safe_dump(record))
    assert resolve(PretrainRecipe, "pretrain", config=path).languages == (name,)


def test_an_empty_list_setting_is_empty_or_refused(tmp_path):
    path = written(tmp_path / "c.yaml", "pretrain:\n  languages:\n")
    assert resolve(PretrainRecipe, "pretrain", config=path).languages == ()
    assert resolve(PretrainRecipe, "pretrain", assignments=["languages="]).languages == ()


@pytest.mark.parametrize("seeds", ["[]", "-1"])
def test_seeds_that_cannot_be_run_are_refused(seeds):
    with pytest.raises(InputError, match="seeds"):
        resolve(TaskRecipe, "task", assignments=[f"seeds={seeds}"])


UNREADABLE = {
    "date": "2024-13-45",
    "tag": "!!int x",
    "digits": "9" * 5000,
    "nesting": "[" * 5000,
}


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("place", ["file", "--set"])
def test_values_that_yaml_cannot_construct_are_refused(tmp_path, kind, place):
    text = UNREADABLE[kind]
    config = written(tmp_path / "c.yaml", f"adapt:\n  steps: {text}\n")
    with pytest.raises(InputError):
        adapt(config=config) if place == "file" else adapt(f"steps={text}")


def test_a_number_too_large_for_a_float_is_refused():
    with pytest.raises(InputError, match="weight_decay must be"):
        adapt("weight_decay=" + "9" * 400)


@pytest.mark.parametrize("text", ["adapt:\n  steps: \x01\n", 'adapt: {"a\\nb": 1}', 'adapt: {method: "a\\nb"}'])
def test_a_refusal_is_one_line_whatever_the_file_holds(tmp_path, text):
    path = written(tmp_path / "c.yaml", text)
    refusal = refusal_of(config=path)
    assert refusal.message.startswith(str(path))
    assert "\n" not in refusal.message
