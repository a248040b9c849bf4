"""AdapterHub both ways: what the reference library wrote gives its outputs, what we write it can read."""

import json
import os
import pickle
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import MALTESE, CommandResult
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft import LoraConfig as PeftLoraConfig
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from test_golden import ADAPTERHUB, GOLDEN, outputs
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import AdapterConfig, attach
from langlift.adapters.peft_adapter import LoraConfig
from langlift.backbones.loading import load_model
from langlift.backbones.registry import BACKBONES
from langlift.checkpoints.adapter_folder import (
    load_adapter,
    read_config,
    read_description,
    read_identity,
    save_adapter,
)
from langlift.checkpoints.exporting import export_adapter
from langlift.checkpoints.importing import import_adapters
from langlift.errors import InputError
from langlift.training.trainer import LiftTrainer

LEGACY = tuple(a for a in ADAPTERHUB if (GOLDEN / a / "legacy").exists())


def base_of(architecture: str) -> Path:
    return GOLDEN / architecture / "base"


def imported_outputs(architecture: str, *folders: Path):
    model = load_model(str(base_of(architecture)))
    for folder in folders:
        load_adapter(model, folder)
    return outputs(model, load_file(GOLDEN / architecture / "expected.safetensors"))


def saved(architecture: str, config: AdapterConfig, folder: Path, name: str = "mlt", seed: int = 0) -> Path:
    """A folder of ours with random weights for the tiny golden base."""
    torch.manual_seed(seed)
    model = load_model(str(base_of(architecture)))
    attach(model, name, config)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if name in path.split("."):
                parameter.normal_(std=0.3)
    folder.mkdir(parents=True)
    save_adapter(model, name, config, folder, str(base_of(architecture)))
    return folder


# Imported adapters compute what the library computes.


