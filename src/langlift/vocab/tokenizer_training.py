"""Train a SentencePiece unigram tokenizer with byte fallback, in the layout of XLM-R's."""

import io
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

from langlift.errors import LangliftError

# XLM-R's order; the mask stands with them so that every id below len(SPECIAL) is a special token.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


def train_unigram_tokenizer(
    lines: Iterable[str], vocabulary_size: int, model_max_length: int, character_coverage: float = 0.9998
) -> PreTrainedTokenizerFast:
    """Train a unigram vocabulary (Kudo 2018) of ``vocabulary_size`` entries.

    Those are the five special tokens, 256 byte tokens, which spell what no piece covers, and pieces.
    Text is normalised by NFKC and runs of white space count as one space, in training as in use.

    Raises:
        LangliftError: sentencepiece is not installed, or the text is too small for the vocabulary.
    """
    try:
        import sentencepiece
    except ImportError:
        raise LangliftError("training a tokenizer needs sentencepiece", "pip install 'langlift[vocab]'") from None
    normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(normalizer.normalize_str(line) for line in lines),
            model_writer=model,
            model_type="unigram",
            # sentencepiece counts three specials of its own, we five.
            vocab_size=vocabulary_size - len(SPECIAL) + 3,
            byte_fallback=True,
            character_coverage=character_coverage,
            normalization_rule_name="identity",
            input_sentence_size=600_000,
            shuffle_input_sentence=True,
            max_sentence_length=8192,
            minloglevel=1,
        )
    except RuntimeError as error:
        reason = str(error).rsplit(") ] ", 1)[-1].strip().splitlines()[-1]
        raise LangliftError(
            f"the tokenizer could not be trained: {reason}", "use a smaller vocabulary or more text"
        ) from None
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [
        (trained.id_to_piece(i), trained.get_score(i))
        for i in range(trained.get_piece_size())
        if not (trained.is_control(i) or trained.is_unknown(i))
    ]
    vocabulary = [(token, 0.0) for token in SPECIAL] + pieces
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=SPECIAL.index("<unk>"), byte_fallback=True))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=model_max_length,
        model_input_names=["input_ids", "attention_mask"],
    )
