"""What is measured of vocabularies equals a count by hand; advice follows the table; the command says it all."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import MALTESE

from langlift.backbones.loading import load_tokenizer
from langlift.diagnosis.advice import Advice, FamilyPlan, advise, advise_family, new_tokens, plan, recipe_for
from langlift.diagnosis.measures import BaseMeasures, GraphSize, LanguageText, TextSize, read_language
from langlift.errors import InputError
from langlift.language_facts import DataSize, Exposure, exposure
from langlift.languages import find_language
from langlift.training.cost import StepTime
from langlift.training.recipes import FamilyRecipe
from langlift.vocab.diagnosis import VocabularyFit, count_letters, own_fertility, vocabulary_fit

AMHARIC = ["ሰላም ዓለም እንዴት ነህ", "ውሃ እና ዳቦ አለ"]


def fit_of(folder: Path, lines: list[str]) -> VocabularyFit:
    return vocabulary_fit(load_tokenizer(str(folder)), lines, count_letters(lines))


def test_a_vocabulary_is_measured_as_by_hand(tmp_path: Path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dar", "##na", "b", "##ajda", "-", ".", "##ħ"]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    # dar | dar ##na | b ##ajda | b ##ħ | [UNK] | [UNK]
    lines = ["dar darna bajda.", "bħ - għan żgħir"]
    fit = vocabulary_fit(fast, lines, count_letters(lines))
    assert (fit.words, fit.tokens) == (6, 11)
    assert fit.fertility == pytest.approx((1 + 2 + 2 + 2 + 1 + 1) / 6)
    assert fit.whole_words == pytest.approx(1 / 6), "a word that is one unknown token is not kept whole"
    assert fit.unknown_words == pytest.approx(2 / 6)
    assert fit.unknown_share == pytest.approx(2 / 11)
    assert fit.characters_per_token == pytest.approx(sum(map(len, lines)) / 11)
    letters = Counter("".join(lines).replace(" ", "").replace("-", "").replace(".", ""))
    assert "ħ" not in {m.letter for m in fit.missing}, "it is there inside words"
    assert {m.letter for m in fit.missing} >= {"g", "ż"}
    assert fit.missing[0].share == pytest.approx(letters[fit.missing[0].letter] / letters.total())
    assert fit.letter_coverage == pytest.approx(1 - sum(m.share for m in fit.missing))


def test_a_script_that_is_not_there_is_unknown_or_bytes(tiny_bert: Path, tiny_xlm_roberta: Path):
    wordpiece = fit_of(tiny_bert, AMHARIC)
    assert (wordpiece.unknown_words, wordpiece.byte_share, wordpiece.letter_coverage) == (1.0, 0.0, 0.0)
    assert wordpiece.whole_words == 0.0
    unigram = fit_of(tiny_xlm_roberta, AMHARIC)
    assert unigram.unknown_words == 0.0 and unigram.byte_share > 0.7
    assert unigram.letter_coverage == pytest.approx(0.0)
    assert unigram.fertility is not None and unigram.fertility > 6, "three bytes a letter"


def test_byte_level_vocabularies_have_bytes_too(maltese_lines: list[str]):
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(maltese_lines, vocab_size=600, show_progress=False)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer._tokenizer)
    own = vocabulary_fit(fast, maltese_lines, count_letters(maltese_lines))
    foreign = vocabulary_fit(fast, AMHARIC, count_letters(AMHARIC))
    assert own.byte_share < 0.02 and own.letter_coverage > 0.99 and own.unknown_share == 0
    assert foreign.byte_share > 0.6 and foreign.letter_coverage == pytest.approx(0.0)


def test_without_spaces_nothing_is_said_of_words(tiny_xlm_roberta: Path):
    fit = vocabulary_fit(
        load_tokenizer(str(tiny_xlm_roberta)), ["ฉันกินข้าว"], count_letters(["ฉันกินข้าว"]), spaced=False
    )
    assert (fit.fertility, fit.whole_words, fit.unknown_words) == (None, None, None)
    assert fit.characters_per_token > 0
    assert "ั" in {m.letter for m in fit.missing}, "vowel marks are letters of the language"


def test_a_vocabulary_of_its_own_is_learned_on_other_lines(maltese_lines: list[str]):
    known = own_fertility(["dar " * 50, "triq " * 50], ["dar triq"])
    assert known == 1.0
    assert own_fertility(["dar " * 50], ["qxz"]) == 3.0, "what it never met it cuts into letters"
    assert own_fertility([], ["dar"]) is None
    value = own_fertility(maltese_lines[50:], maltese_lines[:50])
    assert value is not None and 1.0 < value < 3.0


def test_what_a_base_saw():
    maltese, welsh = find_language("mlt"), find_language("cym")
    assert exposure("FacebookAI/xlm-roberta-base", welsh).megabytes == pytest.approx(1066.1, abs=0.1)
    assert exposure("FacebookAI/xlm-roberta-base", maltese).seen is False
    assert exposure("google-bert/bert-base-multilingual-cased", welsh).source == "wikipedia"
    assert exposure("langlift-nano", find_language("amh")) == Exposure(True, 4.1, None, [])
    assert exposure("langlift-nano", find_language("uig")).same_script == ["arb_Arab"]
    assert exposure("somebody/model", maltese) == Exposure(None, None, None, [])


def test_a_model_that_pretrain_made_tells_what_it_saw(tmp_path):
    (tmp_path / "metrics.json").write_text('{"text_bytes": {"mlt_Latn": 64000, "swh_Latn": 2000000}}')
    (tmp_path / "model").mkdir()
    maltese, hausa = find_language("mlt"), find_language("hau")
    assert exposure(str(tmp_path / "model"), maltese) == Exposure(True, 0.064, str(tmp_path), ["swh_Latn"])
    assert exposure(str(tmp_path), hausa) == Exposure(False, None, None, ["mlt_Latn", "swh_Latn"])
    (tmp_path / "metrics.json").write_text('{"loss": 1}')
    assert exposure(str(tmp_path / "model"), maltese) == Exposure(None, None, None, [])


def text_of(size: int, own: float | None = 1.2, lines: int = 8000, **changes) -> LanguageText:
    text = LanguageText(
        language=find_language("Maltese"),
        spaced=True,
        paths=(Path("my text.txt"),),
        size=TextSize(lines, size // 6, size // 40, size, size, 1.0),
        graph_path=None,
        graph=None,
        published={},
        letters=Counter("a"),
        own_fertility=own,
        train=["dar"] * lines,
        measured=[],
        scored=[],
    )
    return replace(text, **changes)


def base_of(name: str = "somebody/model", saw: bool | None = True, fertility: float = 1.5, **fit) -> BaseMeasures:
    values = {"whole_words": 0.6, "unknown_words": 0.0, "unknown_share": 0.0, "byte_share": 0.0, "missing": []}
    vocabulary = VocabularyFit(
        vocabulary_size=1000, tokens=10, words=10, characters=40, fertility=fertility, characters_per_token=4.0,
        letter_coverage=fit.pop("letter_coverage", 1.0), **(values | fit),
    )  # fmt: skip
    seen = Exposure(saw, None, None, [])
    return BaseMeasures(
        base=name, per_character=9.0, sentences=30, precision="float32", vocabulary=vocabulary, exposure=seen,
        step=StepTime(0.5, 300, "seq_bn", 16, "float32"),
    )  # fmt: skip


def small_base(**settings) -> BaseMeasures:
    return replace(base_of(**settings), parameters=9_000_000)


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        (text_of(5_000_000), base_of(), ("keep", "seq_bn", "mlm")),
        (text_of(5_000_000), base_of(saw=False), ("keep", "seq_bn_inv", "mlm")),
        (text_of(5_000_000), base_of(saw=None), ("keep", "seq_bn_inv", "mlm")),
        (text_of(60_000), base_of(), ("keep", "lora", "mlm")),
        (text_of(60_000), base_of(saw=False), ("keep", "seq_bn_inv", "mlm")),
        (text_of(5_000_000), base_of(saw=False, fertility=2.5), ("specialise", "full", "mlm")),
        (text_of(5_000_000), base_of(saw=True, fertility=2.5), ("keep", "seq_bn", "mlm")),
        (text_of(700_000), base_of(saw=None, fertility=2.5), ("specialise", "full", "mlm")),
        (text_of(300_000), base_of(saw=None, fertility=2.5), ("extend", "full", "mlm")),
        (text_of(20_000), base_of(unknown_words=0.5), ("keep", "lora", "mlm")),
        (text_of(20_000), base_of(saw=False, fertility=3.5), ("keep", "seq_bn_inv", "mlm")),
        (text_of(700_000, own=2.9), base_of(saw=False, fertility=3.5), ("keep", "seq_bn_inv", "mlm")),
        (text_of(5_000_000), base_of(letter_coverage=0.97), ("extend", "full", "mlm")),
        (text_of(5_000_000), base_of(unknown_words=0.05), ("extend", "full", "mlm")),
        (text_of(5_000_000), base_of(unknown_words=0.98, letter_coverage=0.1), ("specialise", "full", "mlm")),
        (text_of(300_000), base_of(unknown_words=0.98, letter_coverage=0.1), ("extend", "full", "mlm")),
        (text_of(5_000_000), small_base(), ("specialise", "full", "mlm")),
        (text_of(300_000), small_base(), ("extend", "full", "mlm")),
        (text_of(300_000), small_base(saw=False, fertility=2.5), ("extend", "full", "mlm")),
        (text_of(20_000), small_base(saw=False, fertility=2.5), ("keep", "full", "mlm")),
        (
            text_of(5_000_000, graph=GraphSize(500, 3, 10_000), graph_path=Path("graph")),
            base_of(),
            ("keep", "seq_bn", "targeted"),
        ),
        (
            text_of(5_000_000, graph=GraphSize(50, 3, 10_000), graph_path=Path("graph")),
            base_of(),
            ("keep", "seq_bn", "mlm"),
        ),
    ],
)  # fmt: skip
def test_advice_follows_the_thresholds(text: LanguageText, base: BaseMeasures, expected: tuple[str, str, str]):
    chosen = plan(text, base)
    assert (chosen.vocabulary, chosen.method, chosen.objective) == expected
    advice = advise(text, base, chosen, recipe_for(base.base, chosen))
    assert advice.text and advice.commands[-1].startswith("langlift adapt mlt_Latn ")
    assert len(advice.commands) == (1 if expected[0] == "keep" else 3)
    assert bool(advice.alternative) == (expected[1] == "full")
    assert ("languages with langlift-nano, this advice was" in advice.text) == (base.parameters is not None)


def test_what_keeps_the_vocabulary_is_the_same_advice_as_without_need_of_another():
    """Little text in a language that the base saw: LoRA, also where new pieces come first in the advice."""
    text = text_of(60_000)
    base = base_of(unknown_words=0.05)
    chosen = plan(text, base)
    assert chosen.vocabulary == "extend"
    advice = advise(text, base, chosen, recipe_for(base.base, chosen))
    [kept] = advice.alternative
    assert "--method lora" in kept
    steps = int(kept.partition("--steps ")[2].split()[0])
    assert advice.alternative_seconds == steps * 0.5, "as timed"


def family_advice(languages: list[LanguageText], bases: list[BaseMeasures], **settings) -> Advice:
    family = FamilyPlan(Path("uralic.yaml"), "uralic", FamilyRecipe(**settings))
    return advise_family(family, languages, bases, StepTime(0.1, 1000, "full", 20, "float32"))


def test_a_family_gets_one_vocabulary_where_half_of_it_needs_one():
    well, badly = base_of("langlift-nano", saw=False), base_of("langlift-nano", saw=False, fertility=2.5)
    large, small = text_of(800_000), text_of(400_000)
    assert family_advice([large, small], [well, well]).vocabulary == "keep"
    assert family_advice([large, small], [well, badly]).vocabulary == "specialise"
    assert family_advice([large, small, large], [well, badly, well]).vocabulary == "extend"
    assert family_advice([small, small], [badly, badly]).vocabulary == "extend", "too little text for a new one"
    assert family_advice([text_of(20_000)] * 2, [badly, badly]).vocabulary == "keep", "too little for any piece"
    [build, _] = family_advice([small, small], [badly, badly]).commands
    assert f"--pieces {new_tokens([small, small])}" in build and new_tokens([small, small]) < 4000
    advice = family_advice([large, small], [well, badly], steps=50, accumulation=10)
    assert (advice.steps, advice.seconds) == (50, pytest.approx(50 * 10 * 0.1))
    by_tokens = family_advice([large, small], [well, badly], tokens=100_000, accumulation=10)
    assert (by_tokens.steps, by_tokens.seconds) == (10, pytest.approx(100 * 0.1))


def test_commands_are_those_of_the_command_line(monkeypatch: pytest.MonkeyPatch):
    """Every option of the commands that are advised exists."""
    import shlex

    import typer

    from langlift.cli.main import app

    advised: list[str] = []
    for text, base in (
        (text_of(5_000_000), base_of("langlift-nano", saw=False, fertility=2.5)),
        (text_of(700_000, graph=GraphSize(500, 3, 9), graph_path=Path("g")), base_of(saw=False, fertility=2.5)),
        (text_of(5_000_000, graph=GraphSize(500, 3, 9), graph_path=Path("g")), base_of()),
    ):
        chosen = plan(text, base)
        advice = advise(text, base, chosen, recipe_for(base.base, chosen))
        advised += [*advice.commands, *advice.alternative]
    for fertility in (1.5, 2.5):
        texts = [text_of(600_000), text_of(600_000)]
        advised += family_advice(texts, [base_of("langlift-nano", saw=False, fertility=fertility)] * 2).commands
    commands = typer.main.get_command(app).commands
    checked = 0
    for line in advised:
        words = shlex.split(line)[1:]
        group, name = (commands, words[0])
        if words[0] not in commands:
            continue
        if words[0] == "vocab":
            group, name = commands["vocab"].commands, words[1]
        options = {option for parameter in group[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
        checked += 1
    assert checked >= 5
    assert any("'my text.txt'" in line for line in advised), "paths are quoted"
    assert any("--preset nano" in line for line in advised), "a changed langlift-nano has another name"
    assert any("--data g" in line and "targeted" in line for line in advised)


def test_advice_says_time_steps_and_where_more_text_is():
    text = text_of(700_000, published={"glotcc": DataSize(10, 182.0)}, lines=4000)
    chosen = plan(text, base := base_of(saw=False))
    advice = advise(text, base, chosen, recipe_for(base.base, chosen))
    assert advice.steps == 20 * 4000 / 16
    assert advice.seconds == advice.steps * 0.5
    assert "5,000 steps of 16 sentences, 20 passes" in advice.text and "41 min 40 s" in advice.text
    assert "182 MB in GlotCC" in advice.text
    long = text_of(900_000_000, lines=1_000_000)
    advice = advise(long, base, chosen, recipe_for(base.base, chosen))
    assert advice.steps == 100_000, "the published schedule is the most"
    assert "--steps 90000" in advice.text, "13 h 53 min do not fit in twelve hours"
    untimed = replace(base, step=None)
    advice = advise(text, untimed, chosen, recipe_for(base.base, chosen))
    assert advice.seconds is None and "on this machine" not in advice.text
    wrong = replace(text, size=replace(text.size, script_share=0.1))
    assert "is it the right text" in advise(wrong, base, chosen, recipe_for(base.base, chosen)).text


def test_two_bases_are_ranked(langlift, tiny_bert: Path, tiny_xlm_roberta: Path, tmp_path: Path):
    page = tmp_path / "diagnosis.html"
    arguments = ["diagnose", "Maltese", "--base", tiny_bert, "--base", tiny_xlm_roberta, "--text", MALTESE]
    result = langlift(*arguments, "--sentences", 4, "--out", page, "--json")
    assert result.code == 0, result.err
    ranking = result.json["ranking"]
    assert set(ranking) == {str(tiny_bert), str(tiny_xlm_roberta)}
    assert list(ranking.values()) == sorted(ranking.values())
    language = result.json["languages"][0]
    assert [base["measures"]["base"] for base in language["bases"]] == list(ranking)
    assert language["text"]["script_share"] == pytest.approx(1.0, abs=0.01)
    for base in language["bases"]:
        assert base["measures"]["step"]["seconds"] > 0
        assert base["advice"]["seconds"] == pytest.approx(
            base["advice"]["steps"] * base["measures"]["step"]["seconds"], rel=0.01, abs=0.06
        )
    assert result.json["advice"] == language["bases"][0]["advice"]
    assert {"name", "value", "meaning", "reason", "origin"} == set(result.json["thresholds"][0])
    content = page.read_text(encoding="utf-8")
    assert "<svg" in content and "tokens per word" in content and "langlift adapt" in content

    shown = langlift(*arguments, "--sentences", 2, "--no-timing")
    assert "Best first" in shown.out and "not timed" in shown.out
    quick, longer = shown.out.index("\nNext: the quick way"), shown.out.index("What is recommended takes longer.")
    assert quick < longer < shown.out.index("\nIn commands:\n"), "the cheap way leads"


def test_a_base_that_reads_only_blanks_ranks_last(
    langlift, tiny_bert: Path, tiny_xlm_roberta: Path, tmp_path: Path
):
    """Guessing [UNK] is easy: the value per character alone would put the blind base first."""
    import torch

    from langlift.backbones.loading import load_masked_model

    words = ["ሰላም", "ዓለም", "እንዴት", "ነህ", "ውሃ", "እና", "ዳቦ", "አለ", "ቤት", "ልጅ"]
    text = tmp_path / "amharic.txt"
    text.write_text(
        "".join(f"{' '.join(words[i % 10 :] + words[: i % 10])}።\n" for i in range(40)), encoding="utf-8"
    )
    blind = load_masked_model(str(tiny_bert))
    with torch.no_grad():
        blind.cls.predictions.bias[load_tokenizer(str(tiny_bert)).unk_token_id] += 30
    folder = tmp_path / "blind"
    blind.save_pretrained(folder)
    load_tokenizer(str(tiny_bert)).save_pretrained(folder)
    result = langlift(
        "diagnose", "amh", "--base", folder, "--base", tiny_xlm_roberta, "--text", text, "--no-timing", "--json"
    )
    assert result.code == 0, result.err
    assert list(result.json["ranking"]) == [str(tiny_xlm_roberta), str(folder)]
    values = result.json["ranking"]
    assert values[str(folder)] < values[str(tiny_xlm_roberta)]
    last = result.json["languages"][0]["bases"][1]
    assert last["measures"]["vocabulary"]["unknown_words"] == 1.0
    assert "100% of the words have a part that the vocabulary cannot represent" in last["advice"]["text"]


def test_a_family(langlift, tiny_xlm_roberta: Path, tmp_path: Path):
    (tmp_path / "amh.txt").write_text(
        "".join(f"{line} ቁጥር {i} ነው።\n" for i in range(30) for line in AMHARIC), encoding="utf-8"
    )
    family = tmp_path / "both.yaml"
    family.write_text(
        f"name: both\nbase: {tiny_xlm_roberta}\nlanguages:\n  mlt: {MALTESE}\n  amh: amh.txt\n"
        "steps: 10\nbatch_size: 2\naccumulation: 3\n",
        encoding="utf-8",
    )
    picture = tmp_path / "both.svg"
    result = langlift("diagnose", family, "--sentences", 2, "--out", picture, "--json")
    assert result.code == 0, result.err
    assert [language["language"] for language in result.json["languages"]] == ["mlt_Latn", "amh_Ethi"]
    assert result.json["picture"] == str(picture)
    svg = picture.read_text(encoding="utf-8")
    assert "Maltese" in svg and "Amharic" in svg
    advice = result.json["advice"]
    assert advice["steps"] == 10 and advice["seconds"] > 0
    assert advice["commands"][-1].startswith(f"langlift adapt-family {family} ")
    assert "Amharic" in advice["text"]
    assert langlift("diagnose", family, "--text", MALTESE).code == 2


def test_a_graph_is_counted(langlift, tiny_xlm_roberta: Path, tmp_path: Path):
    from importlib.resources import files

    triples = Path(str(files("langlift") / "bundled" / "mlt_Latn_graph.tsv"))
    graph = tmp_path / "graph"
    built = langlift("graph", "build", "mlt", "--source", f"conceptnet:{triples}", "--out", graph, "--json")
    assert built.code == 0, built.err
    text = read_language(find_language("mlt"), [MALTESE], graph)
    assert text.graph is not None and text.graph.sentences > 250 and text.graph.relations > 3
    with pytest.raises(InputError, match="contains no triples"):
        read_language(find_language("mlt"), [MALTESE], MALTESE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["Maltese", "--base", "langlift-nano"], "no text is given"),
        (["Maltese", "--text", MALTESE], "no base model is given"),
        (["Maltese", "--text", MALTESE, "--base", "a", "--base", "a"], "given twice"),
        (["Maltese", "--text", MALTESE, "--base", "./no-such"], "no such model folder"),
        (["Maltese", "--text", "no.txt", "--base", "langlift-nano"], "no.txt: no such file"),
        (["mlt_Abcd", "--text", MALTESE, "--base", "langlift-nano"], "Abcd"),
        (["Maltese", "--text", MALTESE, "--base", "langlift-nano", "--out", "a.png"], "neither .svg nor .html"),
        (["Maltese", "--text", MALTESE, "--base", "langlift-nano", "--sentences", 0], "at least one"),
        (["no.yaml"], "no.yaml"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(langlift, arguments: list[object], message: str):
    result = langlift("diagnose", *arguments, "--json")
    assert result.code == 2
    assert message in result.error["error"]
    assert "\n" not in result.error["error"]


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "vocabulary", "method"),
    [
        ("mlt_Latn", "extend", "full"),
        ("uig_Arab", "specialise", "full"),
        ("cym_Latn", "specialise", "full"),
        ("amh_Ethi", "keep", "seq_bn"),
        ("eng_Latn", "keep", "seq_bn"),
    ],
)
def test_real_languages(langlift, data_folder: Path, language: str, vocabulary: str, method: str):
    text = data_folder / "corpus" / f"{language}.txt"
    result = langlift(
        "diagnose", language, "--base", "langlift-nano", "--text", text, "--no-timing", "--sentences", 5, "--json"
    )
    assert result.code == 0, result.err
    assert (result.json["advice"]["vocabulary"], result.json["advice"]["method"]) == (vocabulary, method)
    json.dumps(result.json)
