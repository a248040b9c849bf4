"""Build a vocabulary for one or more languages: a new one like a base model's, or an extension of it."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import load_tokenizer
from langlift.errors import InputError
from langlift.files import check_new_folder, new_folder, write_json
from langlift.languages import find_language
from langlift.notebook import Shown
from langlift.progress import ProgressBar
from langlift.vocab.corpora import read_corpora
from langlift.vocab.extension import extended
from langlift.vocab.parts import RECORD, State, fertility, token_ids
from langlift.vocab.recipe import VocabRecipe
from langlift.vocab.tokenizer_training import train_tokenizer


@dataclass(frozen=True)
class BuildResult(Shown):
    """The result of ``langlift vocab build``.

    ``size``: the number of entries. ``new_characters`` and ``new_joined``: the number of characters and merged
    tokens that an extension added; 0 for a new vocabulary. ``before`` and ``after``: how finely the base's and
    this vocabulary split the corpus (``vocab.parts.fertility``); ``lines_changed``: the share of lines that they
    split differently. ``shares``: the share of each corpus in the sampled lines.
    """

    vocabulary: str
    language: str
    base: str
    kind: str
    size: int
    new_characters: int
    new_joined: int
    shares: dict[str, float]
    before: dict[str, float]
    after: dict[str, float]
    lines_changed: float


def build_vocabulary(
    language: str,
    base: BaseName | str,
    corpus: Sequence[Path],
    out: Path,
    recipe: VocabRecipe,
    extend: bool = False,
) -> BuildResult:
    """Write a tokenizer folder: a vocabulary of ``recipe.size`` entries from the train splits of ``corpus``.

    With ``extend`` it is the vocabulary of ``base`` with ``recipe.pieces`` more tokens. ``language`` is a language
    or any name, such as that of a family; it is only recorded.

    Raises:
        InputError: base or corpus cannot be read, or ``out`` is not empty.
        LangliftError: the text is too small for the vocabulary.
    """
    check_new_folder(out)
    corpora = read_corpora(corpus, recipe.alpha)
    base = BaseName.of(base)
    source = load_tokenizer(base)
    characters: list[str] = []
    joined: list[str] = []
    if extend:
        target, characters, joined = extended(source, list(corpora.sampled(recipe.seed)), recipe.pieces)
    else:
        with ProgressBar("training the vocabulary", 1, "vocabularies") as bar:
            target = train_tokenizer(
                corpora.sampled(recipe.seed), recipe.kind, recipe.size, source, recipe.character_coverage
            )
            bar.advance()
    sample = corpora.measured()
    split = [map(each.convert_ids_to_tokens, token_ids(each, sample)) for each in (source, target)]
    changed = sum(before != after for before, after in zip(*split, strict=True))
    with suppress(InputError):
        language = str(find_language(language))
    result = BuildResult(
        vocabulary=str(out),
        language=language,
        base=base.name,
        kind="extension" if extend else State.of(target).kind,
        size=len(target),
        new_characters=len(characters),
        new_joined=len(joined),
        shares={str(path): round(share, 6) for path, share in zip(corpus, corpora.shares, strict=True)},
        before=fertility(source, sample),
        after=fertility(target, sample),
        lines_changed=round(changed / len(sample), 4),
    )
    record = {
        "command": "vocab build",
        "corpora": corpora.described(),
        "result": asdict(result) | {"vocabulary": out.name, "shares": None},
        "vocab": asdict(recipe),
    }
    with new_folder(out) as staging:
        target.save_pretrained(staging)
        write_json(staging / RECORD, record)
    return result
