"""Build a vocabulary for one or several languages: a new one in the manner of a base model's, or an extension."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from langlift.backbones.base_name import BaseName
from langlift.backbones.loading import load_tokenizer
from langlift.errors import InputError
from langlift.files import check_new_folder, new_folder
from langlift.languages import find_language
from langlift.progress import ProgressBar
from langlift.vocab.applying import write_record
from langlift.vocab.corpora import read_corpora
from langlift.vocab.extension import extended
from langlift.vocab.parts import fertility, kind_of, state_of, token_ids
from langlift.vocab.recipe import VocabRecipe
from langlift.vocab.tokenizer_training import train_tokenizer


@dataclass(frozen=True)
class BuildResult:
    """What ``langlift vocab build`` made.

    ``size`` counts all entries. ``new_characters`` and ``new_joined`` count what an extension added, and are
    0 for a new vocabulary. ``before`` and ``after`` say how finely the base's and this vocabulary cut the
    corpus (``vocab.parts.fertility``); ``lines_changed`` is the share of the measured lines that they cut
    differently. ``shares`` are the corpora's shares of the lines drawn.
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
    """Write a folder that ``AutoTokenizer`` loads: a vocabulary of ``recipe.size`` entries from the train
    splits of ``corpus``, or ``base``'s with ``recipe.pieces`` more.

    ``language`` is a language, or any name, such as a family's: it goes into the record alone.

    Raises:
        InputError: base or corpus cannot be read, or ``out`` is not free.
        LangliftError: the text is too small for the vocabulary.
    """
    check_new_folder(out)
    corpora = read_corpora(corpus, recipe.alpha)
    base = BaseName.of(base)
    source = load_tokenizer(base)
    new_characters = new_joined = 0
    if extend:
        extension = extended(source, list(corpora.drawn(recipe.seed)), recipe.pieces)
        target = extension.tokenizer
        new_characters, new_joined = len(extension.characters), len(extension.joined)
    else:
        with ProgressBar("training the vocabulary", 1, "vocabularies") as bar:
            target = train_tokenizer(
                corpora.drawn(recipe.seed), recipe.kind, recipe.size, source, recipe.character_coverage
            )
            bar.advance()
    sample = corpora.sample()
    changed = sum(
        before != after for before, after in zip(_cut(source, sample), _cut(target, sample), strict=True)
    )
    result = BuildResult(
        vocabulary=str(out),
        language=_name(language),
        base=base.name,
        kind="extension" if extend else kind_of(state_of(target)),
        size=len(target),
        new_characters=new_characters,
        new_joined=new_joined,
        shares={str(path): round(share, 6) for path, share in zip(corpora.paths, corpora.shares, strict=True)},
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
        write_record(staging, record)
    return result


def _cut(tokenizer: Any, lines: Sequence[str]) -> Iterator[list[str]]:
    return map(tokenizer.convert_ids_to_tokens, token_ids(tokenizer, lines))


def _name(language: str) -> str:
    try:
        return str(find_language(language))
    except InputError:
        return language
