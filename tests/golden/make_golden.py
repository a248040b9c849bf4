"""Write the golden fixtures of this folder with the reference library, adapters 1.3.0 (AdapterHub).

    python3.11 -m venv REF
    REF/bin/pip install -r benchmarks/reference-requirements.txt
    REF/bin/python tests/golden/make_golden.py

Writes next to itself (see README.md here), offline, seeded, in under a minute on one CPU.
Every number in expected.safetensors comes out of the reference library's own forward pass.
"""

import copy
import json
import os
import shutil
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import adapters
import torch
from adapters import AutoAdapterModel, LoRAConfig, SeqBnConfig, SeqBnInvConfig
from adapters.composition import Stack
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    ModernBertConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

HERE = Path(__file__).resolve().parent

SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 40,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
XLMR = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
DISTILBERT = {
    "vocab_size": 96, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 40,
    "dropout": 0.0, "attention_dropout": 0.0,
}  # fmt: skip
ARCHS = {
    "bert": BertConfig(**SMALL),
    "xlm-roberta": XLMRobertaConfig(**{**SMALL, **XLMR}),
    "roberta": RobertaConfig(**{**SMALL, **XLMR}),
    "distilbert": DistilBertConfig(**DISTILBERT),
    "electra": ElectraConfig(**SMALL, embedding_size=32),
}
# Local attention over 4 tokens either side, so that the sliding window matters at length 12.
MODERNBERT = ModernBertConfig(
    vocab_size=96, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, intermediate_size=48,
    max_position_embeddings=40, local_attention=8, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    cls_token_id=1, sep_token_id=2, reference_compile=False,
)  # fmt: skip

# Two key and value heads for four queries, as in Llama 3.
LLAMA = LlamaConfig(
    vocab_size=96, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    intermediate_size=48, max_position_embeddings=40, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    tie_word_embeddings=False,
)  # fmt: skip

ADAPTERS = {
    "seq_bn": SeqBnConfig(reduction_factor=4),
    "seq_bn_inv": SeqBnInvConfig(reduction_factor=4),
    "task": SeqBnConfig(reduction_factor=2),
    "lora": LoRAConfig(
        r=4, alpha=8, selfattn_lora=True, intermediate_lora=False, output_lora=False, attn_matrices=["q", "v"]
    ),
}
# case -> (active adapters, use the flexible head)
CASES = {
    "base": (None, False),
    "seq_bn": ("seq_bn", False),
    "seq_bn_inv_forward_only": ("seq_bn_inv", False),  # static head: no inverse
    "seq_bn_inv": ("seq_bn_inv", True),  # flexible head: inverse before the decoder linear
    "stack": (Stack("seq_bn", "task"), False),
    "stack_inv": (Stack("seq_bn_inv", "task"), True),
    "lora": ("lora", False),
}


@torch.no_grad()
def randomise_base(model):
    """All weights clearly away from their defaults. Tied tensors are drawn once."""
    for module in model.modules():
        norm = type(module).__name__.endswith("Norm")
        for name, p in module.named_parameters(recurse=False):
            if norm and name == "weight":
                p.copy_(1 + 0.2 * torch.randn_like(p))
            else:
                p.copy_(0.1 * torch.randn_like(p))


@torch.no_grad()
def randomise_adapter(model, name):
    for key, p in model.named_parameters():
        if f".{name}." in key:
            p.copy_((0.1 if key.endswith(".bias") else 0.3) * torch.randn_like(p))


def make_inputs(pad_id):
    input_ids = torch.randint(5, SMALL["vocab_size"], (4, 12))
    attention_mask = torch.ones_like(input_ids)
    for row, length in ((1, 9), (3, 5)):
        input_ids[row, length:] = pad_id
        attention_mask[row, length:] = 0
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def flexible_model(config, static):
    """The library's flexible-head model with the static model's weights, MLM head included."""
    flex = AutoAdapterModel.from_config(copy.deepcopy(config), attn_implementation="eager")
    missing, _ = flex.base_model.load_state_dict(static.base_model.state_dict(), strict=False)
    assert all(key.startswith("pooler.") for key in missing), missing  # adapters follow in make_arch
    flex.add_masked_lm_head("mlm")
    if config.model_type == "distilbert":
        parts = (static.vocab_transform, static.vocab_layer_norm, static.vocab_projector)
    elif config.model_type == "bert":
        head = static.cls.predictions
        parts = (head.transform.dense, head.transform.LayerNorm, head.decoder)
    elif config.model_type == "electra":
        head = static.generator_predictions
        parts = (head.dense, head.LayerNorm, static.generator_lm_head)
    else:
        parts = (static.lm_head.dense, static.lm_head.layer_norm, static.lm_head.decoder)
    for index, part in zip(("0", "2", "3"), parts, strict=False):  # 1 is the activation
        flex.heads["mlm"]._modules[index].load_state_dict(part.state_dict())
    return flex.eval()


@torch.no_grad()
def run(model, active, inputs):
    model.set_active_adapters(active)
    out = model(**inputs, output_hidden_states=True, return_dict=True)
    return out.logits, out.hidden_states[-1]


def make_arch(arch, config):
    folder = HERE / arch
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()

    torch.manual_seed(20240 + len(arch))
    static = AutoModelForMaskedLM.from_config(config, attn_implementation="eager").eval()
    randomise_base(static)
    static.save_pretrained(folder / "base")
    inputs = make_inputs(config.pad_token_id)
    with torch.no_grad():
        plain_logits = static(**inputs).logits

    adapters.init(static)
    for name, adapter_config in ADAPTERS.items():
        static.add_adapter(name, config=adapter_config)
        randomise_adapter(static, name)
        static.save_adapter(str(folder / name), name, with_head=False, use_safetensors=True)
    static.save_adapter(str(folder / "seq_bn_bin"), "seq_bn", with_head=False)
    static.eval()

    flex = flexible_model(config, static)
    for name in ADAPTERS:
        flex.load_adapter(str(folder / name), use_safetensors=True)
    flex.active_head = "mlm"
    flex.eval()

    expected = dict(inputs)
    for case, (active, flexible) in CASES.items():
        logits, hidden = run(flex if flexible else static, active, inputs)
        expected[case], expected[f"hidden.{case}"] = logits.contiguous(), hidden.contiguous()

    # What the fixtures claim about the library, checked.
    def close(a, b):
        return torch.allclose(a, b, atol=1e-6, rtol=0)

    assert close(expected["base"], plain_logits)
    for case in ("base", "seq_bn", "stack", "lora"):  # both heads agree where nothing is to be inverted
        logits, hidden = run(flex, CASES[case][0], inputs)
        assert close(logits, expected[case]) and close(hidden, expected[f"hidden.{case}"]), case
    assert close(expected["hidden.seq_bn_inv"], expected["hidden.seq_bn_inv_forward_only"])
    # The inverse at the static head, by the library's own function in front of the decoder linear.
    decoder = static.get_output_embeddings()
    hook = decoder.register_forward_pre_hook(
        lambda module, args: (static.base_model.invertible_adapters_forward(args[0], rev=True),)
    )
    for case in ("seq_bn_inv", "stack_inv"):
        assert close(run(static, CASES[case][0], inputs)[0], expected[case]), case
    hook.remove()
    names = list(CASES)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert (expected[a] - expected[b]).abs().max() > 0.01, (a, b)

    if arch in ("bert", "xlm-roberta", "distilbert"):
        expected["hidden.legacy"] = make_legacy(arch, static, inputs).contiguous()
    if arch == "bert":
        make_setup(arch, flex)
    save_file(expected, folder / "expected.safetensors")


