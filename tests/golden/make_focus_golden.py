"""Write the golden values of FOCUS with the published package (deepfocus 1.0.1): tests/golden/focus/.

Everything is made here: three source tokenizers (unigram, WordPiece, byte-level BPE) and a target one on two halves
of the bundled text, random source embeddings, and random auxiliary vectors of most target pieces (a few of them
zero), which are handed to the package in the place of its fastText model. The trainers of ``tokenizers`` break ties
at random, so tokenizers that are there already are taken as they are. How to install the package: README.md here.
"""

import json
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from deepfocus import FOCUS
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

HERE = Path(__file__).parent / "focus"
TEXT = Path(__file__).parents[2] / "src" / "langlift" / "bundled" / "mlt_Latn.txt"
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
SIZE, WIDTH, DIMENSIONS = 700, 16, 12


def unigram(lines):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=SIZE, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def wordpiece(lines):
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def byte_level(lines):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def wrapped(tokenizer):
    roles = dict(zip(("bos", "pad", "eos", "unk", "mask"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{role}_token": token for role, token in roles.items()}
    )


def kept(name, train, lines):
    path = HERE / f"{name}.json"
    if not path.exists():
        path.write_text(json.dumps(json.loads(train(lines).to_str()), ensure_ascii=False) + "\n", encoding="utf-8")
    return wrapped(Tokenizer.from_file(str(path)))


def main():
    HERE.mkdir(exist_ok=True)
    lines = [line for line in TEXT.read_text(encoding="utf-8").splitlines() if line]
    half = len(lines) // 2
    sources = {
        name: kept(name, train, lines[:half])
        for name, train in (("unigram", unigram), ("wordpiece", wordpiece), ("byte_level", byte_level))
    }
    target = kept("target", unigram, lines[half:])
    random = np.random.default_rng(0)
    pieces = [piece for piece, _ in sorted(target.get_vocab().items(), key=lambda item: item[1])]
    vectors = {}
    for piece in pieces[len(SPECIAL) :]:
        if random.random() < 0.85:
            vector = random.normal(size=DIMENSIONS).round(4) * (random.random() > 0.03)
            vectors[piece] = vector.astype(np.float32)
    rows = [f"{piece} {' '.join(f'{x:g}' for x in vector)}" for piece, vector in vectors.items()]
    (HERE / "vectors.vec").write_text(f"{len(rows)} {DIMENSIONS}\n" + "\n".join(rows) + "\n", encoding="utf-8")
    tensors = {}
    for number, (name, source) in enumerate(sources.items()):
        generator = torch.Generator().manual_seed(number)
        embeddings = torch.randn(len(source), WIDTH, generator=generator)
        with patch("deepfocus.focus.load_target_token_embedding", lambda **_: vectors):
            expected = FOCUS(target, source, embeddings, fasttext_model_path="given", seed=42, verbosity="silent")
        tensors |= {f"source.{name}": embeddings, f"expected.{name}": expected.contiguous()}
    save_file(tensors, HERE / "embeddings.safetensors")


if __name__ == "__main__":
    main()