@pytest.mark.parametrize("with_base", [False, True])
@pytest.mark.parametrize("case", ["seq_bn", "seq_bn_bin", "seq_bn_inv", "task", "lora"])
@pytest.mark.parametrize("architecture", ADAPTERHUB)
def test_an_imported_adapter_gives_the_librarys_outputs(
    architecture: str, case: str, with_base: bool, tmp_path: Path
) -> None:
    expected = load_file(GOLDEN / architecture / "expected.safetensors")
    base = str(base_of(architecture)) if with_base else None
    if case == "lora" and base is None and BACKBONES[architecture].causal:
        with pytest.raises(InputError, match="shapes of a LoRA adapter differ by model"):
            import_adapters(GOLDEN / architecture / case, tmp_path / "a")
        return
    result = import_adapters(GOLDEN / architecture / case, tmp_path / "a", base)
    [adapter] = result.adapters
    assert adapter.method == {"lora": "lora", "seq_bn_inv": "seq_bn_inv"}.get(case, "seq_bn")
    assert adapter.model_type == architecture and result.not_imported == []
    if case == "task":  # the goldens know it on top of another
        below = import_adapters(GOLDEN / architecture / "seq_bn", tmp_path / "b").adapters[0]
        logits, _ = imported_outputs(architecture, Path(below.folder), tmp_path / "a")
        assert torch.allclose(logits, expected["stack"], atol=1e-5, rtol=0)
        return
    logits, hidden = imported_outputs(architecture, tmp_path / "a")
    assert torch.allclose(logits, expected[case.removesuffix("_bin")], atol=1e-5, rtol=0)
    assert torch.allclose(hidden, expected[f"hidden.{case.removesuffix('_bin')}"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", LEGACY)
def test_a_legacy_folder_gives_the_librarys_outputs(architecture: str, tmp_path: Path) -> None:
    """As adapter-transformers 1.x wrote MAD-X's adapters: old key names, old configuration, a .bin file."""
    assert {"layer_text_lang_adapters", "invertible_lang_adapters"} <= {
        part
        for key in torch.load(GOLDEN / architecture / "legacy" / "pytorch_adapter.bin", weights_only=True)
        for part in key.split(".")
    }
    result = import_adapters(GOLDEN / architecture / "legacy", tmp_path / "a")
    assert result.adapters[0].method == "seq_bn_inv" and result.adapters[0].base == f"tiny-{architecture}"
    _, hidden = imported_outputs(architecture, tmp_path / "a")
    expected = load_file(GOLDEN / architecture / "expected.safetensors")["hidden.legacy"]
    assert torch.allclose(hidden, expected, atol=1e-5, rtol=0)
    assert {p.name for p in (tmp_path / "a").iterdir()} == {
        "adapter_config.json",
        "adapter.safetensors",
        "README.md",
    }


@pytest.mark.parametrize("architecture", ADAPTERHUB)
def test_an_invertible_adapter_trained_without_the_inverse(architecture: str, tmp_path: Path) -> None:
    import_adapters(GOLDEN / architecture / "seq_bn_inv", tmp_path / "a", inverse_at_head=False)
    logits, _ = imported_outputs(architecture, tmp_path / "a")
    expected = load_file(GOLDEN / architecture / "expected.safetensors")
    assert torch.allclose(logits, expected["seq_bn_inv_forward_only"], atol=1e-5, rtol=0)


def test_a_stacks_folder_becomes_one_folder_for_each_member_in_order(
    langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    source = tmp_path / "setup"
    shutil.copytree(GOLDEN / "bert" / "setup", source)
    (source / "task" / "head_config.json").write_text("{}", encoding="utf-8")
    (source / "task" / "pytorch_model_head.bin").write_bytes(b"x")
    result = langlift("import", source, "--out", tmp_path / "a", "--base", base_of("bert"), "--json")
    assert result.code == 0, result.err
    assert [a["name"] for a in result.json["adapters"]] == ["seq_bn_inv", "task"]
    assert result.json["not_imported"] == ["task/head_config.json", "task/pytorch_model_head.bin"]
    logits, _ = imported_outputs("bert", *(Path(a["folder"]) for a in result.json["adapters"]))
    expected = load_file(GOLDEN / "bert" / "expected.safetensors")["stack_inv"]
    assert torch.allclose(logits, expected, atol=1e-5, rtol=0)
    # The same without the setup file: subfolders are found.
    (source / "adapter_setup.json").unlink()
    again = import_adapters(source, tmp_path / "b")
    assert {a.name for a in again.adapters} == {"seq_bn_inv", "task"}
    assert "pytorch_model_head.bin" in (tmp_path / "b" / "task" / "README.md").read_text(encoding="utf-8")


def test_the_card_names_the_origin_and_the_command_takes_forward_only(
    langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    source = tmp_path / "downloaded"
    shutil.copytree(GOLDEN / "roberta" / "seq_bn_inv", source)
    (source / "README.md").write_text("---\nlicense: cc0\nsize: 5\n---\n\nTrained by Ġanna.\n", encoding="utf-8")
    spaced = tmp_path / "an adapter"
    result = langlift("import", source, "--out", spaced, "--forward-only")
    assert result.code == 0 and f"--adapter '{spaced}' --text" in result.err, "it can be pasted"
    spaced.rename(tmp_path / "a")
    card = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert "folder `downloaded`" in card and "Trained by Ġanna." in card
    front = card.split("---")[1]
    assert "license: cc0" in front and "size" not in front
    config = SeqBnConfig(4, invertible=True, inverse_at_head=False)
    assert read_config(tmp_path / "a", BACKBONES["roberta"]) == config
    exported = langlift("export", tmp_path / "a", "--to", "adapterhub", "--out", tmp_path / "e")
    assert exported.code == 0, exported.err
    assert "without the inverse" in " ".join((tmp_path / "e" / "README.md").read_text("utf-8").split())


def changed_copy(source: Path, target: Path, change: Callable[[dict], None]) -> Path:
    shutil.copytree(source, target)
    description = json.loads((target / "adapter_config.json").read_text(encoding="utf-8"))
    change(description)
    (target / "adapter_config.json").write_text(json.dumps(description), encoding="utf-8")
    return target


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("pfeiffer+inv[reduction_factor=4]", SeqBnConfig(4, invertible=True)),
        ("seq_bn_inv[reduction_factor=4]", SeqBnConfig(4, invertible=True)),
    ],
)
def test_a_configuration_by_name(name: str, config: SeqBnConfig, tmp_path: Path) -> None:
    folder = changed_copy(GOLDEN / "bert" / "seq_bn_inv", tmp_path / "s", lambda d: d.update(config=name))
    import_adapters(folder, tmp_path / "a")
    assert read_config(tmp_path / "a", BACKBONES["bert"]) == config


@pytest.mark.parametrize("name", ["e15331acc3f0a5c0", "16eaa0b5fae9ed68", "87954f0c97a780e3"])
def test_a_configuration_by_adapterhubs_hash(name: str, tmp_path: Path) -> None:
    inverse = name != "e15331acc3f0a5c0"
    own = saved("roberta", SeqBnConfig(2, invertible=inverse), tmp_path / "own")
    folder = changed_copy(own, tmp_path / "s", lambda d: d.update(config=None, config_id=name))
    import_adapters(folder, tmp_path / "a")
    assert read_config(tmp_path / "a", BACKBONES["roberta"]) == SeqBnConfig(2, invertible=inverse)


def test_a_task_adapter_of_1x_that_only_speaks_of_an_invertible_block(tmp_path: Path) -> None:
    def change(description: dict) -> None:
        description["type"] = "text_task"
        description["config"]["inv_adapter"] = "nice"
        description["config"]["inv_adapter_reduction_factor"] = 2

    folder = changed_copy(GOLDEN / "bert" / "seq_bn", tmp_path / "s", change)
    assert import_adapters(folder, tmp_path / "a").adapters[0].method == "seq_bn"


def test_keys_without_the_models_prefix_and_names_that_are_no_identifiers(tmp_path: Path) -> None:
    folder = changed_copy(
        GOLDEN / "xlm-roberta" / "seq_bn_inv",
        tmp_path / "s",
        lambda d: d.update(name="mt@wiki-2", model_name=None),
    )
    weights = load_file(folder / "adapter.safetensors")
    renamed = {k.removeprefix("roberta.").replace(".seq_bn_inv.", ".mt@wiki-2."): v for k, v in weights.items()}
    save_file(renamed, folder / "adapter.safetensors")
    [adapter] = import_adapters(folder, tmp_path / "a").adapters
    assert adapter.name == "mt_wiki_2" and adapter.base == ""
    logits, _ = imported_outputs("xlm-roberta", tmp_path / "a")
    expected = load_file(GOLDEN / "xlm-roberta" / "expected.safetensors")
    assert torch.allclose(logits, expected["seq_bn_inv"], atol=1e-5, rtol=0)


def test_loras_of_releases_that_left_the_scaling_out(tmp_path: Path) -> None:
    folder = changed_copy(GOLDEN / "bert" / "lora", tmp_path / "s", lambda d: d.update(version="adapters.1.0.1"))
    import_adapters(folder, tmp_path / "a")
    assert read_config(tmp_path / "a", BACKBONES["bert"]) == LoraConfig(rank=4, alpha=4.0)


NAMES_IN_KEYS = ("0", "1", "adapters", "output", "layer", "encoder", "bert", "a.b", "layer.1", "adapter_down")


@pytest.mark.parametrize("stored", NAMES_IN_KEYS)
@pytest.mark.parametrize("case", ["seq_bn_inv", "lora"])
def test_a_stored_name_that_also_stands_elsewhere_in_the_keys(case: str, stored: str, tmp_path: Path) -> None:
    folder = changed_copy(GOLDEN / "bert" / case, tmp_path / "s", lambda d: d.update(name=stored))
    weights = load_file(folder / "adapter.safetensors")
    save_file(
        {k.replace(f".{case}.", f".{stored}."): v for k, v in weights.items()}, folder / "adapter.safetensors"
    )
    [adapter] = import_adapters(folder, tmp_path / "a", name="mine").adapters
    assert adapter.name == "mine"
    expected = load_file(GOLDEN / "bert" / "expected.safetensors")[case]
    assert torch.allclose(imported_outputs("bert", tmp_path / "a")[0], expected, atol=1e-5, rtol=0)
    if case == "lora":
        return
    # A folder of the library is loaded and exported as it is, too.
    model = load_model(str(base_of("bert")))
    load_adapter(model, folder, name="mine")
    logits, _ = outputs(model, load_file(GOLDEN / "bert" / "expected.safetensors"))
    assert torch.allclose(logits, expected, atol=1e-5, rtol=0)
    name = export_adapter(folder, "adapterhub", tmp_path / "e").name
    keys = load_file(tmp_path / "e" / "adapter.safetensors")
    assert keys.keys() == {k.replace(f".{case}.", f".{name}.") for k in weights}


def test_the_name_option(langlift: Callable[..., CommandResult], tmp_path: Path) -> None:
    folder = changed_copy(GOLDEN / "bert" / "seq_bn", tmp_path / "s", lambda d: d.update(name="encoder"))
    refused = langlift("import", folder, "--out", tmp_path / "a", "--json")
    assert refused.code == 2 and "langlift import --name" in refused.error["hint"]
    result = langlift("import", folder, "--out", tmp_path / "a", "--name", "mlt", "--json")
    assert result.code == 2, "its weights are called seq_bn still"
    folder = GOLDEN / "bert" / "seq_bn"
    result = langlift("import", folder, "--out", tmp_path / "a", "--name", "mlt", "--json")
    assert result.code == 0 and result.json["adapters"][0]["name"] == "mlt", result.err
    several = langlift("import", GOLDEN / "bert" / "setup", "--out", tmp_path / "b", "--name", "mlt", "--json")
    assert several.code == 2 and "contains 2 adapters" in several.error["error"]


# There and back.

CONFIGS = st.one_of(
    st.builds(SeqBnConfig, st.sampled_from([1.0, 2.0, 3.0, 7.5, 16.0]), st.booleans(), st.booleans()),
    st.builds(LoraConfig, st.integers(1, 6), st.sampled_from([1.0, 8.0, 0.5])),
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True).map(lambda s: f"{s}_x")


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(architecture=st.sampled_from(ADAPTERHUB), config=CONFIGS, name=NAMES, seed=st.integers(0, 99))
def test_export_then_import_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, architecture: str, config: AdapterConfig, name: str, seed: int
) -> None:
    tmp_path = tmp_path_factory.mktemp("roundtrip")
    own = saved(architecture, config, tmp_path / "own", name, seed)
    result = export_adapter(own, "adapterhub", tmp_path / "out")
    assert result.name == name
    for file in ("adapter.safetensors", "pytorch_adapter.bin"):  # each alone is enough
        source = tmp_path / file.replace(".", "_")
        shutil.copytree(tmp_path / "out", source)
        (source / ({"adapter.safetensors", "pytorch_adapter.bin"} - {file}).pop()).unlink()
        inverse = getattr(config, "inverse_at_head", True)
        base = str(base_of(architecture)) if BACKBONES[architecture].causal else None
        import_adapters(source, source / "back", base, inverse_at_head=inverse)
        assert read_config(source / "back", BACKBONES[architecture]) == config
        for weights in own.glob("*.safetensors"):
            before, after = load_file(weights), load_file(source / "back" / weights.name)
            assert before.keys() == after.keys()
            assert all(torch.equal(before[key], after[key]) for key in before)
        if not isinstance(config, LoraConfig):
            assert read_description(source / "back") == read_description(own)


def test_import_then_export_gives_the_librarys_own_files(tmp_path: Path) -> None:
    for case in ("seq_bn", "seq_bn_inv", "lora"):
        golden = GOLDEN / "distilbert" / case
        import_adapters(golden, tmp_path / case)
        export_adapter(tmp_path / case, "adapterhub", tmp_path / f"{case}-out")
        ours, theirs = (load_file(f / "adapter.safetensors") for f in (tmp_path / f"{case}-out", golden))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
        written, reference = read_description(tmp_path / f"{case}-out"), read_description(golden)
        assert written["config"].items() <= reference["config"].items()
        for field in ("hidden_size", "model_class", "model_type", "name", "version"):
            assert written[field] == reference[field], (case, field)


@pytest.mark.parametrize("architecture", [one for one in sorted(BACKBONES) if base_of(one).is_dir()])
def test_peft_loads_what_is_exported_for_it(
    architecture: str, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    own = saved(architecture, LoraConfig(rank=3, alpha=6.0), tmp_path / "own")
    result = langlift("export", own, "--to", "peft", "--out", tmp_path / "out", "--json")
    assert result.code == 0, result.err
    expected = load_file(GOLDEN / architecture / "expected.safetensors")
    kind = AutoModelForCausalLM if BACKBONES[architecture].causal else AutoModelForMaskedLM
    base = kind.from_pretrained(base_of(architecture), dtype=torch.float32)
    logits, _ = outputs(PeftModel.from_pretrained(base, tmp_path / "out").eval(), expected)
    ours, _ = imported_outputs(architecture, own)
    real = expected["attention_mask"].bool()
    assert torch.allclose(logits[real], ours[real], atol=1e-5, rtol=0)
    assert (ours - expected["base"]).abs().max() > 0.01


def test_a_lora_folder_of_pefts_own_is_exported_with_its_base(tmp_path: Path) -> None:
    own = saved("bert", LoraConfig(rank=2), tmp_path / "own")
    save_file(load_file(own / "adapter_model.safetensors"), own / "adapter_model.safetensors")  # drops our record
    with pytest.raises(InputError, match="does not state its architecture"):
        export_adapter(own, "adapterhub", tmp_path / "out")
    export_adapter(own, "adapterhub", tmp_path / "out", base=str(base_of("bert")))
    import_adapters(tmp_path / "out", tmp_path / "back", base=str(base_of("bert")))
    assert torch.equal(imported_outputs("bert", own)[0], imported_outputs("bert", tmp_path / "back")[0])


# LoRA that PEFT wrote.


def pefts_own(body: bool, folder: Path, **settings: object) -> tuple[Path, torch.Tensor]:
    """A LoRA folder of the tiny BERT saved by PEFT, and the last hidden states with it."""
    torch.manual_seed(0)
    kind = AutoModel if body else AutoModelForMaskedLM
    model = kind.from_pretrained(base_of("bert"), dtype=torch.float32)
    model = get_peft_model(model, PeftLoraConfig(r=2, target_modules=["query", "value"], **settings)).eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if "lora_" in path:
                parameter.normal_(std=0.3)
        expected = load_file(GOLDEN / "bert" / "expected.safetensors")
        inputs = {key: expected[key] for key in ("input_ids", "attention_mask")}
        hidden = model(**inputs, output_hidden_states=True).hidden_states[-1]
    model.save_pretrained(folder)
    return folder, hidden


@pytest.mark.parametrize("start", ["gaussian", "orthogonal", False])
def test_ways_to_start_a_lora_that_leave_the_base_alone(start: object, tmp_path: Path) -> None:
    folder, hidden = pefts_own(False, tmp_path / "peft", init_lora_weights=start)
    assert torch.allclose(imported_outputs("bert", folder)[1], hidden, atol=1e-5, rtol=0)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_ways_to_start_a_lora_that_change_the_base_are_refused(start: str, tmp_path: Path) -> None:
    folder, _ = pefts_own(False, tmp_path / "peft", init_lora_weights=start)
    model = load_model(str(base_of("bert")))
    with pytest.raises(InputError, match=f"init_lora_weights is '{start}'"):
        load_adapter(model, folder)


def test_lora_saved_from_a_body_without_a_head(tmp_path: Path) -> None:
    folder, hidden = pefts_own(True, tmp_path / "peft")
    assert "base_model.model.encoder" in min(load_file(folder / "adapter_model.safetensors"))
    assert torch.allclose(imported_outputs("bert", folder)[1], hidden, atol=1e-5, rtol=0)
    base = str(base_of("bert"))
    export_adapter(folder, "adapterhub", tmp_path / "hub", base)
    import_adapters(tmp_path / "hub", tmp_path / "back", base)
    assert torch.allclose(imported_outputs("bert", tmp_path / "back")[1], hidden, atol=1e-5, rtol=0)
    export_adapter(folder, "peft", tmp_path / "out", base)
    model = PeftModel.from_pretrained(AutoModelForMaskedLM.from_pretrained(base), tmp_path / "out").eval()
    _, theirs = outputs(model, load_file(GOLDEN / "bert" / "expected.safetensors"))
    assert torch.allclose(theirs, hidden, atol=1e-5, rtol=0)


def test_lora_in_pefts_bin_file(langlift: Callable[..., CommandResult], tmp_path: Path) -> None:
    folder, hidden = pefts_own(False, tmp_path / "peft")
    weights = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(weights, folder / "adapter_model.bin")
    (tmp_path / "t.txt").write_text("Iva.\n", encoding="utf-8")
    out = ["--out", tmp_path / "a", "--json"]
    for arguments in (
        ["score", "--base", base_of("bert"), "--adapter", folder, "--text", tmp_path / "t.txt", "--json"],
        ["export", folder, "--to", "peft", *out],
    ):
        result = langlift(*arguments)
        assert result.code == 2 and f"langlift import {folder} --base MODEL" in result.error["hint"], result.err
    result = langlift("import", folder, *out)
    assert result.code == 2 and "--base" in result.error["hint"]
    result = langlift("import", folder, "--base", base_of("bert"), *out)
    assert result.code == 0 and result.json["adapters"][0]["method"] == "lora", result.err
    assert torch.allclose(imported_outputs("bert", tmp_path / "a")[1], hidden, atol=1e-5, rtol=0)
    torch.save({"a": Bomb(tmp_path / "exploded")}, folder / "adapter_model.bin")
    bombed = langlift("import", folder, "--base", base_of("bert"), "--out", tmp_path / "b", "--json")
    assert bombed.code == 2 and not (tmp_path / "exploded").exists()
    (folder / "adapter_model.bin").unlink()
    empty = langlift("import", folder, "--base", base_of("bert"), "--out", tmp_path / "b", "--json")
    assert "adapter_model.safetensors or adapter_model.bin" in empty.error["error"]


# The base model that an adapter belongs to.


def test_lora_of_one_architecture_is_refused_by_another_with_the_same_keys(tmp_path: Path) -> None:
    lora = saved("roberta", LoraConfig(), tmp_path / "lora")
    model = load_model(str(base_of("xlm-roberta")))
    with pytest.raises(InputError, match="model_type roberta, the base has xlm-roberta"):
        load_adapter(model, lora)


def test_export_checks_the_base(langlift: Callable[..., CommandResult], tmp_path: Path) -> None:
    lora = saved("xlm-roberta", LoraConfig(), tmp_path / "lora")
    bottleneck = saved("bert", SeqBnConfig(4), tmp_path / "bottleneck")
    unrecorded = tmp_path / "unrecorded"
    shutil.copytree(lora, unrecorded)
    save_file(load_file(lora / "adapter_model.safetensors"), unrecorded / "adapter_model.safetensors")
    for folder, base, message in (
        (lora, base_of("bert"), "model_type xlm-roberta, the base has bert"),
        (unrecorded, base_of("bert"), "belongs to another architecture"),
        (bottleneck, base_of("xlm-roberta"), "model_type bert, the base has xlm-roberta"),
        (bottleneck, "nosuch/x", "no such folder, and not found"),
    ):
        out = ["--to", "adapterhub", "--out", tmp_path / "out", "--json"]
        result = langlift("export", folder, "--base", base, *out)
        assert result.code == 2 and message in result.error["error"], result.err
        assert not (tmp_path / "out").exists()
    copy = tmp_path / "base"
    shutil.copytree(base_of("bert"), copy)
    result = langlift("export", bottleneck, "--base", copy, "--to", "adapterhub", "--out", tmp_path / "out")
    assert result.code == 0, result.err
    assert read_description(tmp_path / "out")["model_name"] == str(copy)
    same = load_file(tmp_path / "out" / "adapter.safetensors")
    assert all(
        torch.equal(same[key], value) for key, value in load_file(bottleneck / "adapter.safetensors").items()
    )


def test_another_width_is_told_the_same_way_by_import_and_load(tmp_path: Path) -> None:
    own = saved("bert", SeqBnConfig(4), tmp_path / "own")
    lora = saved("bert", LoraConfig(), tmp_path / "lora")
    wide = tmp_path / "wide"
    config = AutoConfig.from_pretrained(base_of("bert"), hidden_size=64)
    AutoModelForMaskedLM.from_config(config).save_pretrained(wide)
    for use in (
        lambda: import_adapters(own, tmp_path / "a", str(wide)),
        lambda: load_adapter(load_model(str(wide)), own),
        lambda: load_adapter(load_model(str(wide)), lora),
    ):
        with pytest.raises(InputError, match="with hidden_size 32, the base has 64") as raised:
            use()
        assert str(base_of("bert")) in raised.value.hint


# The cards.


def words(card: Path) -> str:
    return " ".join(card.read_text(encoding="utf-8").split())


def test_the_card_for_a_bundled_model_tells_how_it_becomes_a_folder(tmp_path: Path, langlift) -> None:
    own = saved("xlm-roberta", LoraConfig(), tmp_path / "own")
    identity = {**read_identity(own), "model_name": "langlift-nano"}
    weights = load_file(own / "adapter_model.safetensors")
    save_file(weights, own / "adapter_model.safetensors", metadata={"langlift": json.dumps(identity)})
    for layout in ("peft", "adapterhub"):
        export_adapter(own, layout, tmp_path / layout)
        card = words(tmp_path / layout / "README.md")
        assert 'from_pretrained("langlift-nano")' not in card and "FOLDER_OF_LANGLIFT_NANO" in card
        [arguments] = re.findall(r"langlift (export .*? --out) FOLDER_OF_LANGLIFT_NANO", card)
        assert langlift(*arguments.split(), tmp_path / f"{layout}-base").code == 0
        assert (tmp_path / f"{layout}-base" / "model.safetensors").is_file()


def test_the_cards_without_a_base(tmp_path: Path) -> None:
    source = changed_copy(GOLDEN / "bert" / "seq_bn", tmp_path / "s", lambda d: d.update(model_name=None))
    import_adapters(source, tmp_path / "a")
    card = words(tmp_path / "a" / "README.md")
    assert "score --base YOUR_BASE_MODEL" in card and "base_model" not in card and "unknown" not in card
    export_adapter(tmp_path / "a", "adapterhub", tmp_path / "e")
    card = words(tmp_path / "e" / "README.md")
    assert 'from_pretrained("YOUR_BASE_MODEL")' in card and "base_model" not in card


def test_the_card_of_a_stacked_task_adapter_names_the_one_below(tmp_path: Path) -> None:
    own = saved("bert", SeqBnConfig(4), tmp_path / "seed-1", name="topic")
    (own / "recipe.yaml").write_text("inputs:\n  language_adapter: null\n", encoding="utf-8")
    export_adapter(own, "adapterhub", tmp_path / "alone")
    assert "language adapter" not in words(tmp_path / "alone" / "README.md")
    (own / "recipe.yaml").write_text("inputs:\n  language_adapter: runs/maltese\n", encoding="utf-8")
    export_adapter(own, "adapterhub", tmp_path / "stacked")
    card = words(tmp_path / "stacked" / "README.md")
    assert "on top of the language adapter `maltese`" in card and "Stack(below, task)" in card


# What cannot be imported or exported is told in one line.


def setting(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        description = json.loads(path.read_text(encoding="utf-8"))
        description["config"].update(values)
        path.write_text(json.dumps(description), encoding="utf-8")

    return change


def field(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")

    return change


def weights(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / "adapter.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter.safetensors")

    return apply


class Bomb:
    """A pickle that would write a file if it were ever unpickled freely."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def bomb(folder: Path) -> None:
    (folder / "adapter.safetensors").unlink()
    with (folder / "pytorch_adapter.bin").open("wb") as file:
        pickle.dump({"a": Bomb(folder / "exploded")}, file, protocol=2)


def pickled(content: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "adapter.safetensors").unlink()
        torch.save(content, folder / "pytorch_adapter.bin")

    return change


KEY = "bert.encoder.layer.1.output.adapters.seq_bn.adapter_up.bias"
REFUSED = {
    "not JSON": ("seq_bn", lambda f: (f / "adapter_config.json").write_text("{"), "describes no adapter"),
    "a list": ("seq_bn", lambda f: (f / "adapter_config.json").write_text("[]"), "describes no adapter"),
    "no weights": ("seq_bn", lambda f: (f / "adapter.safetensors").unlink(), "has no weights"),
    "cut off": ("seq_bn", lambda f: (f / "adapter.safetensors").write_bytes(b"123456789"), "damaged"),
    "a bomb": ("seq_bn", bomb, "damaged, or contains more than tensors"),
    "a list in a pickle": ("seq_bn", pickled([torch.ones(1)]), "does not contain named tensors"),
    "numbers in a pickle": ("seq_bn", pickled({"a": 1}), "does not contain named tensors"),
    "not finite": ("seq_bn", weights(lambda w: w[KEY].fill_(float("nan"))), "not finite numbers"),
    "a layer short": ("seq_bn", weights(lambda w: w.pop(KEY)), "adapter_up.bias is missing"),
    "another shape": ("seq_bn", weights(lambda w: w.update({KEY: torch.ones(31)})), "has shape (31,), not (32,)"),
    "attention": (
        "seq_bn",
        weights(lambda w: w.update({KEY.replace("output", "attention.output"): torch.ones(32)})),
        "contains weights that do not fit this model",
    ),
    "Houlsby": ("seq_bn", setting(mh_adapter=True), "mh_adapter is True"),
    "Houlsby by name": ("seq_bn", field(config="houlsby"), "configuration 'houlsby' cannot be read"),
    "a hash": ("seq_bn", field(config="0123456789abcdef"), "'0123456789abcdef' cannot be read"),
    "no config": ("seq_bn", field(config=None), "describes no adapter"),
    "swish": ("seq_bn", setting(non_linearity="swish"), "non_linearity is 'swish'"),
    "parallel": ("seq_bn", setting(is_parallel=True), "is_parallel is True"),
    "a layer that is left out": (
        "seq_bn",
        setting(leave_out=[0]),
        "contains weights that do not fit this model",
    ),
    "layers as text": ("seq_bn", setting(leave_out="last"), "leave_out is 'last', not a list of layers"),
    "a far layer left out": ("seq_bn", setting(leave_out=[10**9]), "mentions layer 1000000000"),
    "factors": ("seq_bn", setting(reduction_factor={"0": 2, "default": 16}), "one reduction_factor"),
    "another factor": ("seq_bn", setting(reduction_factor=2), "has shape"),
    "a factor that asks for terabytes": ("seq_bn", setting(reduction_factor=1e-9), "has shape"),
    "a factor beyond numbers": ("seq_bn", setting(reduction_factor=5e-324), "of an impossible size"),
    "no factor": ("seq_bn", setting(reduction_factor=True), "one reduction_factor"),
    "glow": ("seq_bn_inv", setting(inv_adapter="glow"), "invertible block is 'glow'"),
    "block without word": ("seq_bn_inv", setting(inv_adapter=None), "invertible_adapters"),
    "word without block": (
        "seq_bn",
        setting(inv_adapter="nice", inv_adapter_reduction_factor=2),
        "invertible_adapters.seq_bn.F.0.weight is missing",
    ),
    "prefix tuning": ("seq_bn", setting(architecture="prefix_tuning"), "kind 'prefix_tuning'"),
    "architecture": ("seq_bn", field(model_type="gpt2"), "architecture 'gpt2' is not supported"),
    "no architecture": ("seq_bn", field(model_type=None), "does not state its model_type"),
    "no size": ("seq_bn", field(hidden_size=None), "does not state its hidden_size"),
    "a strange size": ("seq_bn", field(hidden_size=30), "has shape"),
    "a name that is a module's": ("seq_bn", field(name="encoder"), "adapter name 'encoder' cannot be used here"),
    "a far layer": (
        "seq_bn",
        weights(lambda w: w.update({KEY.replace("layer.1", "layer.999999999"): w.pop(KEY)})),
        "mentions layer 999999999",
    ),
    "LoRA on keys": ("lora", setting(attn_matrices=["q", "k", "v"]), "attn_matrices"),
    "LoRA on the output": ("lora", setting(output_lora=True), "output_lora"),
    "IA3": ("lora", setting(composition_mode="scale"), "composition_mode"),
    "DoRA": ("lora", setting(use_dora=True), "use_dora"),
    "LoRA rank": ("lora", setting(r=0), "is not a number above 0"),
    "LoRA of another rank": ("lora", setting(r=5), "has shape"),
    "LoRA of a rank that asks for terabytes": ("lora", setting(r=10**11), "has shape"),
    "LoRA of a rank beyond numbers": ("lora", setting(r=10**30), "of an impossible size"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_imported_is_told_in_one_line(
    case: str, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    kind, change, message = REFUSED[case]
    folder = tmp_path / "adapter"
    shutil.copytree(GOLDEN / "bert" / kind, folder)
    change(folder)
    result = langlift("import", folder, "--out", tmp_path / "out")
    assert result.code == 2 and message in result.err, result.err
    assert len(result.err.splitlines()) == 2 and result.err.startswith("Error: ")
    assert not (tmp_path / "out").exists() and not (folder / "exploded").exists()
    assert not list(tmp_path.glob(".*"))


def test_other_refusals(langlift: Callable[..., CommandResult], tmp_path: Path) -> None:
    lora = saved("bert", LoraConfig(), tmp_path / "lora")
    bottleneck = saved("bert", SeqBnConfig(4), tmp_path / "bottleneck")
    modern = saved("modernbert", SeqBnConfig(4), tmp_path / "modern")
    modern_lora = saved("modernbert", LoraConfig(), tmp_path / "modern-lora")
    plain = changed_copy(modern, tmp_path / "plain", lambda d: d["config"].pop("architecture"))
    full = tmp_path / "full"
    full.mkdir()
    (full / "config.json").write_text("{}", encoding="utf-8")
    setup = tmp_path / "setup"
    shutil.copytree(GOLDEN / "bert" / "setup", setup)
    outside = {"adapter_setup": {"type": "Stack", "children": ["../bottleneck", "task"]}}
    (setup / "adapter_setup.json").write_text(json.dumps(outside), encoding="utf-8")
    twins = tmp_path / "twins"
    for twin in ("a", "b"):
        shutil.copytree(bottleneck, twins / twin)
    out = ["--out", tmp_path / "out"]
    wider = base_of("xlm-roberta")
    for arguments, message in (
        (["import", tmp_path / "none", *out], "no such folder"),
        (["import", full, *out], "contains no adapter"),
        (["import", bottleneck, "--out", lora], "the folder is not empty"),
        (["import", bottleneck, "--base", wider, *out], "model_type bert, the base has xlm-roberta"),
        (["import", lora, *out], "is in PEFT's layout"),
        (["import", setup, *out], "adapter_setup.json: damaged"),
        (["import", twins, *out], "two adapters have the name 'mlt'"),
        (["import", plain, *out], "the adapters library computes something else"),
        (["export", bottleneck, "--to", "peft", *out], "peft has no"),
        (["export", bottleneck, "--to", "zip", *out], "unknown layout 'zip'"),
        (["export", modern, "--to", "adapterhub", *out], "computes something else for modernbert"),
        (["export", modern_lora, "--to", "adapterhub", *out], "computes something else for modernbert"),
        (["export", full, "--to", "adapterhub", *out], "contains a whole model, not an adapter"),
        (["export", twins, "--to", "adapterhub", *out], "contains its adapters in subfolders (a, b)"),
    ):
        result = langlift(*arguments, "--json")
        assert result.code == 2 and message in result.error["error"], (arguments, result.err)
        assert not (tmp_path / "out").exists()
    for arguments, message in (
        (["score", "--base", base_of("bert"), "--adapter", twins, "--text", MALTESE], "subfolders (a, b)"),
        (["score", "--base", base_of("bert"), "--adapter", full, "--text", MALTESE], "a whole model"),
    ):
        result = langlift(*arguments, "--json")
        assert result.code == 2 and message in result.error["error"], (arguments, result.err)
    model = load_model(str(base_of("bert")))
    with pytest.raises(InputError, match="LoRA in AdapterHub's layout") as raised:
        load_adapter(model, GOLDEN / "bert" / "lora")
    assert "langlift import" in raised.value.hint


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    case=st.sampled_from(["legacy", "seq_bn_bin", "seq_bn_inv", "lora", "setup"]),
    which=st.integers(0, 5),
    place=st.floats(0, 1),
    damage=st.binary(min_size=0, max_size=6),
    cut=st.booleans(),
)
def test_a_damaged_file_never_ends_in_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, case: str, which: int, place: float, damage: bytes, cut: bool
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "adapter"
    shutil.copytree(GOLDEN / "bert" / case, folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    file = files[which % len(files)]
    content = file.read_bytes()
    start = int(place * len(content))
    file.write_bytes(content[:start] + damage + (b"" if cut else content[start + len(damage) :]))
    try:
        import_adapters(folder, folder.parent / "out")
    except InputError as error:
        assert "\n" not in error.message
        assert not (folder.parent / "out").exists()


# adapt --init


def adapt_arguments(base: Path, out: Path, method: str = "seq_bn_inv", steps: int = 8) -> list[object]:
    return [
        "adapt", "mlt", "--base", base, "--data", MALTESE, "--out", out, "--method", method, "--steps", steps,
        "--batch-size", 4, "--lr", "5e-3", "--set", "reduction_factor=4", "--set", "max_tokens=48",
    ]  # fmt: skip


@pytest.mark.parametrize("method", ["seq_bn_inv", "lora"])
def test_training_goes_on_from_an_imported_adapter(
    method: str, tiny_bert: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    first = langlift(*adapt_arguments(tiny_bert, tmp_path / "first", method), "--json")
    assert first.code == 0, first.err
    assert langlift("export", tmp_path / "first", "--to", "adapterhub", "--out", tmp_path / "hub").code == 0
    assert langlift("import", tmp_path / "hub", "--base", tiny_bert, "--out", tmp_path / "a").code == 0
    arguments = [
        *adapt_arguments(tiny_bert, tmp_path / "second", method, steps=40),
        "--init",
        tmp_path / "a",
        "--json",
    ]
    second = langlift(*arguments)
    assert second.code == 0, second.err
    assert second.json["validation_loss_before"] == pytest.approx(first.json["validation_loss"], rel=1e-6)
    assert second.json["validation_loss"] < first.json["validation_loss"]
    recipe = (tmp_path / "second" / "recipe.yaml").read_text(encoding="utf-8")
    assert "init: a\n" in recipe and "init_sha256: " in recipe
    assert "starting from the adapter `a`" in (tmp_path / "second" / "README.md").read_text(encoding="utf-8")
    assert langlift(*arguments, "--resume").json == second.json
    other = langlift(*adapt_arguments(tiny_bert, tmp_path / "second", method), "--resume", "--json")
    assert other.code == 2 and "init" in other.error["error"], "another start is another run"


def test_a_run_with_init_stopped_and_resumed_ends_in_the_same_adapter(
    tiny_bert: Path, langlift: Callable[..., CommandResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    langlift(*adapt_arguments(tiny_bert, tmp_path / "first"))

    def run(out: str, *more: object) -> CommandResult:
        arguments = adapt_arguments(tiny_bert, tmp_path / out, steps=20)
        return langlift(*arguments, "--init", tmp_path / "first", "--save-steps", 7, *more)

    assert run("whole").code == 0
    save = LiftTrainer._save_checkpoint

    def save_and_stop(self: LiftTrainer, *arguments: object) -> None:
        save(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LiftTrainer, "_save_checkpoint", save_and_stop)
        assert run("stopped").code == 130
    assert [p.name for p in (tmp_path / "stopped" / "checkpoints").glob("checkpoint-*")] == ["checkpoint-7"]
    assert run("stopped", "--resume").code == 0
    whole, stopped = (load_file(tmp_path / run / "adapter.safetensors") for run in ("whole", "stopped"))
    assert all(torch.equal(whole[key], stopped[key]) for key in whole)


def test_an_adapter_to_start_from_that_does_not_agree(
    tiny_bert: Path, tiny_xlm_roberta: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    adapter = tmp_path / "first"
    assert langlift(*adapt_arguments(tiny_bert, adapter, "seq_bn_inv", 2)).code == 0
    out = tmp_path / "out"
    for arguments, message, hint in (
        (
            adapt_arguments(tiny_bert, out, "seq_bn"),
            "has method seq_bn_inv (not seq_bn)",
            "--set method=seq_bn_inv",
        ),
        (adapt_arguments(tiny_bert, out, "lora"), "has method seq_bn_inv (not lora)", "--set method=seq_bn_inv"),
        (adapt_arguments(tiny_bert, out, "full"), "but the method trains the whole model", "--method"),
        (
            [*adapt_arguments(tiny_bert, out), "--set", "reduction_factor=8"],
            "has reduction_factor 4.0 (not 8.0)",
            "--set reduction_factor=4.0",
        ),
        (
            [*adapt_arguments(tiny_bert, out), "--set", "inverse_at_head=false"],
            "has inverse_at_head True (not False)",
            "--set inverse_at_head=true",
        ),
        (adapt_arguments(tiny_xlm_roberta, out), "model_type bert, the base has xlm-roberta", "give the base"),
    ):
        result = langlift(*arguments, "--init", adapter, "--json")
        assert result.code == 2 and message in result.error["error"], result.err
        assert hint in result.error["hint"] and not out.exists()
    several = langlift(*adapt_arguments(tiny_bert, out), "--init", tmp_path, "--json")
    assert several.code == 2 and "in subfolders (first)" in several.error["error"], several.err


@pytest.mark.slow
@pytest.mark.parametrize("way", [[], ["--pickle"]])
@pytest.mark.parametrize("config", [SeqBnConfig(3), SeqBnConfig(3, invertible=True), LoraConfig(3, 6.0)])
@pytest.mark.parametrize("architecture", ADAPTERHUB)
def test_the_reference_library_loads_what_is_exported_for_it(
    architecture: str, config: AdapterConfig, way: list[str], tmp_path: Path
) -> None:
    python = os.environ.get("LANGLIFT_REFERENCE")
    if not python:
        pytest.skip("LANGLIFT_REFERENCE does not name the Python of the reference environment (make test-all)")
    own = saved(architecture, config, tmp_path / "own")
    export_adapter(own, "adapterhub", tmp_path / "out")
    _, hidden = imported_outputs(architecture, own)
    expected = load_file(GOLDEN / architecture / "expected.safetensors")
    inputs = {key: expected[key] for key in ("input_ids", "attention_mask")}
    save_file({**inputs, "hidden": hidden.contiguous()}, tmp_path / "expected.safetensors")
    script = GOLDEN / "check_ours_loads.py"
    command = [python, script, base_of(architecture), tmp_path / "out", tmp_path / "expected.safetensors", *way]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
