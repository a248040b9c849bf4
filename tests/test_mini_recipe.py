"""The reader that makes langlift-mini's start from a package's file, on a small file in that form."""

import importlib.util
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoModel, AutoTokenizer

ROOT = Path(__file__).parent.parent
WIDTH, LAYERS, HEADS, WIDE, POSITIONS = 32, 1, 2, 64, 16
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\u2581ab", "cd", *"\u2581abcdefghijklmnopqrzZ"]


@pytest.fixture(scope="module")
def reader() -> Any:
    pytest.importorskip("sentencepiece")
    spec = importlib.util.spec_from_file_location("read_e5_small", ROOT / "tools" / "read_e5_small.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def rounded(random: np.random.Generator, count: int) -> tuple[bytes, np.ndarray]:
    """Weights in blocks of 32, as bytes, and what they stand for, one weight at a time."""
    raw, weights = b"", []
    for _ in range(count // 32):
        scale = np.float16(random.uniform(0.01, 0.1))
        halves = random.integers(0, 16, 32)
        raw += struct.pack("<e", scale) + bytes(int(halves[j]) | int(halves[j + 16]) << 4 for j in range(16))
        weights += [(int(half) - 8) * float(scale) for half in halves]
    return raw, np.asarray(weights, dtype=np.float32)


@pytest.fixture(scope="module")
def small_file() -> tuple[bytes, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (len(PIECES) + 5, WIDTH), "emb.pos": (POSITIONS, WIDTH), "emb.type": (2, WIDTH),
        "emb.ln.w": (WIDTH,), "emb.ln.b": (WIDTH,),
        "l0.fi.w": (WIDE, WIDTH), "l0.fi.b": (WIDE,), "l0.fo.w": (WIDTH, WIDE), "l0.fo.b": (WIDTH,),
    }  # fmt: skip
    for part in ("q", "k", "v", "ao"):
        shapes |= {f"l0.{part}.w": (WIDTH, WIDTH), f"l0.{part}.b": (WIDTH,)}
    for part in ("aln", "oln"):
        shapes |= {f"l0.{part}.w": (WIDTH,), f"l0.{part}.b": (WIDTH,)}
    weights, raws = {}, {}
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        if len(shape) == 2:
            raws[name], flat = rounded(random, count)
        else:
            flat = random.standard_normal(count).astype("<f4")
            raws[name] = flat.tobytes()
        weights[name] = flat.reshape(shape)
    texts = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, texts)]).astype("<u4")
    scores = np.asarray([0.0] * 4 + [-float(i) for i in range(1, len(PIECES) - 3)], dtype="<f4")
    head = b"E5S1" + struct.pack("<I", 1)
    head += struct.pack("<7i", WIDTH, LAYERS, HEADS, WIDE, len(PIECES) + 5, POSITIONS, 2)
    head += struct.pack("<fi", 1e-12, 32) + struct.pack("<5i", len(PIECES), 0, 2, 1, 3)
    head += struct.pack("<Q", sum(map(len, texts))) + offsets.tobytes() + scores.tobytes() + b"".join(texts)
    head += struct.pack("<iI", 1, 7) + b"ignored" + struct.pack("<i", len(shapes))
    table_size = sum(2 + len(name) + 1 + 4 + 16 for name in shapes)
    start, table, body = len(head) + table_size, b"", b""
    for name, shape in shapes.items():
        table += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BI", len(shape) == 2, np.prod(shape))
        table += struct.pack("<QQ", start + len(body), len(raws[name]))
        body += raws[name]
    return head + table + body, weights


def test_every_weight_is_read(reader: Any, small_file: tuple[bytes, dict[str, np.ndarray]], tmp_path: Path):
    content, weights = small_file
    encoder = reader.read(content)
    assert [piece for piece, _ in encoder.pieces] == PIECES
    reader.folder(encoder, tmp_path)
    model = AutoModel.from_pretrained(tmp_path, add_pooling_layer=False)
    here = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    np.testing.assert_array_equal(
        here["embeddings.word_embeddings.weight"], weights["emb.word"][: len(PIECES)].astype(np.float32)
    )
    for theirs, ours in {
        "l0.q.w": "attention.self.query.weight", "l0.k.b": "attention.self.key.bias",
        "l0.v.w": "attention.self.value.weight", "l0.ao.w": "attention.output.dense.weight",
        "l0.aln.b": "attention.output.LayerNorm.bias", "l0.fi.w": "intermediate.dense.weight",
        "l0.fo.w": "output.dense.weight", "l0.oln.w": "output.LayerNorm.weight",
    }.items():  # fmt: skip
        np.testing.assert_array_equal(here[f"encoder.layer.0.{ours}"], weights[theirs])
    np.testing.assert_array_equal(here["embeddings.LayerNorm.weight"], weights["emb.ln.w"])
    assert model.config.layer_norm_eps == pytest.approx(1e-12)


def test_nothing_is_unknown(reader: Any, small_file: tuple[bytes, dict[str, np.ndarray]], tmp_path: Path):
    before = reader.read(small_file[0])
    encoder = reader.without_gaps(before)
    reader.folder(encoder, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    pieces = tokenizer.get_vocab()
    assert tokenizer.tokenize("ab cd") == ["\u2581ab", "\u2581", "cd"]
    for text in ("\u1e93", "\u0f56\u0f7c\u0f51\u0f0b", "\u0190 \u200d"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids and not any(
            "<0x" in t for t in tokenizer.convert_ids_to_tokens(ids)
        )
    assert tokenizer.tokenize("\u9f98") == ["\u2581", "<0xE9>", "<0xBE>", "<0x98>"]
    assert tokenizer.decode(tokenizer("a \u9f98")["input_ids"], skip_special_tokens=True) == "a \u9f98"
    rows = encoder.weights[reader.WORDS]
    assert len(rows) == len(encoder.pieces)
    with_dot, plain, other = rows[pieces["\u1e93"]], rows[pieces["z"]], rows[pieces["a"]]
    assert 0 < np.linalg.norm(with_dot - plain) < np.linalg.norm(with_dot - other)
    assert len({row.tobytes() for row in rows[len(before.pieces) :]}) == len(rows) - len(before.pieces)
    ids = tokenizer("ab <mask> cd")["input_ids"]
    assert ids.count(tokenizer.mask_token_id) == 1 and tokenizer.convert_ids_to_tokens(ids)[-2:] == ["cd", "</s>"]


def test_damage_is_told(reader: Any, small_file: tuple[bytes, dict[str, np.ndarray]]):
    content, _ = small_file
    with pytest.raises(ValueError, match="not a file of this format"):
        reader.read(b"E5S2" + content[4:])
    with pytest.raises(ValueError, match="ends too early"):
        reader.read(content[:300])
    with pytest.raises(ValueError, match="weights, not"):
        reader.read(content[:-64])
