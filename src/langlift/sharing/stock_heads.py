"""transformers' own heads that compute exactly what ours do, as data: its module -> our head's part."""

from collections.abc import Mapping
from pathlib import Path

from langlift.errors import InputError

ROBERTA_SENTENCE = {"classifier.dense": "dense", "classifier.out_proj": "output"}
SENTENCE_HEADS: dict[str, dict[str, str]] = {
    "bert": {"bert.pooler.dense": "dense", "classifier": "output"},
    "roberta": ROBERTA_SENTENCE,
    "xlm-roberta": ROBERTA_SENTENCE,
}
"""Dense, tanh, linear on the first token."""
ENCODER_TAGGER, DECODER_TAGGER = {"classifier": "output"}, {"score": "output"}
TOKEN_HEADS: dict[str, dict[str, str]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra", "distilbert"), ENCODER_TAGGER),
    **dict.fromkeys(("llama", "qwen2", "qwen3", "gemma", "gemma2"), DECODER_TAGGER),
}
"""A linear on every token's last hidden state."""
OTHERWISE = {
    "electra": "puts a gelu where ours has a tanh",
    "distilbert": "puts a relu where ours has a tanh",
    "modernbert": "has a layer norm that ours has not",
}
"""What the heads of the others do."""
INSTEAD = "--to onnx holds the model and its head in one file; 'langlift predict' and 'langlift push' take the run"


def sentence_head(model_type: str, pooling: str, source: Path) -> Mapping[str, str]:
    """Where the parts of a classification head go.

    Raises:
        InputError: transformers' classifier of this architecture computes something else.
    """
    if model_type not in SENTENCE_HEADS:
        does = OTHERWISE.get(model_type, "is one linear without a bias")
        raise InputError(f"{source}: transformers' sentence classifier for {model_type} {does}", INSTEAD)
    if pooling != "first":
        raise InputError(
            f"{source}: its sentence vector is '{pooling}', and that of transformers' classifier for {model_type} "
            "the first token",
            INSTEAD,
        )
    return SENTENCE_HEADS[model_type]


def token_head(model_type: str, source: Path) -> Mapping[str, str]:
    """Where the parts of a tagging head go; errors as ``sentence_head``."""
    if model_type not in TOKEN_HEADS:
        does = OTHERWISE.get(model_type, "does not exist")
        raise InputError(f"{source}: transformers' token classifier for {model_type} {does}", INSTEAD)
    return TOKEN_HEADS[model_type]
