"""Tiny real models with real tokenizers, made in seconds; nothing is downloaded."""

import gc
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
# The models are tiny: a second thread would only wait, and with another process on the machine wait long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The check of a text's language takes seconds in each run; its own tests bring the package back.
sys.modules["heliport"] = None  # type: ignore[assignment]

MALTESE = Path(str(files("langlift") / "bundled" / "mlt_Latn.txt"))


def pytest_collection_finish() -> None:
    """Exempt all that the test modules import from garbage collection, which every training starts with."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """Exempt what the tests of a module have imported in passing, too."""
    yield
    pytest_collection_finish()


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
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tokenizer = Tokenizer(models.WordPiece(word_pieces(maltese_lines, 600), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
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


def word_pieces(lines: list[str], size: int) -> dict[str, int]:
    """A WordPiece vocabulary: characters, then pieces of words that save most. A trainer's differs each time."""
    found: Counter[str] = Counter()
    for word in re.findall(r"\w+|[^\w\s]", " ".join(lines)):
        for start, end in combinations(range(len(word) + 1), 2):
            found["##" * (start > 0) + word[start:end]] += end - start - 1
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    characters = sorted(piece for piece, saved in found.items() if not saved)
    longer = sorted(found.keys() - set(characters), key=lambda piece: (-found[piece], piece))
    return {piece: number for number, piece in enumerate([*special, *characters, *longer][:size])}


@pytest.fixture(params=["bert", "xlm-roberta"])
def tiny_model(request: pytest.FixtureRequest) -> Path:
    """Each of the tiny models in turn."""
    return request.getfixturevalue("tiny_bert" if request.param == "bert" else "tiny_xlm_roberta")


WINDOW = 8  # ModernBERT's local attention: sentences here are longer


ARCHITECTURES = ["bert", "distilbert", "electra", "modernbert", "roberta", "xlm-roberta"]


@pytest.fixture(scope="module", params=ARCHITECTURES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model folder of each architecture of the table in turn."""
    import torch
    from transformers import (
        AutoTokenizer,
        DistilBertConfig,
        DistilBertForMaskedLM,
        ElectraConfig,
        ElectraForMaskedLM,
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
    if architecture == "electra":
        config = ElectraConfig(vocab_size=600, max_position_embeddings=64, embedding_size=32, **SHAPE)
        return _saved(ElectraForMaskedLM(config), tokenizer, folder)
    config = ModernBertConfig(
        vocab_size=600, max_position_embeddings=64, local_attention=WINDOW, pad_token_id=0, bos_token_id=2,
        eos_token_id=3, cls_token_id=2, sep_token_id=3, **SHAPE,
    )  # fmt: skip
    return _saved(ModernBertForMaskedLM(config), tokenizer, folder)


DECODERS = ["gemma", "gemma2", "gemma3_text", "llama", "qwen2", "qwen3"]


@pytest.fixture(scope="session")
def tiny_decoders(tmp_path_factory: pytest.TempPathFactory, maltese_lines: list[str]) -> dict[str, Path]:
    """A tiny model folder of each decoder; the Qwens' tokenizer is byte-level, without beginning or padding."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    from langlift.vocab.tokenizer_training import train_unigram_tokenizer

    unigram = train_unigram_tokenizer(maltese_lines, vocabulary_size=600, model_max_length=64, closed=False)
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    bpe.train_from_iterator(
        maltese_lines,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    byte_level = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|endoftext|>", model_max_length=64)
    folders = {}
    for number, name in enumerate(DECODERS):
        torch.manual_seed(number)
        config = AutoConfig.for_model(
            name, vocab_size=600, max_position_embeddings=64, num_key_value_heads=1, head_dim=16, **SHAPE
        )
        config.bos_token_id, config.eos_token_id, config.pad_token_id = 0, 2, 1
        config.sliding_window = WINDOW
        if name == "gemma2":  # small enough to bite
            config.attn_logit_softcapping, config.final_logit_softcapping = 0.5, 0.5
        tokenizer = byte_level if name.startswith("qwen") else unigram
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                if "norm" in path:
                    parameter.add_(0.1 * torch.randn_like(parameter))
                else:
                    parameter.copy_(0.2 * torch.randn_like(parameter))
        model.save_pretrained(folder := tmp_path_factory.mktemp(f"tiny-{name}"))
        tokenizer.save_pretrained(folder)
        folders[name] = folder
    return folders


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest, tiny_decoders: dict[str, Path]) -> Path:
    """Each of the tiny decoders in turn."""
    return tiny_decoders[request.param]


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


@pytest.fixture(scope="session")
def adapted_runs(
    tiny_xlm_roberta: Path,
    topic_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    maltese_lines: list[str],
) -> Path:
    """A folder of finished Maltese runs: a language adapter, a whole model and a topic classifier."""
    from langlift.languages import find_language
    from langlift.tasks.recipe import TaskRecipe
    from langlift.tasks.runner import train_task
    from langlift.training.adaptation import adapt
    from langlift.training.recipes import AdaptRecipe

    folder = tmp_path_factory.mktemp("adapted-runs")
    (folder / "text.txt").write_text("\n".join(maltese_lines[:60]), encoding="utf-8")
    base, language = str(tiny_xlm_roberta), find_language("mlt")
    for method in ("seq_bn_inv", "full"):
        recipe = AdaptRecipe(method=method, steps=4, learning_rate=1e-2)
        adapt(language, base, folder / "text.txt", folder / method, recipe)
    train_task("topic", base, str(topic_folder), folder / "topic", TaskRecipe(epochs=1, seeds=(1,)))
    return folder


@pytest.fixture(scope="session")
def treebank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small treebank of a made-up grammar, with multiword tokens, empty nodes and enhanced columns."""
    folder = tmp_path_factory.mktemp("UD_Maltese-Small")
    for split, count in (("train", 40), ("dev", 10), ("test", 12)):
        sentences = [treebank_sentence(split, number) for number in range(count)]
        (folder / f"mt_small-ud-{split}.conllu").write_text("".join(sentences), encoding="utf-8")
    return folder


def treebank_sentence(split: str, number: int) -> str:
    """A subject, a verb and an object, every third time with an adverb before them; as CoNLL-U."""
    nouns = ["kelb", "qattus", "tifel", "ktieb", "ġnien"]
    words = [
        ("il-", "DET", 2, "det"),
        (nouns[number % 5], "NOUN", 3, "nsubj"),
        (["jara", "iħobb", "jaf"][number % 3], "VERB", 0, "root"),
        ("il-", "DET", 5, "det"),
        (nouns[number // 2 % 5], "NOUN", 3, "obj:dir" if number % 2 else "obj"),
        (".", "PUNCT", 3, "punct"),
    ]
    if number % 3 == 0:
        words = [
            ("Illum", "ADV", 4, "advmod"),
            *((form, tag, head + 1 if head else 0, rel) for form, tag, head, rel in words),
        ]
    lines = [f"# sent_id = {split}-{number}", "# text = made up"]
    for place, (form, tag, head, relation) in enumerate(words, start=1):
        if tag == "DET":
            lines.append(f"{place}-{place + 1}\til-{words[place][0]}" + "\t_" * 8)
        xpos, features = tag[0], "Number=Sing" if tag == "NOUN" else "_"
        lines.append(f"{place}\t{form}\t_\t{tag}\t{xpos}\t{features}\t{head}\t{relation}\t{head}:{relation}\t_")
        if tag == "VERB" and number % 4 == 0:
            lines.append(f"{place}.1\tqed\t_\tAUX\t_\t_\t_\t_\t{place}:aux\tCopy=1")
    return "\n".join(lines) + "\n\n"