@torch.no_grad()
def make_legacy(arch, static, inputs):
    """Folders as adapter-transformers 1.x wrote them, from today's; what the library makes of them.

    That release is not installable beside the others, so its names come from the library's own table for
    reading old files, turned round.
    """
    folder = HERE / arch
    old = {"adapters": "layer_text_lang_adapters", "invertible_adapters": "invertible_lang_adapters"}
    # MAD-X's published language adapters: Pfeiffer, reduction factor 2, invertible.
    static.add_adapter("old", config=SeqBnInvConfig(reduction_factor=2))
    randomise_adapter(static, "old")
    state = {}
    for key, value in static.state_dict().items():
        if ".old." in key:
            place, _, part = key.partition(".old.")
            stem, _, last = place.rpartition(".")
            state[f"{stem}.{old[last]}.old.{part}"] = value.clone()
    _, expected = run(static, "old", inputs)
    static.delete_adapter("old")
    legacy = folder / "legacy"
    legacy.mkdir()
    torch.save(state, legacy / "pytorch_adapter.bin")
    config = {
        "LN_after": False,
        "LN_before": False,
        "MH_Adapter": False,
        "Output_Adapter": True,
        "adapter_residual_before_ln": False,
        "attention_type": "sent-lvl-dynamic",
        "invertible_adapter": {"block_type": "nice", "non_linearity": "relu", "reduction_factor": 2},
        "new_attention_norm": False,
        "non_linearity": "relu",
        "original_ln_after": True,
        "original_ln_before": True,
        "reduction_factor": 2,
        "residual_before_ln": True,
    }
    description = {
        "config": config,
        "config_id": "87954f0c97a780e3",
        "hidden_size": static.config.hidden_size,
        "model_class": type(static).__name__.replace("ForMaskedLM", "Model"),
        "model_name": f"tiny-{arch}",
        "model_type": arch,
        "name": "old",
        "type": "text_lang",
    }

    def load(changed):
        """What the library makes of the folder with today's spelling of the configuration's keys."""
        text = json.dumps({**description, "config": changed})
        (legacy / "adapter_config.json").write_text(text)
        static.load_adapter(str(legacy), with_head=False)
        hidden = run(static, "old", inputs)[1]
        static.delete_adapter("old")
        return hidden

    today = {key.lower(): value for key, value in config.items()}
    assert torch.equal(load(today), expected)
    (legacy / "adapter_config.json").write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
    return expected


@torch.no_grad()
def make_setup(arch, flex):
    """A folder with a whole stack, as save_adapter_setup writes it."""
    flex.save_adapter_setup(str(HERE / arch / "setup"), Stack("seq_bn_inv", "task"), use_safetensors=True)


@torch.no_grad()
def make_llama():
    """Llama: as ``make_arch``, with the causal head. The static head never runs the inverse."""
    folder = HERE / "llama"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    torch.manual_seed(20260)
    static = AutoModelForCausalLM.from_config(LLAMA, attn_implementation="eager").eval()
    randomise_base(static)
    static.save_pretrained(folder / "base")
    inputs = make_inputs(LLAMA.pad_token_id)
    plain, body = static(**inputs).logits, copy.deepcopy(static.base_model.state_dict())
    adapters.init(static)
    for name, adapter_config in ADAPTERS.items():
        static.add_adapter(name, config=adapter_config)
        randomise_adapter(static, name)
        static.save_adapter(str(folder / name), name, with_head=False, use_safetensors=True)
    static.save_adapter(str(folder / "seq_bn_bin"), "seq_bn", with_head=False)
    static.eval()
    flex = AutoAdapterModel.from_config(copy.deepcopy(LLAMA), attn_implementation="eager")
    flex.base_model.load_state_dict(body)  # before the adapters come
    flex.add_causal_lm_head("clm", layers=1)
    (decoder,) = flex.heads["clm"].children()
    decoder.weight.copy_(static.lm_head.weight)
    decoder.bias.zero_()
    for name in ADAPTERS:
        flex.load_adapter(str(folder / name), use_safetensors=True)
    flex.active_head = "clm"
    flex.eval()
    expected = dict(inputs)
    for case, (active, flexible) in CASES.items():
        logits, hidden = run(flex if flexible else static, active, inputs)
        expected[case], expected[f"hidden.{case}"] = logits.contiguous(), hidden.contiguous()
    assert torch.allclose(expected["base"], plain, atol=1e-6, rtol=0)
    for case in ("base", "seq_bn", "stack", "lora"):
        logits, hidden = run(flex, CASES[case][0], inputs)
        assert torch.allclose(logits, expected[case], atol=1e-6, rtol=0), case
    assert torch.allclose(expected["hidden.seq_bn_inv"], expected["hidden.seq_bn_inv_forward_only"], atol=1e-6)
    for i, a in enumerate(CASES):
        for b in list(CASES)[:i]:
            assert (expected[a] - expected[b]).abs().max() > 0.01, (a, b)
    save_file(expected, folder / "expected.safetensors")


