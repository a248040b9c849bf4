"""Tiny real models with real tokenizers, made in seconds; nothing is downloaded."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
# The models are tiny: a second thread would only wait, and with another process on the machine wait long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MALTESE = Path(str(files("langlift") / "bundled" / "mlt_Latn.txt"))


@dataclass(frozen=True)
class CommandResult:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line of stdout."""
        return json.loads(self.out.splitlines()[-1])

    @property
    def error(self) -> dict[str, Any]:
        """The error under --json: the last line of stderr."""
        return json.loads(self.err.splitlines()[-1])


@pytest.fixture
def langlift(capsys: pytest.CaptureFixture[str]) -> Callable[..., CommandResult]:
    """Run a command line in this process."""
    from langlift.cli.main import main

    def run(*arguments: object) -> CommandResult:
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return CommandResult(int(exit_.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data."""
    folder = os.environ.get("LANGLIFT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("LANGLIFT_DATA does not name the folder of real data")
    return Path(folder)


@pytest.fixture(scope="session")
def maltese_lines() -> list[str]:
    return [line for line in MALTESE.read_text(encoding="utf-8").splitlines() if line]


@pytest.fixture(scope="session")
def tiny_xlm_roberta(tmp_path_factory: pytest.TempPathFactory, maltese_lines: list[str]) -> Path:
    """A model folder: XLM-R, 2 layers x 32, unigram vocabulary of 600 with byte fallback; random weights."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    from langlift.vocab.tokenizer_training import train_unigram_tokenizer

    torch.manual_seed(0)
    tokenizer = train_unigram_tokenizer(maltese_lines, vocabulary_size=600, model_max_length=64)
    config = XLMRobertaConfig(
        vocab_size=600, max_position_embeddings=66, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1, **SHAPE
    )
    return _saved(XLMRobertaForMaskedLM(config), tokenizer, tmp_path_factory.mktemp("tiny-xlm-roberta"))


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory, maltese_lines: list[str]) -> Path:
    """A model folder: BERT, 2 layers x 32, WordPiece vocabulary of 600; random weights."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(maltese_lines, trainers.WordPieceTrainer(vocab_size=600, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )
    config = BertConfig(vocab_size=600, max_position_embeddings=64, **SHAPE)
    return _saved(BertForMaskedLM(config), fast, tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(params=["bert", "xlm-roberta"])
def tiny_model(request: pytest.FixtureRequest) -> Path:
    """Each of the tiny models in turn."""
    return request.getfixturevalue("tiny_bert" if request.param == "bert" else "tiny_xlm_roberta")


WINDOW = 8  # ModernBERT's local attention: sentences here are longer


ARCHITECTURES = ["bert", "distilbert", "modernbert", "roberta", "xlm-roberta"]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model folder of each architecture of the table in turn."""
    import torch
    from transformers import (
        AutoTokenizer,
        DistilBertConfig,
        DistilBertForMaskedLM,
        ModernBertConfig,
        ModernBertForMaskedLM,
        RobertaConfig,
        RobertaForMaskedLM,
    )

    architecture = request.param
    if architecture == "xlm-roberta":
        return request.getfixturevalue("tiny_xlm_roberta")
    tiny_bert = request.getfixturevalue("tiny_bert")
    if architecture == "bert":
        return tiny_bert
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(f"tiny-{architecture}")
    if architecture == "roberta":
        tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue("tiny_xlm_roberta"))
        config = RobertaConfig(
            vocab_size=600, max_position_embeddings=66, type_vocab_size=1, pad_token_id=1, **SHAPE
        )
        return _saved(RobertaForMaskedLM(config), tokenizer, folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    if architecture == "distilbert":
        config = DistilBertConfig(
            vocab_size=600, max_position_embeddings=64, dim=32, n_layers=2, n_heads=2, hidden_dim=64
        )
        return _saved(DistilBertForMaskedLM(config), tokenizer, folder)
    config = ModernBertConfig(
        vocab_size=600, max_position_embeddings=64, local_attention=WINDOW, pad_token_id=0, bos_token_id=2,
        eos_token_id=3, cls_token_id=2, sep_token_id=3, **SHAPE,
    )  # fmt: skip
    return _saved(ModernBertForMaskedLM(config), tokenizer, folder)


SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def _saved(model: Any, tokenizer: Any, folder: Path) -> Path:
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Away from the defaults, so that a norm or a bias left out would be seen.
            parameter.add_(0.1 * torch.randn_like(parameter)) if "LayerNorm" in name or "bias" in name else None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def topic_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small topic set in SIB-200's form, two classes that differ in their words."""
    words = {
        "sports": ["il-futbol", "il-plejer", "il-logħba", "il-gowl", "it-tim"],
        "travel": ["il-vapur", "l-ajruport", "il-biljett", "il-bagalja", "il-vjaġġ"],
    }
    folder = tmp_path_factory.mktemp("topic")
    for split, count in (("train", 40), ("dev", 12), ("test", 12)):
        rows = ["index_id\tcategory\ttext"]
        for i in range(count):
            label = ("sports", "travel")[i % 2]
            chosen = words[label]
            rows.append(f"{i}\t{label}\tIllum rajt {chosen[i % 5]} u mbagħad {chosen[(i // 2) % 5]} {i}.")
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder
