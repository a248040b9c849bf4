"""A generated dump in ConceptNet's official form: many languages, some of everything that is dropped."""

import json
import random
from itertools import accumulate
from pathlib import Path

SHARES = (
    "en fr de es it ru pt ja zh la fi pl nl sv ar ms no sh cs hu ca bg da tr el ro sk fa eo vi ko sl uk he hi th "
    "et lt is ga sq mt sw ug am te ta ka hy kk az bn ur ne si km lo my bo dz yo ig ha zu xh so rw sn ln"
)
"""ConceptNet's codes of languages, those with most edges first."""
LANGUAGES = tuple(SHARES.split())
UNKNOWN_LANGUAGES = ("roa-opt", "zh_tw")
RELATIONS = {
    "RelatedTo": 30, "FormOf": 20, "DerivedFrom": 10, "HasContext": 8, "Synonym": 8, "IsA": 8, "ExternalURL": 6,
    "EtymologicallyRelatedTo": 3, "Antonym": 1, "AtLocation": 1, "UsedFor": 1, "PartOf": 1, "CapableOf": 1,
    "dbpedia/genre": 1, "dbpedia/influencedBy": 1,
}  # fmt: skip
ENDINGS = ("", "", "/n", "/n", "/v", "/a", "/n/wn/artifact", "/n/wikt/en_1")
LETTERS = (
    "abcdefghijklmnoprstuvz",
    "абвгдежзийклмнопрстуя",
    "αβγδεζηικλμνοπρστυω",
    "ابتجدرسعفقكلمنهوي",
    "कखगचजटडतदनपमयरलवसह",
)
WIKTIONARY = (
    '{{"dataset": "/d/wiktionary/{edition}", "license": "cc:by-sa/4.0", "sources": [{{"contributor": '
    '"/s/resource/wiktionary/{edition}", "process": "/s/process/wikiparsec/2"}}], "weight": {weight}}}'
)
SURFACE = (
    '{{"dataset": "/d/conceptnet/4/en", "license": "cc:by/4.0", "sources": [{{"activity": '
    '"/s/activity/omcs/omcs1_possibly_free_text", "contributor": "/s/contributor/omcs/user{weight}"}}], '
    '"surfaceEnd": {end}, "surfaceStart": {start}, "surfaceText": {text}, "weight": {weight}}}'
)
WEIGHTS = ("1.0", "1.0", "1.0", "2.0", "0.5", "2.828", "4.472")
DAMAGED = (
    "no columns at all",
    "/a/x\t/r/IsA\t/c/en/cut_short",
    '/a/x\t/r/IsA\t/c/en/cat\t/c/en/animal\t{"weight": ',
    '/a/x\t/r/IsA\tcat\t/c/en/animal\t{"weight": 1.0}',
)
ROWS_A_DAMAGE = 10_000


def write_dump(path: Path, rows: int, seed: int = 0) -> None:
    """Write a dump of ``rows`` rows, the same for the same seed; one in 10,000 is damaged, 3 % occur twice."""
    chance = random.Random(seed)
    shares = [1 / (place + 1) for place in range(len(LANGUAGES))]
    up_to = list(accumulate(shares))
    terms = {
        language: [_term(chance, LETTERS[place % len(LETTERS)]) for _ in range(max(50, int(rows * share / 30)))]
        for place, (language, share) in enumerate(zip(LANGUAGES, shares, strict=True))
    }
    terms |= {language: ["mot", "parole"] for language in UNKNOWN_LANGUAGES}
    relations, weighted = list(RELATIONS), list(accumulate(RELATIONS.values()))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        line = ""
        for number in range(rows):
            if number % ROWS_A_DAMAGE == ROWS_A_DAMAGE - 1:
                file.write(chance.choice(DAMAGED) + "\n")
                continue
            if number % 33 or not line:
                [language] = chance.choices(LANGUAGES, cum_weights=up_to)
                if chance.random() < 0.002:
                    language = chance.choice(UNKNOWN_LANGUAGES)
                other = language if chance.random() < 0.7 else chance.choice(LANGUAGES)
                [relation] = chance.choices(relations, cum_weights=weighted)
                line = _row(chance, relation, (language, chance.choice(terms[language])), (other, terms[other]))
            file.write(line)


def _term(chance: random.Random, letters: str) -> str:
    words = 1 + (chance.random() < 0.3)
    return "_".join("".join(chance.choices(letters, k=chance.randint(3, 10))) for _ in range(words))


def _row(chance: random.Random, relation: str, head: tuple[str, str], tails: tuple[str, list[str]]) -> str:
    tail = chance.choice(tails[1])
    start = f"/c/{head[0]}/{head[1]}{chance.choice(ENDINGS)}"
    end = f"/c/{tails[0]}/{tail}{chance.choice(ENDINGS)}"
    weight = chance.choice(WEIGHTS)
    if relation == "ExternalURL":
        end = f"http://example.org/{tails[0]}/{tail}"
    if chance.random() < 0.2:
        surface = {"start": head[1], "end": tail, "text": f"[[{head[1]}]] is [[{tail}]]"}
        # As in the dump: not ASCII alone.
        texts = {name: json.dumps(text.replace("_", " "), ensure_ascii=False) for name, text in surface.items()}
        metadata = SURFACE.format(weight=weight, **texts)
    else:
        metadata = WIKTIONARY.format(edition=chance.choice(("en", "fr", "de")), weight=weight)
    return f"/a/[/r/{relation}/,{start}/,{end}/]\t/r/{relation}\t{start}\t{end}\t{metadata}\n"
