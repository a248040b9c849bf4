"""The table of methods: what derives from it, that nothing else knows a method's name, and parity with PEFT."""

import ast
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from conftest import ARCHITECTURES, DECODERS, MALTESE
from peft import PeftModel
from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as IA3_TARGETS
from test_golden import GOLDEN
from test_training import masked_batch
from transformers import BertConfig, BertForMaskedLM, XLMRobertaConfig, XLMRobertaForMaskedLM

import langlift as package
from langlift.adapters.composition import attach, attached, train_only
from langlift.adapters.method import FUSIBLE, HUB_TAGS, METHODS, TASK_METHODS, MethodSettings, Shape, readers
from langlift.backbones.loading import load_masked_model, load_model, load_tokenizer
from langlift.backbones.registry import BACKBONES, backbone_of
from langlift.checkpoints.adapter_folder import load_adapter, read_config, save_adapter
from langlift.checkpoints.exporting import export_adapter
from langlift.errors import InputError
from langlift.studies.pricing import ADAPTER_SHAPE
from langlift.studies.step import is_unread
from langlift.tasks.recipe import TaskRecipe
from langlift.training.language_model_loss import summed_loss
from langlift.training.recipes import AdaptRecipe, FamilyRecipe

SOURCES = Path(package.__file__).parent
BY_PEFT = [name for name, method in METHODS.items() if method.layout == "peft"]
LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0}
IN_PEFT = {
    "lora": (peft.LoraConfig, LORA),
    "rslora": (peft.LoraConfig, LORA | {"use_rslora": True}),
    "dora": (peft.LoraConfig, LORA | {"use_dora": True}),
    "ia3": (peft.IA3Config, {}),
}
"""What somebody writes who uses PEFT alone."""


@pytest.fixture
def tiny_models(tiny_decoders: dict[str, Path]) -> dict[str, Path]:
    """A tiny model folder of each architecture of the table."""
    return {name: GOLDEN / name / "base" for name in ARCHITECTURES} | tiny_decoders


@torch.no_grad()
def randomised(model: torch.nn.Module, name: str) -> None:
    torch.manual_seed(0)
    for path, parameter in model.named_parameters():
        if name in path.split("."):
            parameter.add_(0.3 * torch.randn_like(parameter))


def with_adapter(base: Path, method: str, **settings: Any) -> tuple[Any, Any]:
    model = load_model(str(base)).eval()
    config = METHODS[method].config(MethodSettings(method=method, lora_rank=4, **settings))
    attach(model, "mlt", config)
    randomised(model, "mlt")
    return model, config


# Outside adapters/ nothing knows a method by its name.


def _is_named(node: ast.AST) -> bool:
    parts = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return any(isinstance(part, ast.Constant) and part.value in METHODS for part in parts)


def _is_use(node: ast.AST) -> bool:
    """``full`` is also one of the uses of a study's tasks."""
    return isinstance(node, ast.Name) and node.id == "use"


