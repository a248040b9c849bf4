"""The heads of transformers that compute exactly what langlift's do, as data: its module -> our head's part."""

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
"""A linear layer on every token's last hidden state."""
DIFFERENCES = {
    "electra": "has a gelu where langlift's has a tanh",
    "distilbert": "has a relu where langlift's has a tanh",
    "modernbert": "has a layer norm that langlift's lacks",
}
"""How other heads differ."""
ALTERNATIVE = "--to onnx keeps model and head in one file; 'langlift predict' and 'langlift push' use the run"


def sentence_head(model_type: str, pooling: str, source: Path) -> Mapping[str, str]:
    """The modules for the parts of a classification head.

    Raises:
        InputError: transformers' classifier of this architecture computes something else.
    """
    if model_type not in SENTENCE_HEADS:
        difference = DIFFERENCES.get(model_type, "is one linear layer without a bias")
        raise InputError(f"{source}: transformers' sentence classifier for {model_type} {difference}", ALTERNATIVE)
    if pooling != "first":
        raise InputError(
            f"{source}: pooling is '{pooling}'; transformers' classifier for {model_type} uses the first token",
            ALTERNATIVE,
        )
    return SENTENCE_HEADS[model_type]


def token_head(model_type: str, source: Path) -> Mapping[str, str]:
    """The modules for the parts of a tagging head; errors as in ``sentence_head``."""
    if model_type not in TOKEN_HEADS:
        difference = DIFFERENCES.get(model_type, "does not exist")
        raise InputError(f"{source}: transformers' token classifier for {model_type} {difference}", ALTERNATIVE)
    return TOKEN_HEADS[model_type]