def bottleneck(weights, s):
    return torch.relu(s @ weights["down"].T + weights["down_bias"]) @ weights["up"].T + weights["up_bias"]


def coupling(weights, x):
    return torch.relu(x @ weights[0].T + weights[1]) @ weights[2].T + weights[3]


@torch.no_grad()
def make_modernbert():
    """ModernBERT: transformers' own model, and the formulas of pre-LN adapters written out by hooks.

    The library supports this architecture by its generic interface only. There ``adapters.init`` alone
    changes what the model computes (the wrapped Wqkv), and an adapter reads mlp(n) + n with
    n = mlp_norm(h) in place of the layer's output mlp(n) + h. Both are checked below; so the library is
    no reference for ``s + A(s)``.
    """
    folder = HERE / "modernbert"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    torch.manual_seed(20250)
    model = AutoModelForMaskedLM.from_config(MODERNBERT, attn_implementation="eager").eval()
    randomise_base(model)
    model.save_pretrained(folder / "base")
    inputs = make_inputs(MODERNBERT.pad_token_id)
    d, layers = MODERNBERT.hidden_size, model.model.layers

    def fresh(width):
        drawn = {"down": (width, d), "down_bias": (width,), "up": (d, width), "up_bias": (d,)}
        return [
            {k: (0.1 if "bias" in k else 0.3) * torch.randn(shape) for k, shape in drawn.items()} for _ in layers
        ]

    adapters_ = {"seq_bn": fresh(8), "task": fresh(16)}
    shapes = ((d // 4, d // 2), (d // 4,), (d // 2, d // 4), (d // 2,))
    blocks = {k: [0.3 * torch.randn(shape) for shape in shapes] for k in "FG"}
    lora = [(0.3 * torch.randn(4, d), 0.3 * torch.randn(3 * d, 4)) for _ in layers]

    def after_embeddings(module, args, output):
        a, b = output.chunk(2, dim=-1)
        a = a + coupling(blocks["F"], b)
        return torch.cat((a, b + coupling(blocks["G"], a)), dim=-1)

    def before_decoder(module, args):
        a, b = args[0].chunk(2, dim=-1)
        b = b - coupling(blocks["G"], a)
        return (torch.cat((a - coupling(blocks["F"], b), b), dim=-1),)

    def measure(stack=(), inverse=None, with_lora=False):
        hooks = []
        for i, layer in enumerate(layers):
            for name in stack:

                def add(module, args, output, weights=adapters_[name][i]):
                    return (output[0] + bottleneck(weights, output[0]), *output[1:])

                hooks.append(layer.register_forward_hook(add))
            if with_lora:
                a, b = lora[i]

                def update(module, args, output, a=a, b=b):
                    return output + 8 / 4 * (args[0] @ a.T @ b.T)

                hooks.append(layer.attn.Wqkv.register_forward_hook(update))
        if inverse is not None:
            hooks.append(model.model.embeddings.register_forward_hook(after_embeddings))
        if inverse:
            hooks.append(model.decoder.register_forward_pre_hook(before_decoder))
        logits, hidden = model(**inputs).logits, model.model(**inputs).last_hidden_state
        for hook in hooks:
            hook.remove()
        return logits.contiguous(), hidden.contiguous()

    expected = dict(inputs)
    for case, arguments in {
        "base": {},
        "seq_bn": {"stack": ("seq_bn",)},
        "seq_bn_inv_forward_only": {"stack": ("seq_bn",), "inverse": False},
        "seq_bn_inv": {"stack": ("seq_bn",), "inverse": True},
        "stack": {"stack": ("seq_bn", "task")},
        "stack_inv": {"stack": ("seq_bn", "task"), "inverse": True},
        "lora": {"with_lora": True},
    }.items():
        expected[case], expected[f"hidden.{case}"] = measure(**arguments)
    weights = {
        f"{name}.{i}.{k}": v for name, a in adapters_.items() for i, w in enumerate(a) for k, v in w.items()
    }
    weights |= {f"{k}.{i}": v for k, block in blocks.items() for i, v in enumerate(block)}
    weights |= {f"lora.{i}.{part}": v for i, pair in enumerate(lora) for part, v in zip("AB", pair, strict=True)}
    save_file(weights, folder / "weights.safetensors")
    save_file(expected, folder / "expected.safetensors")

    # What the docstring says of the library.
    reference = copy.deepcopy(model)
    adapters.init(reference)
    assert (reference(**inputs).logits - expected["base"]).abs().max() > 0.1
    reference.add_adapter("seq_bn", config=SeqBnConfig(reduction_factor=4))
    seen = {}
    layer = reference.model.layers[0]
    layer.mlp.Wo.register_forward_hook(lambda module, args, output: seen.update(after=output), prepend=True)
    layer.mlp.register_forward_pre_hook(lambda module, args: seen.update(before=args[0]))
    layer.output_adapters.adapters["seq_bn"].register_forward_pre_hook(lambda m, args: seen.update(read=args[0]))
    run(reference.eval(), "seq_bn", inputs)
    assert torch.allclose(seen["read"], seen["after"] + seen["before"], atol=1e-6)


def parameter_counts():
    """Counted by the library on weightless (meta) models with the shapes of the real checkpoints."""
    models = {
        "bert-base-multilingual-cased": BertConfig(vocab_size=119547),
        "xlm-roberta-base": XLMRobertaConfig(
            vocab_size=250002, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
        ),
    }
    kinds = {
        "seq_bn": SeqBnConfig(),
        "seq_bn_inv": SeqBnInvConfig(),
        "lora": LoRAConfig(r=8, alpha=8, attn_matrices=["q", "v"]),
    }
    counts = {}
    for model_name, config in models.items():
        with torch.device("meta"):
            model = AutoModelForMaskedLM.from_config(config)
            adapters.init(model)
            for kind, kind_config in kinds.items():
                model.add_adapter(kind, config=kind_config)
        summary = {row["name"]: row["#param"] for row in model.adapter_summary(as_dict=True)}
        counts[model_name] = {}
        for kind in kinds:
            model.train_adapter(kind)  # freezes the base model with the other adapters, not the MLM head
            trainable = {k: p.numel() for k, p in model.named_parameters() if p.requires_grad}
            adapter_part = sum(n for k, n in trainable.items() if f".{kind}." in k)
            counts[model_name][kind] = {
                "adapter_summary": summary[kind],
                "adapter_trainable": adapter_part,
                "other_trainable": sum(trainable.values()) - adapter_part,
                "other_trainable_names": sorted(k for k in trainable if f".{kind}." not in k),
            }
    (HERE / "parameter_counts.json").write_text(json.dumps(counts, indent=2) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for arch, config in ARCHS.items():
        make_arch(arch, config)
    make_llama()
    make_modernbert()
    parameter_counts()
