"""The numbers that advice turns on, each with its reason and where it comes from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A limit. ``origin`` is ``published``, ``measured`` (here, with langlift-nano) or ``rule of thumb``."""

    name: str
    value: float
    meaning: str
    reason: str
    origin: str


UNKNOWN_WORDS = Threshold(
    "unknown_words",
    0.01,
    "share of running words with an unknown part, from which the vocabulary must change",
    "what is read as unknown can neither be learned nor written, however long the training",
    "rule of thumb",
)
MISSING_LETTERS = Threshold(
    "missing_letters",
    0.01,
    "share of running letters that the vocabulary lacks, from which the vocabulary should change",
    "langlift-nano lacks at most 0.3 % of the letters of the languages it was made for; 5 % of Maltese, 21 % of "
    "Uyghur, which it was not",
    "measured",
)
TIMES_OWN = Threshold(
    "times_own",
    2.0,
    "tokens per word over those of a vocabulary of the language's own, from which the vocabulary should change "
    "where the base did not see the language",
    "twice the tokens is twice the training time; langlift-nano needs 1.4 to 2.2 times as many for languages it "
    "was made for, 1.9 to 5.4 times for others; arXiv 2405.12413 reports 2 to 3 times the cost without a "
    "specialised vocabulary",
    "measured",
)
MOST_LETTERS = Threshold(
    "most_letters",
    0.5,
    "share of running letters that the vocabulary lacks, from which a new one is advised whatever the tokens per "
    "word",
    "a script that it has never seen: hardly one of its pieces serves, and where an unknown token stands for a "
    "whole word, tokens per word look good",
    "rule of thumb",
)
TEXT_FOR_OWN = Threshold(
    "text_for_own_vocabulary",
    1e6,
    "bytes of text from which a vocabulary of its own pays; below, the base's is extended",
    "each new piece must be met often enough to be learned",
    "rule of thumb",
)
TEXT_FOR_PIECES = Threshold(
    "text_for_new_pieces",
    50e3,
    "bytes of text below which no new piece is advised",
    "each new piece must be met often enough to be learned",
    "rule of thumb",
)
WORDS_PER_PIECE = Threshold(
    "words_per_piece",
    50,
    "running words of text for each piece that is added",
    "each new piece must be met often enough to be learned",
    "rule of thumb",
)
SMALL_TEXT = Threshold(
    "small_text",
    100e3,
    "bytes of text below which LoRA is advised for a language the base saw",
    "it changes least: trained on little data (ConceptNet, at most 8 MB), LoRA left mBERT's perplexity in "
    "languages it had seen nearest to the base's (13.9, Seq_bn 16.6, Seq_bn_inv 23.3, base 13.1; medians of arXiv "
    "2502.10140; XLM-R: 8.9, 8.7, 10.1, 7.0); the limit itself is a rule of thumb",
    "published",
)
CUT_FINELY = Threshold(
    "cut_finely",
    3.2,
    "tokens per word from which whole words are masked (objective full_word), and from which the vocabulary "
    "should change where the text is too small to learn one to compare with",
    "a word in many pieces gives a masked piece away by its neighbours; langlift-nano needs 1.5 to 3.0 for "
    "languages it was made for",
    "measured",
)
PASSES = Threshold(
    "passes",
    20,
    "most passes over the training sentences",
    "the published runs made at most 6 passes (over far more text); the best weights on held-out text are kept, "
    "so more costs only time",
    "rule of thumb",
)
GRAPH_SENTENCES = Threshold(
    "graph_sentences",
    100,
    "triples from which a graph is trained on beside the text",
    "the smallest graph of arXiv 2502.10140 had a thousand; a graph is a supplement to text, not in its place",
    "rule of thumb",
)
UNREADABLE = Threshold(
    "unreadable",
    0.05,
    "share of running words with an unknown part, from which a base ranks behind those that read the text",
    "an unknown token hides many letters and is easily guessed, so that the value per character flatters",
    "rule of thumb",
)
ONE_SITTING = Threshold(
    "one_sitting",
    12 * 3600,
    "seconds of training from which the steps that fit in are told too",
    "a night",
    "rule of thumb",
)

THRESHOLDS = (
    UNKNOWN_WORDS,
    MISSING_LETTERS,
    TIMES_OWN,
    MOST_LETTERS,
    TEXT_FOR_OWN,
    TEXT_FOR_PIECES,
    WORDS_PER_PIECE,
    SMALL_TEXT,
    CUT_FINELY,
    PASSES,
    GRAPH_SENTENCES,
    UNREADABLE,
    ONE_SITTING,
)
