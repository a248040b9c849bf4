"""The README.md of exported models: how to use them without langlift, and what was checked."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from langlift.checkpoints.cards import split_front_matter
from langlift.sharing.parity import LIMIT, Parity
from langlift.tasks.task import TASKS

KEPT_FACTS = ("language", "license", "base_model", "datasets")
WORDS_ANSWER = {
    "first": "A word's label is that of its first token.",
    "last": "A word's label is that of its last token.",
    "mean": "A word's label is the best by the mean of its tokens' logits.",
    "every": "Every token of a word has its label.",
}


def plain_card(
    origin: Mapping[str, Any], kind: str, tag: str | None, words: str | None, parity: Parity, source: Path
) -> str:
    """The card of a plain transformers model; ``words`` says which token of a word has its label, of a tagger."""
    pipeline = tag or ("text-generation" if kind == "AutoModelForCausalLM" else "fill-mask")
    answer = f"\n{WORDS_ANSWER[words]}\n" if words else ""
    use = f"""    from transformers import {kind}, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
    model = {kind}.from_pretrained("THIS_FOLDER")
"""
    return _card(origin, "transformers", pipeline, "a plain transformers model", use + answer, parity, source)


def onnx_card(
    origin: Mapping[str, Any],
    described: Mapping[str, Any],
    parity: Parity,
    loss: Mapping[str, Any] | None,
    source: Path,
) -> str:
    """The card of an ONNX folder; ``described`` is its ``labels.json`` and ``loss`` what 8 bits cost."""
    name, end = str(described["task"]), ""
    task = TASKS.get(name)
    pipeline = task.pipeline_tag if task else name
    if task is None:
        use = _language_model_use(described)
    elif task.verb == "parse":
        use = _parser_use(described)
        end = f"\n{PARSER_ANSWER}\n"
    elif task.verb == "classify":
        use = SENTENCE_USE
    else:
        use = _word_use(described)
        every = described["label_subwords"] == "every"
        end = f"\n{WORDS_ANSWER['every' if every else described['pooling']]}\n"
    if loss is not None:
        end += f"\n{_int8_text(loss)}\n"
    return _card(origin, "onnx", pipeline, "an ONNX graph", use + end, parity, source)


def _int8_text(loss: Mapping[str, Any]) -> str:
    """What 8 bits cost, in words."""
    sizes = f"{loss['bytes_float32'] / 1e6:,.1f} MB to {loss['bytes_int8'] / 1e6:,.1f} MB"
    text = (
        f"`model_int8.onnx` is the same in 8 bits ({sizes}): {loss['agreement']:.1%} of {loss['items']:,} answers"
    )
    text += " are the same"
    if loss["metric"]:
        before, after = loss["score_float32"], loss["score_int8"]
        text += f"; {loss['metric']} on {loss['test_examples']:,} test sentences is {after:.1f}, not {before:.1f}"
    return text + "."


def _card(
    origin: Mapping[str, Any], library: str, pipeline: str, what: str, use: str, parity: Parity, source: Path
) -> str:
    readme = next(
        (path for path in (source / "README.md", source / "model" / "README.md") if path.is_file()), None
    )
    facts, text = split_front_matter(readme.read_text(encoding="utf-8", errors="replace") if readme else "")
    kept = {key: facts[key] for key in KEPT_FACTS if facts.get(key)}
    if origin["base"]:
        kept.setdefault("base_model", origin["base"])
    front = {**kept, "library_name": library, "pipeline_tag": pipeline, "tags": ["langlift", pipeline]}
    head = yaml.safe_dump(front, sort_keys=False, allow_unicode=True)
    # Its title becomes a line, and how the run itself is used is no use here.
    text = re.sub(r"^## Use\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL).strip()
    text = re.sub(r"\A# (.*)", r"**\1**", text)
    about = f"\n## The run\n\n{text}\n" if text else ""
    return f"""---
{head}---

# {origin["name"]} as {what}

Exported by langlift. On {parity.items:,} sentences, words or gaps its logits differ from the run's by at most
{parity.difference:.1e} (allowed: {LIMIT:g}); {parity.agreement:.1%} of the answers are the same.

## Use

{use}{about}"""


SENTENCE_USE = """    # pip install onnxruntime tokenizers
    import json
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file("THIS_FOLDER/tokenizer.json")
    labels = json.load(open("THIS_FOLDER/labels.json", encoding="utf-8"))["labels"]
    session = onnxruntime.InferenceSession("THIS_FOLDER/model.onnx")

    encoded = tokenizer.encode_batch(["your sentence", "another one"])
    inputs = {
        "input_ids": np.array([e.ids for e in encoded]),
        "attention_mask": np.array([e.attention_mask for e in encoded]),
    }
    logits = session.run(["logits"], inputs)[0]
    print([labels[best] for best in logits.argmax(axis=-1)])
