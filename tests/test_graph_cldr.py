"""Triples from CLDR: real ones, for every locale that Babel has."""

import json
from collections import Counter
from pathlib import Path
from unicodedata import is_normalized

import pytest
from babel.localedata import locale_identifiers

from langlift.data_folder import SPLITS
from langlift.errors import InputError
from langlift.graph.building import build_graph, build_graphs
from langlift.graph.cldr import KINDS, PREDICATES, cldr_locales, locale_of, read_cldr
from langlift.languages import find_language


def triples(locale: str) -> set[tuple[str, str, str]]:
    return {(edge.head, edge.relation, edge.tail) for edge in read_cldr(locale, "xxx_Xxxx")}


def test_what_is_true_of_malta_stands_in_it() -> None:
    maltese = triples("mt")
    assert {
        ("Malti", "OfficialLanguageOf", "Malta"),
        ("Ingliż", "OfficialLanguageOf", "Malta"),
        ("ewro", "CurrencyOf", "Malta"),
        ("Malti", "IsA", "language"),
        ("Malta", "IsA", "territory"),
        ("ewro", "IsA", "currency"),
        ("It-Tlieta", "ComesAfter", "It-Tnejn"),
        ("It-Tnejn", "ComesAfter", "Il-Ħadd"),
        ("Frar", "ComesAfter", "Jannar"),
        ("Jannar", "ComesAfter", "Diċembru"),
    } <= maltese
    assert ("ISO", "IsA", "currency") not in maltese
    assert Counter(relation for _, relation, _ in maltese)["ComesAfter"] == 19
    assert ("Kiswahili", "OfficialLanguageOf", "Tanzania") in triples("sw")
    assert ("февраль", "ComesAfter", "январь") in triples("ru"), "as it stands alone, not as in a date"


@pytest.mark.parametrize("regional", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_locale_reads_and_says_only_names(regional: bool) -> None:
    """In any order: Babel's own cache would give one locale's months to another."""
    identifiers = sorted(locale_identifiers() if regional else cldr_locales().values(), key=hash)
    assert len(identifiers) > (900 if regional else 300)
    empty = set()
    for locale in identifiers:
        edges = list(read_cldr(locale, "xxx_Xxxx"))
        relations = Counter(edge.relation for edge in edges)
        assert relations.keys() <= {"IsA", *PREDICATES}
        assert relations["ComesAfter"] in (0, 7, 12, 19), locale
        for edge in edges:
            assert edge.head == " ".join(edge.head.split()) != ""
            assert is_normalized("NFC", edge.head) and is_normalized("NFC", edge.tail)
            assert (edge.tail_language == "eng_Latn") == (edge.relation == "IsA")
            assert edge.relation != "IsA" or edge.tail in KINDS.values()
        if not edges:
            empty.add(
                "_".join(part for part in locale.split("_") if len(part) != 2 or part == locale.split("_")[0])
            )
    assert len(empty) < 20
    assert triples("de") & {("Februar", "ComesAfter", "Januar")}


def test_names_in_another_language_are_no_names() -> None:
    """CLDR lets Haitian Creole inherit from French, and Hindi in Latin script from English."""
    for locale in ("ht", "ht_HT"):
        assert not triples(locale) & triples("fr")
    hindi = triples("hi_Latn")
    assert ("Budhwaar", "ComesAfter", "Mangalwaar") in hindi
    assert not hindi & triples("en_IN")
    assert {head for head, relation, _ in triples("nn") if relation == "ComesAfter"} >= {"laurdag", "mars"}
    assert ("Februar", "ComesAfter", "Jänner") in triples("de_AT"), "a region inherits from its language"


def test_languages_and_their_locales() -> None:
    for name, locale in (
        ("mlt", "mt"),
        ("swh", "sw"),
        ("srp_Latn", "sr_Latn"),
        ("zho_Hant", "zh_Hant"),
        ("npi", "ne"),
    ):
        assert locale_of(find_language(name)) == locale
    assert locale_of(find_language("por"), "pt_PT") == "pt_PT"
    assert locale_of(find_language("por"), "pt-PT") == "pt_PT"
    with pytest.raises(InputError, match="cldr:de: a locale of German"):
        locale_of(find_language("mlt"), "de")
    with pytest.raises(InputError, match="cldr:xx: CLDR has no such locale"):
        locale_of(find_language("mlt"), "xx")
    with pytest.raises(InputError, match="CLDR has no locale of Mesopotamian Arabic"):
        locale_of(find_language("acm"))


def test_a_folder_from_cldr_alone(langlift, tmp_path: Path) -> None:
    built = langlift("graph", "build", "hau", "--source", "cldr", "--out", tmp_path / "graph", "--json")
    assert built.code == 0, built.err
    assert built.json["sources"][0]["kind"] == "cldr" and built.json["sources"][0]["locale"] == "ha"
    assert set(built.json["relations"]) == {"IsA", *PREDICATES}
    assert built.json["licences"] == {"Unicode-3.0": built.json["rows"]}
    rows = [
        json.loads(line)
        for split in SPLITS
        for line in (tmp_path / "graph" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert "Faburairu comes after Janairu." in [row["text"] for row in rows]
    none = langlift("graph", "build", "cop", "--source", "cldr", "--out", tmp_path / "none", "--json")
    assert none.code == 2
    assert "CLDR's locale cop has no names in Coptic" in none.error["error"]


def test_own_triples_and_cldr_in_one_folder(tmp_path: Path) -> None:
    own = tmp_path / "own.tsv"
    own.write_text("head\trelation\ttail\nqattus\tIsA\tannimal\n", encoding="utf-8")
    result = build_graph(find_language("mlt"), [f"triples:{own}", "cldr"], tmp_path / "graph")
    assert [source["kind"] for source in result.sources] == ["triples", "cldr"]
    assert result.rows == sum(source["rows"] for source in result.sources)
    assert result.rows == result.kept + sum(result.dropped.values())


@pytest.mark.slow
def test_all_locales_build(tmp_path: Path) -> None:
    """A folder for each language, or a reason why there is none."""
    result = build_graphs(None, ["cldr"], tmp_path / "all")
    named = {name for name, locale in cldr_locales().items() if triples(locale)}
    assert set(result.languages) | set(result.too_small) == named
    assert len(result.languages) > 250
    for reason in result.too_small.values():
        assert "are too few for three splits" in reason
