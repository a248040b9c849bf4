"""A language goes by many names, and each of them leads to the same language or to a helpful refusal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.errors import InputError, printable
from langlift.languages import INDIVIDUAL, Language, find_language

NOT_LATIN = {
    "am": ("amh", "Ethi"),
    "ti": ("tir", "Ethi"),
    "ru": ("rus", "Cyrl"),
    "bg": ("bul", "Cyrl"),
    "el": ("ell", "Grek"),
    "he": ("heb", "Hebr"),
    "hi": ("hin", "Deva"),
    "lo": ("lao", "Laoo"),
    "ug": ("uig", "Arab"),
    "ka": ("kat", "Geor"),
    "zh": ("zho", "Hans"),
}


@pytest.mark.parametrize("text", ["mt", "mlt", "MLT", "mlt_Latn", "mt-Latn", "mT_lATN", "Maltese", " maltese "])
def test_codes_and_names_in_any_form_mean_one_language(text):
    assert find_language(text) == Language("mlt", "Latn", "Maltese")


@pytest.mark.parametrize("short", NOT_LATIN)
def test_the_usual_script_is_taken_for_a_two_letter_code(short):
    code, script = NOT_LATIN[short]
    assert str(find_language(short)) == f"{code}_{script}"


@pytest.mark.parametrize("short", NOT_LATIN)
def test_the_usual_script_is_taken_for_a_three_letter_code(short):
    code, script = NOT_LATIN[short]
    assert find_language(code) == find_language(short)
    assert find_language(code).script == script


def test_a_script_that_is_given_is_kept():
    assert str(find_language("sr_Latn")) == "srp_Latn"
    assert str(find_language("sr_Cyrl")) == "srp_Cyrl"
    assert str(find_language("amh_Latn")) == "amh_Latn"


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("ar", "arb_Arab"),
        ("Arabic", "arb_Arab"),
        ("sw", "swh_Latn"),
        ("fa", "pes_Arab"),
        ("Norwegian", "nob_Latn"),
    ],
)
def test_a_macrolanguage_means_the_individual_language_that_public_data_means(text, meant):
    assert str(find_language(text)) == meant


@pytest.mark.parametrize("individual", sorted(set(INDIVIDUAL.values()) - {"pbt", "quy"}))
def test_individual_languages_have_an_english_name(individual):
    found = find_language(individual)
    assert found.code == individual
    assert found.name != individual


@pytest.mark.parametrize(("individual", "name"), [("pbt_Arab", "Pashto"), ("quy_Latn", "Quechua")])
def test_an_individual_language_goes_by_the_name_of_its_macrolanguage(individual, name):
    assert find_language(individual).name == name


@pytest.mark.parametrize(("old", "code"), [("ger", "deu"), ("fre", "fra"), ("wel", "cym")])
def test_a_bibliographic_code_means_the_same_language(old, code):
    assert find_language(old).code == code


def test_a_name_that_is_also_the_code_of_another_language_is_refused_with_both():
    with pytest.raises(InputError, match=r"gle_Latn.*gaa_Latn|gaa_Latn.*gle_Latn"):
        find_language("Ga")


def test_an_ambiguous_name_lists_the_choices_as_codes_that_work():
    with pytest.raises(InputError, match="'Sami' may be several languages") as refusal:
        find_language("Sami")
    message = refusal.value.message
    assert "sme_Latn (Northern Sami)" in message
    assert "smj_Latn (Lule Sami)" in message
    assert find_language("sme_Latn").name == "Northern Sami"


@pytest.mark.parametrize("text", ["", "   ", "xxx", "Klingonese", "mlt_Xxxx", "mlt_Latnn", "mlt_Latn_MT", "мт"])
def test_what_names_no_language_is_refused(text):
    with pytest.raises(InputError, match="unknown language") as refusal:
        find_language(text)
    assert "mlt_Latn" in refusal.value.hint
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Deutsch", "deu_Latn"),
        ("Kiswahili", "swh_Latn"),
        ("Cymraeg", "cym_Latn"),
        ("Yorùbá", "yor_Latn"),
        ("Bahasa Indonesia", "ind_Latn"),
        ("Русский", "rus_Cyrl"),
        ("farsi", "pes_Arab"),
        ("Baskisch", "eus_Latn"),
        ("Sepedi", "nso_Latn"),
    ],
)
def test_names_in_the_language_itself_or_another_are_known(name, meant):
    assert str(find_language(name)) == meant


def test_a_language_that_is_not_in_cldr_has_a_name():
    assert find_language("kus") == find_language("Kusaal") == Language("kus", "Latn", "Kusaal")


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("Gaelic", ["gla_Latn (Scottish Gaelic)", "gle_Latn (Irish)", "glv_Latn (Manx)"]),
        ("Tonga", ["tog_Latn (Nyasa Tonga)", "toi_Latn (Tonga (Zambia))", "ton_Latn (Tongan)"]),
        ("Sotho", ["nso_Latn (Northern Sotho)", "sot_Latn (Southern Sotho)"]),
        ("Creole", [" more"]),
    ],
)
def test_a_name_of_several_languages_lists_them(name, choices):
    with pytest.raises(InputError, match="may be several languages") as refusal:
        find_language(name)
    assert [choice for choice in choices if choice not in refusal.value.message] == []


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("Ouolof", ["Wolof (wol_Latn)"]),
        ("Welhs", ["Welsh (cym_Latn)"]),
        ("Deutch", ["German (deu_Latn)", "Dutch (nld_Latn)"]),
    ],
)
def test_of_a_misspelt_name_the_nearest_are_told(misspelt, meant):
    with pytest.raises(InputError, match="unknown language") as refusal:
        find_language(misspelt)
    assert "did you mean" in refusal.value.hint
    assert [name for name in meant if name not in refusal.value.hint] == []


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.one_of(st.text(max_size=12), st.from_regex(r"[A-Za-z]{2,3}([_-][A-Za-z]{4})?", fullmatch=True)))
def test_any_text_is_a_language_that_finds_itself_again_or_is_refused(text):
    try:
        language = find_language(text)
    except InputError as refusal:
        assert printable(" ".join(text.splitlines())) in refusal.message
        return
    again = find_language(str(language))
    assert (again.code, again.script) == (language.code, language.script)


def test_a_refusal_is_one_line_whatever_was_asked():
    with pytest.raises(InputError) as refusal:
        find_language("il-\nMalti")
    assert "\n" not in refusal.value.message