"""
LANGUAGE_MODEL_USE = """    # pip install onnxruntime tokenizers
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file("THIS_FOLDER/tokenizer.json")
    session = onnxruntime.InferenceSession("THIS_FOLDER/model.onnx")

    encoded = tokenizer.encode("TEXT")
    inputs = {"input_ids": np.array([encoded.ids]), "attention_mask": np.array([encoded.attention_mask])}
    logits = session.run(["logits"], inputs)[0][0]
    print(tokenizer.id_to_token(int(logits[PLACE].argmax())))
"""
WORD_USE = """    # pip install onnxruntime tokenizers
    import json
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file("THIS_FOLDER/tokenizer.json")
    labels = json.load(open("THIS_FOLDER/labels.json", encoding="utf-8"))["labels"]
    session = onnxruntime.InferenceSession("THIS_FOLDER/model.onnx")

    words = ["your", "sentence", "in", "words"]
    encoded = tokenizer.encode(" ".join(words))
    inputs = {"input_ids": np.array([encoded.ids]), "attention_mask": np.array([encoded.attention_mask])}
    logits = session.run(["logits"], inputs)[0][0]
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    tokens = [[] for _ in words]  # the places of each word's tokens
    for place, (start, end) in enumerate(encoded.offsets):
        if not encoded.special_tokens_mask[place]:
            tokens[np.searchsorted(ends, max(start, end - 1), side="right")].append(place)
    print([(word, labels[WORD_LOGITS.argmax()]) for word, places in zip(words, tokens) if places])
"""


PARSER_ANSWER = """The tree is the one with the highest sum of scores and a single root: langlift's decoding `mst`.
A sentence longer than `max_tokens` goes in as several rows of words; `word_weights` is [words, rows, tokens]."""
PARSER_USE = """    # pip install onnxruntime tokenizers networkx
    import json
    import networkx
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file("THIS_FOLDER/tokenizer.json")
    labels = json.load(open("THIS_FOLDER/labels.json", encoding="utf-8"))["labels"]
    session = onnxruntime.InferenceSession("THIS_FOLDER/model.onnx")

    words = ["your", "sentence", "in", "words"]
    encoded = tokenizer.encode(" ".join(words))
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    tokens = [[] for _ in words]  # the places of each word's tokens
    for place, (start, end) in enumerate(encoded.offsets):
        if not encoded.special_tokens_mask[place]:
            tokens[np.searchsorted(ends, max(start, end - 1), side="right")].append(place)
    weights = np.zeros((len(words), 1, len(encoded.ids)), dtype=np.float32)
    for word, places in enumerate(tokens):
        weights[word, 0, WORD_PLACES] = 1
    inputs = {
        "input_ids": np.array([encoded.ids]),
        "attention_mask": np.array([encoded.attention_mask]),
        "word_weights": weights / weights.sum(axis=2, keepdims=True),
    }
    arcs, relations = session.run(["arcs", "relations"], inputs)

    graph = networkx.DiGraph()  # from heads to words; 0 is the root, and hangs on one word alone
    for word, scores in enumerate(arcs.tolist(), start=1):
        possible = [(head, score) for head, score in enumerate(scores) if head != word]
        graph.add_weighted_edges_from((head, word, score - 1e6 * (head == 0)) for head, score in possible)
    heads = {word: head for head, word in networkx.maximum_spanning_arborescence(graph).edges}
    of_root = np.array([label.split(":")[0] == "root" for label in labels])
    for word, form in enumerate(words, start=1):
        scores = np.where(of_root == (heads[word] == 0), relations[word - 1, heads[word]], -np.inf)
        print(word, form, heads[word], labels[scores.argmax()])
"""


def _parser_use(described: Mapping[str, Any]) -> str:
    """How the scores become a tree; of each word the tokens that the run looks at."""
    places = {"last": "places[-1]", "mean": "places"}
    return PARSER_USE.replace("WORD_PLACES", places.get(described["pooling"], "places[0]"))


def _word_use(described: Mapping[str, Any]) -> str:
    """How words get labels, by the token that has a word's; of a run that labels every token, the first."""
    places = {"last": "logits[places[-1]]", "mean": "logits[places].mean(axis=0)"}
    if described["label_subwords"] == "every":
        places = {}
    return WORD_USE.replace("WORD_LOGITS", places.get(described["pooling"], "logits[places[0]]"))


def _language_model_use(described: Mapping[str, Any]) -> str:
    """The best token for a gap, or the next one."""
    if described["task"] == "text-generation":
        return LANGUAGE_MODEL_USE.replace("TEXT", "1, 2, 3,").replace("PLACE", "-1")
    mask = described["mask_token"]
    place = f'encoded.tokens.index("{mask}")'
    return LANGUAGE_MODEL_USE.replace("TEXT", f"1, 2, {mask}, 4").replace("PLACE", place)
