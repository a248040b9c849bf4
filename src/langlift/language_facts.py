"""Facts about languages: codes, published data sizes, and the base models that were pre-trained on them."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from langlift.files import read_json
from langlift.languages import Language, find_language, own_codes

TWO_LETTERS = {"tgl": "tl", "nob": "nb"}
"""Codes that langcodes replaces: it treats Tagalog as Filipino, and Bokmål as Norwegian."""
SOURCES = ("conceptnet", "glotcc", "cc100", "wikipedia")
FACTS = Path(__file__).parent / "facts"


@dataclass(frozen=True)
class DataSize:
    """The size of a public data set in one language; for ConceptNet, ``documents`` are sentences."""

    documents: int
    megabytes: float


@dataclass(frozen=True)
class LanguageFacts:
    """Facts about one language.

    ``iso639_1``: the two-letter code, if there is one. ``sizes``: an entry for each source with a published size
    (arXiv 2502.10140, 30 languages). ``seen_by``: an entry for each base model whose languages are known.
    """

    language: str
    name: str
    script: str
    iso639_1: str | None
    flores_200: bool
    joshi_class: int | None
    sizes: dict[str, DataSize]
    seen_by: dict[str, bool]


@dataclass(frozen=True)
class Exposure:
    """Whether a base model was pre-trained on a language, according to the tables.

    ``seen`` is None if the base is not in them. ``megabytes``: the approximate amount of text (from ``source``),
    None if not published. ``same_script``: the other languages of its pre-training data in the same script.
    """

    seen: bool | None
    megabytes: float | None
    source: str | None
    same_script: list[str]


@dataclass(frozen=True)
class LanguageTable:
    """The result of ``langlift languages``.

    Each entry of ``languages`` has the keys language, name, script, iso639_1, flores_200, joshi_class, sizes (by
    source: documents, megabytes) and seen_by (by base model: whether it was pre-trained on the language).
    """

    languages: list[LanguageFacts]


def facts_of(language: Language) -> LanguageFacts:
    """Everything about a language in the tables of ``facts/``."""
    code = str(language)
    row = _seed_rows().get(code, {})
    two_letters = _iso639_1(language)
    return LanguageFacts(
        language=code,
        name=language.name,
        script=language.script,
        iso639_1=two_letters,
        flores_200=code in flores_languages(),
        joshi_class=int(row["joshi_class"]) if row else None,
        sizes={source: size for source in SOURCES if (size := _size(row, source)) is not None},
        seen_by={base: code in seen for base, seen in base_languages().items()},
    )


def exposure(base: str, language: Language) -> Exposure:
    """A base model's exposure to a language, by the tables, or by its run if ``langlift pretrain`` made it."""
    code = str(language)
    entry = next((e for name, e in _base_models().items() if base in (name, *e["also"])), None)
    if entry is None:
        return _as_pretrained_here(base, language)
    languages = base_languages()[base]
    related = sorted(other for other in languages - {code} if other.endswith(f"_{language.script}"))
    if code not in languages:
        return Exposure(False, None, None, related)
    source = entry.get("text")
    size = _size(_seed_rows().get(code, {}), source) if source else None
    megabytes = size.megabytes if size else entry.get("most_megabytes")
    return Exposure(True, megabytes, source if size else None, related)


def _as_pretrained_here(base: str, language: Language) -> Exposure:
    """The exposure recorded by ``langlift pretrain`` in the model's folder or its parent."""
    for folder in (Path(base), Path(base).parent):
        if not (sizes := read_json(folder / "metrics.json").get("text_bytes")):
            continue
        related = sorted(name for name in sizes if name.endswith(f"_{language.script}") and name != str(language))
        seen = str(language) in sizes
        return Exposure(seen, sizes[str(language)] / 1e6 if seen else None, str(folder) if seen else None, related)
    return Exposure(None, None, None, [])


def known_languages() -> list[LanguageFacts]:
    """Every language in the tables, sorted by name."""
    codes = set(flores_languages()) | set(_seed_rows()) | set().union(*base_languages().values())
    return sorted((facts_of(find_language(code)) for code in codes), key=lambda facts: facts.name)


@cache
def flores_languages() -> frozenset[str]:
    """The languages of FLORES-200 (and of SIB-200), such as ``mlt_Latn``."""
    return frozenset((FACTS / "flores_200.txt").read_text(encoding="utf-8").split())


@cache
def seed_language_codes() -> Mapping[str, str]:
    """The codes in the tables of arXiv 2502.10140 -> languages, such as ``mt`` -> ``mlt_Latn``."""
    return {row["iso639_1"]: code for code, row in _seed_rows().items()}


def fact_rows(name: str) -> list[dict[str, str]]:
    """The rows of a table in ``facts/``."""
    with (FACTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def base_languages() -> Mapping[str, frozenset[str]]:
    """Base model -> the languages of its pre-training data, such as ``mlt_Latn``."""
    seen: dict[str, frozenset[str]] = {}
    for base, entry in _base_models().items():
        languages = frozenset(str(find_language(code)) for code in entry["languages"].split())
        languages |= seen.get(entry.get("from", ""), frozenset())
        seen |= dict.fromkeys((base, *entry["also"]), languages)
    return seen


def base_shape(base: str) -> tuple[int, int, int] | None:
    """Hidden size, layers and vocabulary size of a base model, or None if it is not in the tables."""
    entry = _base_models().get(base, {}).get("shape")
    return None if entry is None else (entry["hidden_size"], entry["layers"], entry["vocabulary"])


@cache
def _base_models() -> Mapping[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = yaml.safe_load((FACTS / "base_models.yaml").read_text(encoding="utf-8"))
    return content


@cache
def _seed_rows() -> Mapping[str, dict[str, str]]:
    return {row["flores_code"]: row for row in fact_rows("seed_languages.csv")}


def _size(row: Mapping[str, str], source: str) -> DataSize | None:
    documents = row.get(f"{source}_sentences") or row.get(f"{source}_docs")
    megabytes, gigabytes = row.get(f"{source}_mb"), row.get(f"{source}_gb")
    if not documents or not (megabytes or gigabytes):
        return None
    return DataSize(int(documents), float(megabytes) if megabytes else 1000 * float(gigabytes or 0))


def _iso639_1(language: Language) -> str | None:
    """The two-letter code, perhaps that of the macrolanguage."""
    from langcodes import standardize_tag

    tags = [str(standardize_tag(code)) for code in own_codes(language)]
    return TWO_LETTERS.get(language.code) or next((tag for tag in tags if len(tag) == 2), None)
