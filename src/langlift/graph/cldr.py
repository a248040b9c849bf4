"""Triples from Unicode's CLDR, included in Babel: names of languages, territories, currencies, days and months.

For many languages it is the only structured source. Nothing is downloaded. Names that CLDR only inherits from its
root locale or from another language (French for Haitian Creole) are left out.
"""

from collections.abc import Iterator, Mapping
from functools import cache

from langlift.errors import InputError
from langlift.graph.conceptnet import clean_term
from langlift.graph.source_files import Edge
from langlift.languages import Language, find_language

PREDICATES = {
    "OfficialLanguageOf": "is an official language of",
    "CurrencyOf": "is a currency of",
    "ComesAfter": "comes after",
}
"""Words for the relations that ConceptNet does not have."""
KINDS = {"languages": "language", "territories": "territory", "currencies": "currency"}
"""English words for the kinds of names, as CLDR has none."""
ENGLISH = "eng_Latn"
NOT_NAMED = {"languages": {"mul", "und", "zxx", "root"}, "territories": {"XA", "XB", "ZZ"}, "currencies": {"XXX"}}
"""Codes without a meaning."""
ROOT = ("Mon", "M01")
"""The first day and the first month in CLDR's root locale."""
NORWEGIAN = {"no", "nb", "nn"}
"""Two written forms of one language: CLDR leaves out of ``nn`` what is the same in ``no``."""
LICENCE = "Unicode-3.0"


@cache
def cldr_locales() -> Mapping[str, str]:
    """Language (``mlt_Latn``) -> its locale in Babel (``mt``), for every language that has one."""
    from babel.localedata import locale_identifiers

    locales: dict[str, str] = {}
    for identifier in sorted(locale_identifiers(), key=lambda text: (len(text), text)):
        if all(len(part) == 4 for part in identifier.split("_")[1:]):
            try:
                locales.setdefault(str(_language(identifier)), identifier)
            except InputError:
                continue  # not known to ``langlift.languages``, so it cannot be requested
    return locales


def locale_of(language: Language, given: str = "") -> str:
    """Babel's locale of a language, or the given one (``pt_PT``), which must be that language's."""
    from babel.localedata import exists, normalize_locale

    if not given:
        if str(language) not in cldr_locales():
            raise InputError(f"CLDR has no locale of {language.name} ({language})", "give another source")
        return cldr_locales()[str(language)]
    locale = normalize_locale(given.replace("-", "_")) if exists(given.replace("-", "_")) else None
    if locale is None:
        raise InputError(f"--source cldr:{given}: CLDR has no such locale", "a name such as mt, pt_PT or zh_Hant")
    if (found := _language(locale)).code != language.code:
        raise InputError(
            f"--source cldr:{given}: a locale of {found.name} ({found}), not of {language.name}", "leave it out"
        )
    return locale


def read_cldr(locale: str, language: str) -> Iterator[Edge]:
    """Yield the edges of a locale, with names in ``language``.

    Relations: ``IsA`` (a language, a territory, a currency), ``OfficialLanguageOf`` and ``CurrencyOf`` (a
    territory, today), ``ComesAfter`` (days of the week, months of the year).
    """
    for line, (head, relation, tail, tail_language) in enumerate(_triples(locale, language), start=1):
        yield Edge(line, head, language, relation, tail, tail_language, 1.0, LICENCE)


def _triples(locale: str, language: str) -> Iterator[tuple[str, str, str, str]]:
    from babel import Locale
    from babel.languages import get_official_languages
    from babel.numbers import get_territory_currencies

    found, lender = Locale.parse(locale), _lender(locale)
    names = {kind: _names(kind, getattr(found, kind)) for kind in KINDS}
    if lender is not None:
        for kind, of_kind in names.items():
            lent = _names(kind, getattr(Locale.parse(lender), kind))
            names[kind] = {code: name for code, name in of_kind.items() if lent.get(code) != name}
    for kind, word in KINDS.items():
        for name in names[kind].values():
            yield name, "IsA", word, ENGLISH
    for code, territory in names["territories"].items():
        for spoken in get_official_languages(code):
            # With a script where there are several: sr_Latn.
            if (spoken := spoken.split("_")[0]) in names["languages"]:
                yield names["languages"][spoken], "OfficialLanguageOf", territory, language
        for currency in get_territory_currencies(code):
            if currency in names["currencies"]:
                yield names["currencies"][currency], "CurrencyOf", territory, language
    for circle in ("days", "months"):
        alone = _names_alone(locale, circle)
        terms = [clean_term(alone[place]) for place in sorted(alone)]
        borrowed = lender is not None and alone == _names_alone(lender, circle)
        if not borrowed and all(terms) and terms[0] not in ROOT:
            for before, after in zip(terms, terms[1:] + terms[:1], strict=True):  # the first after the last
                yield after, "ComesAfter", before, language


def _lender(locale: str) -> str | None:
    """The locale of another language from which CLDR takes missing names: French for Haitian Creole."""
    from babel.core import get_global

    language = locale.split("_")[0]
    own = NORWEGIAN if language in NORWEGIAN else {language, "root"}
    while locale:
        locale = get_global("parent_exceptions").get(locale) or locale.rpartition("_")[0]
        if locale and locale.split("_")[0] not in own:
            return locale
    return None


def _names(kind: str, names: Mapping[str, str]) -> dict[str, str]:
    """Names by code, without groups (``es_MX``, ``001``) and codes without a meaning."""
    terms = {code: clean_term(name) for code, name in names.items() if code not in NOT_NAMED[kind]}
    return {code: name for code, name in terms.items() if code.isalpha() and name not in ("", code)}


def _names_alone(locale: str, circle: str) -> Mapping[int, str]:
    """Names of days or months as used outside dates; if CLDR has none, as in dates.

    Read from Babel's stored data: ``Locale(...).months`` caches the alias from one form to the other for the
    locale that is asked first, and returns it for all others.
    """
    from babel.localedata import load

    forms = load(locale)[circle]
    alone, in_dates = (forms[form]["wide"] for form in ("stand-alone", "format"))
    if isinstance(alone, tuple):
        return {**in_dates, **alone[1]}
    return alone if type(alone) is dict else in_dates


def _language(identifier: str) -> Language:
    """The language of a locale, with its script where the locale has one."""
    parts = identifier.split("_")
    return find_language("_".join(part for part in parts[:2] if part == parts[0] or len(part) == 4))