def compared_names(source: str) -> list[int]:
    """The lines on which a name of a method is compared, matched, or looked up."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(_is_named, sides)) and not any(map(_is_use, sides)):
                lines.append(node.lineno)
        elif (isinstance(node, ast.MatchValue) and _is_named(node.value)) or (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "startswith"
            and any(map(_is_named, node.args))
        ):  # fmt: skip
            lines.append(node.lineno)
    return lines


def test_the_search_finds_what_it_looks_for() -> None:
    for text in ('a == "lora"', 'a.method in ("seq_bn", "x")', '"full" != a', 'a.startswith("seq_bn")'):
        assert compared_names(text) == [1], text
    assert compared_names('use == "full"\nb = "lora"\nc == "text"') == []


def test_no_room_but_adapters_compares_a_methods_name() -> None:
    found = [
        f"{path.relative_to(SOURCES)}:{line}"
        for path in sorted(SOURCES.rglob("*.py"))
        if path.relative_to(SOURCES).parts[0] != "adapters"
        for line in compared_names(path.read_text(encoding="utf-8"))
    ]
    assert not found, "ask METHODS, in adapters/method.py"


# What derives from the table.


def test_every_row_is_whole() -> None:
    settings = {field.name for field in (*fields(MethodSettings), *fields(FamilyRecipe))}
    for name, method in METHODS.items():
        assert method.name == name and method.label and method.layout in HUB_TAGS
        assert set(method.sized_by) <= set(method.settings) <= settings, name
        assert method.whole_model == (not method.layout), name
        if not method.whole_model:
            config = method.config(MethodSettings(method=name))
            assert METHODS[config.method].layout == method.layout
            assert set(config.settings()) <= set(method.settings), name
    assert tuple(TaskRecipe.__dataclass_fields__["method"].metadata["choices"]) == TASK_METHODS


def test_a_method_reads_its_own_settings_and_no_others() -> None:
    owned = {setting for method in METHODS.values() for setting in method.settings}
    for name, method in METHODS.items():
        recipe = FamilyRecipe(method=name)
        unread = {setting for setting in owned if is_unread(recipe, setting)}
        assert unread == owned - set(method.settings), name
        assert is_unread(recipe, "train_head") == method.whole_model, "every adapter trains with a head if asked"
    for setting in set(owned) - {"freeze_share"}:
        description = AdaptRecipe.__dataclass_fields__[setting].metadata["description"]
        assert description.startswith(f"{', '.join(readers(setting))}: "), "the help says whose setting it is"
    assert {"method", "lora_rank", "reduction_factor", "leave_out", "experts"} <= set(ADAPTER_SHAPE)
    assert "lora_alpha" not in ADAPTER_SHAPE


@pytest.mark.parametrize("name", METHODS)
def test_the_price_is_near_the_count(name: str) -> None:
    """On a model of the usual proportions; biases, norms and positions are not in the estimate."""
    config = BertConfig(
        vocab_size=2000, hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512
    )
    with torch.device("meta"):
        model = BertForMaskedLM(config)
        settings = MethodSettings(method=name, lora_rank=4, reduction_factor=4, leave_out=(1,))
        adapter = METHODS[name].config(settings)
        if adapter is not None:
            attach(model, "mlt", adapter)
    train_only(model, None if adapter is None else "mlt")
    counted = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert METHODS[name].parameters(settings, Shape(128, 3, 2000)) == pytest.approx(counted, rel=0.15)


@pytest.mark.parametrize(("name", "parameters"), [("rslora", 294_912), ("dora", 313_344), ("ia3", 64_512)])
def test_parameters_at_the_shape_of_xlm_roberta_base(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = XLMRobertaForMaskedLM(XLMRobertaConfig(vocab_size=250_002))
        attach(model, "mlt", METHODS[name].config(MethodSettings(method=name)))
    train_only(model, "mlt")
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == parameters


def test_help_names_every_method(langlift) -> None:
    for command in ("adapt", "adapt-family"):
        text = " ".join(langlift(command, "--help").out.replace("│", " ").split())
        assert ", ".join([*METHODS][:-1]) in text, command


@pytest.mark.parametrize("name", ["rslora", "dora", "ia3"])
def test_from_the_command_line_to_a_plain_model(langlift, name: str, tiny_bert: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    made = langlift(
        "adapt", "mlt", "--base", tiny_bert, "--data", MALTESE, "--out", out, "--method", name, "--steps", 8,
        "--lr", "0.05", "--set", "max_tokens=32", "--set", "train_head=true", "--json",
    )  # fmt: skip
    assert made.code == 0, made.err
    assert made.json["validation_loss"] < made.json["validation_loss_before"]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "tags: [langlift, peft, low-resource-languages]" in card and METHODS[name].label in card
    assert read_config(out, BACKBONES["bert"]).method == name
    (out / "mlm_head.safetensors").unlink()
    plain = langlift("export", out, "--to", "transformers", "--out", tmp_path / "plain", "--data", MALTESE)
    assert plain.code == 0, plain.err
    model, adapted = load_model(str(tmp_path / "plain")), load_model(str(tiny_bert))
    load_adapter(adapted, out)
    ids = torch.tensor([[2, 7, 8, 9, 3]])
    with torch.no_grad():
        assert torch.allclose(model.eval()(ids).logits, adapted.eval()(ids).logits, atol=1e-5)
    elsewhere = langlift("export", out, "--to", "adapterhub", "--out", tmp_path / "hub")
    assert elsewhere.code == (0 if "adapterhub" in METHODS[name].exports else 2), elsewhere.err


# Parity with PEFT.


@torch.no_grad()
@pytest.mark.parametrize("name", BY_PEFT)
@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *DECODERS])
def test_folders_go_to_peft_and_come_back(
    name: str, architecture: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    base, ids = tiny_models[architecture], torch.tensor([[5, 7, 8, 9, 6]])
    plain = load_model(str(base)).eval()(ids).logits
    model, config = with_adapter(base, name)
    logits = model(ids).logits
    assert (logits - plain).abs().max() > 1e-3, "it must do something"
    assert attached(model) == ["mlt"]
    save_adapter(model, "mlt", config, tmp_path, str(base))
    again = load_model(str(base)).eval()
    assert load_adapter(again, tmp_path) == name and read_config(tmp_path, backbone_of(again)) == config
    assert torch.equal(again(ids).logits, logits)
    theirs = PeftModel.from_pretrained(load_model(str(base)), tmp_path).eval()
    assert torch.allclose(theirs(ids).logits, logits, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("name", IN_PEFT)
@pytest.mark.parametrize("architecture", ["bert", "xlm-roberta", "llama", "gemma2"])
def test_what_peft_writes_by_its_own_defaults_is_read(
    name: str, architecture: str, tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    base, ids = tiny_models[architecture], torch.tensor([[5, 7, 8, 9, 6]])
    kind, settings = IN_PEFT[name]
    if name != "ia3":
        settings = settings | {"target_modules": list(BACKBONES[architecture].lora_targets)}
    elif (known := architecture.replace("xlm-", "")) != architecture:  # the same modules; PEFT does not name it
        settings = {"target_modules": IA3_TARGETS[known], "feedforward_modules": [IA3_TARGETS[known][-1]]}
    theirs = peft.get_peft_model(load_model(str(base)), kind(**settings)).eval()
    randomised(theirs, "default")
    theirs.save_pretrained(tmp_path)
    model = load_model(str(base)).eval()
    load_adapter(model, tmp_path)
    assert torch.allclose(model(ids).logits, theirs(ids).logits, atol=1e-6)
    assert read_config(tmp_path, BACKBONES[architecture]).method == name


@pytest.mark.parametrize("name", BY_PEFT)
def test_the_fast_path_has_the_plain_models_loss_and_gradients(
    name: str, tiny_xlm_roberta: Path, maltese_lines: list[str]
) -> None:
    model, _ = with_adapter(tiny_xlm_roberta, name)
    train_only(model, "mlt")
    batch = masked_batch(load_tokenizer(str(tiny_xlm_roberta)), maltese_lines[:5])
    total, count = summed_loss(model, batch)
    (total / count).backward()
    sparse = {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    plain = model(**batch).loss
    plain.backward()
    assert total.item() / count.item() == pytest.approx(plain.item(), rel=1e-6)
    for path, gradient in sparse.items():
        there = model.get_parameter(path).grad
        assert there.any() and torch.allclose(gradient, there, rtol=1e-4, atol=1e-7), path


def test_rslora_at_adapterhub_is_lora_of_another_alpha(tiny_bert: Path, tmp_path: Path) -> None:
    model, config = with_adapter(tiny_bert, "rslora", lora_alpha=8.0)
    (folder := tmp_path / "run").mkdir()
    save_adapter(model, "mlt", config, folder, str(tiny_bert))
    exported = Path(export_adapter(folder, "adapterhub", tmp_path / "hub").folder)
    text = (exported / "adapter_config.json").read_text(encoding="utf-8")
    assert '"alpha": 16.0' in text, "8 / sqrt(4) is 16 / 4"


def test_one_adapter_of_peft_in_a_model(tiny_bert: Path) -> None:
    """PEFT would put only the last one in force."""
    model, _ = with_adapter(tiny_bert, "lora")
    for name in BY_PEFT:
        with pytest.raises(InputError, match=f"a {name} adapter cannot be stacked on another"):
            attach(model, "other", METHODS[name].config(MethodSettings(method=name)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ia3", {"feedforward_modules": []}, r"feedforward_modules is \[\], not \['output.dense'\]"),
        ("ia3", {"target_modules": "all-linear"}, "target_modules is 'all-linear', not"),
        ("lora", {"target_modules": ["query", "key"]}, "target_modules is .*, not .'query', 'value'."),
        ("lora", {"layers_to_transform": [0]}, r"layers_to_transform is \[0\], not None"),
        ("lora", {"rank_pattern": {"query": 2}}, "rank_pattern is .'query': 2., not None"),
        ("lora", {"what_a_later_peft_adds": True}, "what_a_later_peft_adds is True, not None"),
        ("lora", {"bias": "all"}, "bias is 'all', not 'none'"),
        ("dora", {"use_rslora": True}, "use_rslora and use_dora are both set"),
        ("lora", {"peft_type": "VERA"}, "PEFT adapters of type VERA cannot be loaded"),
    ],
)
def test_what_peft_writes_and_langlift_lacks_is_refused(
    name: str, change: dict[str, Any], message: str, tiny_bert: Path, tmp_path: Path
) -> None:
    model, config = with_adapter(tiny_bert, name)
    save_adapter(model, "mlt", config, tmp_path, str(tiny_bert))
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        load_adapter(load_masked_model(str(tiny_bert)), tmp_path)


def test_what_can_be_fused() -> None:
    assert FUSIBLE == ("seq_bn", "seq_bn_inv", "mosa")
