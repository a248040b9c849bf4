"""Named entities: BIO files are read or refused, every word is labelled, and a run learns, scores and predicts."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from langlift.adapters.bottleneck import SeqBnConfig
from langlift.adapters.composition import attach, train_only
from langlift.backbones.loading import load_masked_model, load_tokenizer
from langlift.errors import InputError
from langlift.evaluation.metrics import entity_f1, entity_spans
from langlift.masking import IGNORED
from langlift.tasks.input_rows import read_word_rows
from langlift.tasks.learner import Item, Reading
from langlift.tasks.ner import TaggedWords, bio_tags, read_conll
from langlift.tasks.recipe import TaskRecipe
from langlift.tasks.runner import train_task
from langlift.tasks.tagging import WordEncoder
from langlift.tasks.task import TASKS

NER = TASKS["ner"].learner
fuzzing = settings(
    derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = {"PER": ["Marija", "Pawlu Borg", "Toni"], "LOC": ["Għawdex", "Malta", "il-Belt Valletta"]}


def conll(sentences, gap=" "):
    return "\n\n".join("\n".join(f"{word}{gap}{tag}" for word, tag in s) for s in sentences) + "\n"


def sentence(number):
    """A sentence with a person and a place, as words with tags."""
    words = [("Illum", "O")]
    for kind, after in (("PER", "mar"), ("LOC", ".")):
        names = NAMES[kind]
        parts = names[number % len(names)].split()
        words += [(part, f"{'I' if place else 'B'}-{kind}") for place, part in enumerate(parts)]
        words.append((after, "O"))
    return words


@pytest.fixture(scope="module")
def ner_folder(tmp_path_factory) -> Path:
    """A small set; one training tag needs repair, and one test sentence is longer than the model's input."""
    folder = tmp_path_factory.mktemp("ner")
    train = [sentence(i // 3 + i) for i in range(40)]
    train[0] = [("Toni", "I-PER"), *train[0]]
    (folder / "train.conll").write_text(conll(train), encoding="utf-8")
    (folder / "dev.txt").write_text(conll([sentence(i) for i in range(9)], "\t"), encoding="utf-8")
    long = [word for i in range(12) for word in sentence(i)]
    (folder / "test.conll").write_text(conll([*(sentence(i) for i in range(9)), long]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(tiny_bert: Path, ner_folder: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("ner-run") / "run"
    recipe = TaskRecipe(
        method="full", epochs=8, learning_rate=3e-3, batch_size=8, seeds=(1, 2), precision="float32"
    )  # as predict computes: a tie must not fall otherwise
    train_task("ner", str(tiny_bert), ner_folder, out, recipe)
    return out


def test_a_run_learns_and_counts_repairs(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["metric"] == "entity_f1"
    assert metrics["mean"] > 75, "the names are the same in train and test; one sentence is unlike any in train"
    assert metrics["baseline"]["most_frequent_tag"] == pytest.approx(100)
    assert metrics["repaired"] == {"train_inside_without_begin": 1}
    seed = json.loads((run / "seed-1" / "metrics.json").read_text())
    assert seed["test_entity_f1"] == metrics["seeds"][0]
    assert seed["test_strict_entity_f1"] == metrics["further"]["strict_entity_f1"]["seeds"][0]
    assert seed["test_sentences_in_windows"] == 1
    card = (run / "seed-1" / "README.md").read_text(encoding="utf-8")
    assert "token-classification" in card and "| entity F1 on test |" in card
    rows = [json.loads(line) for line in (run / "seed-1" / "test_predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 10
    assert all(len(row["words"]) == len(row["gold"]) == len(row["predicted"]) for row in rows)
    again = entity_f1([row["gold"] for row in rows], [row["predicted"] for row in rows])
    assert again == pytest.approx(seed["test_entity_f1"])
    golds, found = [row["gold"] for row in rows], [row["predicted"] for row in rows]
    strict = f1_score(golds, found, mode="strict", scheme=IOB2, zero_division=0)
    assert seed["test_strict_entity_f1"] == pytest.approx(100 * strict)


def test_settings_that_cannot_be_combined_are_refused_before_anything_is_written(
    tiny_bert: Path, ner_folder: Path, tmp_path: Path
):
    recipe = TaskRecipe(label_subwords="every", pooling="mean")
    with pytest.raises(InputError, match="there is no mean to classify"):
        train_task("ner", str(tiny_bert), ner_folder, tmp_path / "run", recipe)
    assert not (tmp_path / "run").exists()


def test_new_text_gets_the_tags_that_were_measured(run: Path, ner_folder: Path, tmp_path: Path, langlift):
    out = tmp_path / "tags.conll"
    arguments = ["predict", run, "--seed", 1, "--text", ner_folder / "test.conll"]
    result = langlift(*arguments, "--out", out, "--json")
    assert result.code == 0, result.err
    assert result.json["task"] == "ner"
    assert result.json["rows"] == 10
    assert result.json["counts"].keys() == {"LOC", "PER"}
    measured = [json.loads(line) for line in (run / "seed-1" / "test_predictions.jsonl").read_text().splitlines()]
    written = list(read_conll(out))
    assert [s.input for s in written] == [row["words"] for row in measured]
    assert [s.gold for s in written] == [row["predicted"] for row in measured]
    assert langlift(*arguments, "--out", tmp_path / "tags.jsonl").code == 0
    for line, row in zip((tmp_path / "tags.jsonl").read_text().splitlines(), measured, strict=True):
        found = json.loads(line)
        assert found["tags"] == row["predicted"]
        assert [(e["type"], e["start"], e["end"]) for e in found["entities"]] == entity_spans(row["predicted"])
        for entity in found["entities"]:
            assert entity["text"] == " ".join(row["words"][entity["start"] : entity["end"]])
            inside = found["probabilities"][entity["start"] : entity["end"]]
            assert entity["probability"] == min(inside) > 0


def test_plain_text_is_split_into_words(run: Path, tmp_path: Path, langlift):
    text, out = tmp_path / "text.txt", tmp_path / "out.tsv"
    text.write_text('"Illum" Marija marret il-Belt Valletta (Malta).\n', encoding="utf-8")
    assert langlift("predict", run, "--text", text, "--out", out).code == 0
    header, row = out.read_text(encoding="utf-8").splitlines()
    assert header == "text\tentities\tprobabilities"
    result = langlift("predict", run, "--text", text, "--out", "-")
    found = json.loads(result.out.splitlines()[-1])
    assert found["words"] == [
        '"', "Illum", '"', "Marija", "marret", "il-Belt", "Valletta", "(", "Malta", ")", ".",
    ]  # fmt: skip
    assert row.split("\t")[1] == "; ".join(f"{e['type']}: {e['text']}" for e in found["entities"])


def test_words_to_label_are_read_as_tagged_ones_are(tmp_path: Path):
    file = tmp_path / "words.conll"
    file.write_bytes(b"-DOCSTART- -X- O\n\nIllum\tX\tO\r\nMarija\r\n\n\nil-Belt  O\n")
    assert [words for _, words in read_word_rows(file)] == [["Illum", "Marija"], ["il-Belt"]]
    file.write_text("Illum\tO\n\tO\n")
    with pytest.raises(InputError, match=r"words\.conll:2: no word"):
        list(read_word_rows(file))


def test_every_subword_as_published(tiny_xlm_roberta: Path, ner_folder: Path, tmp_path: Path):
    recipe = TaskRecipe(epochs=2, learning_rate=1e-2, seeds=(1,), label_subwords="every", reduction_factor=4.0)
    result = train_task("ner", str(tiny_xlm_roberta), ner_folder, tmp_path / "run", recipe)
    rows = (tmp_path / "run/seed-1/test_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(rows[0])["words"][0] == "Illum", "answers are still told by word"
    assert 0 <= result.mean <= 100
    assert json.loads((tmp_path / "run/seed-1/head.json").read_text())["label_subwords"] == "every"


@pytest.fixture(scope="session")
def bpe_tokenizer(maltese_lines) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as RoBERTa's and ModernBERT's."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(maltese_lines, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>",
        mask_token="<mask>", bos_token="<s>", eos_token="</s>", model_max_length=64,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model_of_64(tiny_bert: Path):
    """Any model: only its longest input matters here."""
    return load_masked_model(str(tiny_bert))


words = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=12)


@fuzzing
@given(
    sentences=st.lists(st.lists(words, min_size=1, max_size=40), min_size=1, max_size=3),
    family=st.sampled_from(["wordpiece", "unigram", "bpe"]),
    labelled=st.sampled_from(["first", "last", "every"]),
    longest=st.integers(8, 30),
)
def test_every_word_is_labelled_once_and_no_input_is_too_long(
    model_of_64, tiny_bert, tiny_xlm_roberta, bpe_tokenizer, sentences, family, labelled, longest
):
    tokenizer = {
        "wordpiece": lambda: AutoTokenizer.from_pretrained(tiny_bert),
        "unigram": lambda: AutoTokenizer.from_pretrained(tiny_xlm_roberta),
        "bpe": lambda: bpe_tokenizer,
    }[family]()
    encoder = WordEncoder(tokenizer, model_of_64, longest, labelled)
    numbers = [list(range(len(s))) for s in sentences]
    encoded = encoder.encode(sentences, numbers)
    assert all(len(e["input_ids"]) == len(e["labels"]) <= longest for e in encoded.examples)
    special = set(tokenizer.all_special_ids)
    rest = iter(encoded.examples)
    for s, windows, counts in zip(sentences, encoded.windows, encoded.counts, strict=True):
        parts = [next(rest) for _ in range(windows)]
        labels = np.concatenate([part["labels"] for part in parts])
        numbered = labels[labels != IGNORED]
        assert numbered.tolist() == [n for n, count in enumerate(counts) for _ in range(count)]
        assert len(counts) == len(s)
        assert labelled == "every" or set(counts) == {1}
        for part in parts:
            assert part["input_ids"][0] in special and part["input_ids"][-1] in special
        whole = tokenizer(" ".join(s), add_special_tokens=False)["input_ids"]
        inner = [int(t) for part in parts for t in part["input_ids"][1:-1]]
        room = longest - 2
        if all(len(tokenizer(word, add_special_tokens=False)["input_ids"]) < room for word in s):
            unknown = tokenizer.unk_token_id
            assert [t for t in inner if t != unknown] == [t for t in whole if t != unknown], "nothing is lost"
    assert next(rest, None) is None


def test_the_label_stands_on_a_words_first_token(tiny_xlm_roberta: Path):
    tokenizer = load_tokenizer(str(tiny_xlm_roberta))
    encoder = WordEncoder(tokenizer, load_masked_model(str(tiny_xlm_roberta)), 64)
    example = encoder.encode([["il-vapur", ",", "Valletta"]], [[5, 6, 7]]).examples[0]
    tokens = tokenizer.convert_ids_to_tokens(example["input_ids"])
    labelled = [(token, int(n)) for token, n in zip(tokens, example["labels"], strict=True) if n != IGNORED]
    assert [n for _, n in labelled] == [5, 6, 7]
    assert all(token.startswith("▁") for token, _ in labelled)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_flat_batches_equal_padded_ones(base: Path, pooling: str):
    """Loss and adapter gradients on the fast path are those of the naive one."""
    sentences = [["Illum"], ["Marija", "marret", "Għawdex", "."], ["Toni", "mar", "il-Belt"]]
    split = TaggedWords(sentences, [["O"], ["B-PER", "O", "B-LOC", "O"], ["B-PER", "O", "B-LOC"]])
    labels = ["O", "B-LOC", "B-PER"]
    found = []
    for path in ("naive", "fast"):
        model, tokenizer = load_masked_model(str(base)), load_tokenizer(str(base))
        torch.manual_seed(0)
        attach(model, "ner", SeqBnConfig(4))
        settings_ = NER.settings(TaskRecipe(pooling=pooling))
        classifier = NER.new_model(model, len(labels), settings_).eval()
        train_only(classifier, "ner")
        classifier.head.requires_grad_(True)
        encoder = NER.encoder(tokenizer, model, 64, settings_, path)
        batch = encoder.collate(encoder.examples(split.inputs, labels, split.gold))
        assert ("lengths" in batch) == (path == "fast")
        loss, count = NER.loss(classifier(batch), batch)
        loss.backward()
        assert int(count) == 8
        gradients = {n: p.grad for n, p in classifier.named_parameters() if p.requires_grad}
        answers = NER.predict(classifier, encoder, split.inputs, labels, bf16=False)
        found.append((loss.detach(), gradients, [a.tags for a in answers]))
    (naive, naive_gradients, naive_tags), (fast, fast_gradients, fast_tags) = found
    torch.testing.assert_close(fast, naive, rtol=1e-5, atol=1e-5)
    for name, gradient in naive_gradients.items():
        torch.testing.assert_close(fast_gradients[name], gradient, rtol=1e-4, atol=1e-5)
    assert naive_tags == fast_tags


def test_mean_pooling_classifies_the_mean_of_a_words_tokens(tiny_bert: Path):
    words, model = ["il-vapur", ",", "Valletta"], load_masked_model(str(tiny_bert))
    tokenizer = load_tokenizer(str(tiny_bert))
    settings_ = NER.settings(TaskRecipe(pooling="mean"))
    classifier = NER.new_model(model, 4, settings_).eval()
    encoder = NER.encoder(tokenizer, model, 64, settings_, "naive")
    # A word whose tag training does not know is left out with all its tokens.
    batch = encoder.collate(encoder.examples([words], ["A", "B"], [["A", "unknown", "B"]]))
    hidden = model.base_model(batch["input_ids"]).last_hidden_state[0]
    counts = [len(tokenizer(word, add_special_tokens=False)["input_ids"]) for word in words]
    assert counts[0] > 1 and counts[2] > 1
    means = [hidden[1 : 1 + counts[0]].mean(dim=0), hidden[1 + sum(counts[:2]) : 1 + sum(counts)].mean(dim=0)]
    torch.testing.assert_close(classifier(batch), classifier.head(torch.stack(means)))
    with pytest.raises(InputError, match="no mean"):
        NER.settings(TaskRecipe(pooling="mean", label_subwords="every"))


@pytest.mark.parametrize(
    ("gold", "predicted", "f1"),
    [
        (["B-PER", "I-PER", "O"], ["B-PER", "I-PER", "O"], 100),
        (["B-PER", "I-PER", "O"], ["B-PER", "O", "O"], 0),
        (["B-PER", "O", "B-LOC"], ["B-PER", "O", "B-ORG"], 50),
        (["B-PER", "O", "O"], ["I-PER", "O", "O"], 100),
        (["B-PER", "B-PER"], ["B-PER", "I-PER"], 0),
        (["O", "O"], ["O", "O"], 0),
    ],
)
def test_an_entity_counts_when_type_and_both_ends_agree(gold, predicted, f1):
    assert entity_f1([gold], [predicted]) == pytest.approx(f1)


def strict_by_the_book(tags: list[str]) -> set[tuple[str, int, int]]:
    """Entities that begin with B and go on with I of the same type, and nothing else."""
    found = set()
    for start, tag in enumerate(tags):
        if tag.startswith("B-"):
            end = start + 1
            while end < len(tags) and tags[end] == f"I-{tag[2:]}":
                end += 1
            found.add((tag[2:], start, end))
    return found


any_tags = st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=6, max_size=6)


@fuzzing
@given(gold=st.lists(any_tags, min_size=3, max_size=3), predicted=st.lists(any_tags, min_size=3, max_size=3))
def test_strict_f1_counts_no_entity_without_a_begin(gold, predicted):
    """By its definition, and by seqeval."""
    found = [[strict_by_the_book(tags) for tags in some] for some in (gold, predicted)]
    assert found == [[set(entity_spans(tags, strict=True)) for tags in some] for some in (gold, predicted)]
    right = sum(len(a & b) for a, b in zip(*found, strict=True))
    total = sum(len(spans) for some in found for spans in some)
    f1 = entity_f1(gold, predicted, strict=True)
    assert f1 == pytest.approx(200 * right / total if total else 0)
    assert f1 == pytest.approx(100 * f1_score(gold, predicted, mode="strict", scheme=IOB2, zero_division=0))


@fuzzing
@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=1, max_size=12))
def test_repaired_tags_are_valid_and_mean_the_same(tags):
    repairs = Reading(strict=False)
    fixed = bio_tags(Item(["x"] * len(tags), tags, str), "train", repairs)
    assert entity_spans(fixed) == entity_spans(tags)
    changed = sum(a != b for a, b in zip(tags, fixed, strict=True))
    assert repairs.counts == ({"train_inside_without_begin": changed} if changed else {})
    assert bio_tags(Item(["x"] * len(tags), fixed, str), "train", Reading(strict=True)) == fixed


@fuzzing
@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(
            st.sampled_from(["Malta", " ", "\t", "\n", "\n", "O", "B-LOC", "I-PER", "X", "\r", "\xa0", "\x00", "-DOCSTART- O"]),  # noqa: E501
            max_size=30,
        ).map(lambda parts: "".join(parts).encode()),
    )
)  # fmt: skip
def test_any_bytes_are_sentences_or_a_refusal_that_names_the_line(tmp_path, raw):
    file = tmp_path / "train.conll"
    file.write_bytes(raw)
    try:
        sentences = [(item, bio_tags(item, "train", Reading(strict=False))) for item in read_conll(file)]
    except InputError as refusal:
        assert re.match(rf"{re.escape(str(file))}:\d+: ", refusal.message)
        assert "\n" not in refusal.message
        return
    for item, tags in sentences:
        assert len(item.input) == len(tags) > 0
        assert all(word.strip() for word in item.input)


def test_what_is_wrong_is_said_by_file_and_line(ner_folder: Path, tiny_bert: Path, tmp_path: Path, langlift):
    def refused(*more, **files):
        folder = tmp_path / f"set{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for split in ("train", "dev", "test"):
            good = conll([sentence(0)])
            (folder / f"{split}.conll").write_text(files.get(split, good), encoding="utf-8")
        out = tmp_path / "never"
        result = langlift("task", "ner", "--base", tiny_bert, "--data", folder, "--out", out, "--json", *more)
        assert result.code == 2
        assert not out.exists()
        return result.error["error"].replace(str(folder), "")

    assert refused("--strict", train="Illum O\n\nToni I-PER\n").startswith("/train.conll:3: I-PER after the start")
    assert refused("--strict", test="Qorti B-ORG\n").startswith("/test.conll:1: the type 'ORG' never occurs")
    assert refused(dev="Illum O\nMalta LOC\n") == "/dev.conll:2: tag 'LOC' is not O, B-TYPE or I-TYPE"
    assert refused(dev="Illum O\nMalta\n") == "/dev.conll:2: not a word and its tag"
    assert refused(train="Illum O\n") == " (train): no entity, every tag is O"
    assert refused(test="\n\n") == "/test.conll: no examples"


def test_types_unknown_in_training_are_counted_and_missed(tiny_bert: Path, ner_folder: Path, tmp_path: Path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "test.conll").write_text("Toni B-PER\n\nQorti B-ORG\nKbira I-ORG\n", encoding="utf-8")
    recipe = TaskRecipe(epochs=1, seeds=(1,))
    result = train_task("ner", str(tiny_bert), foreign, tmp_path / "run", recipe, train_data=[ner_folder])
    assert result.repaired == {"train_inside_without_begin": 1, "test_of_unknown_type": 1}
    assert result.test_examples == 2
    assert result.baseline["most_frequent_tag"] == pytest.approx(200 / 3), "one of two found, none wrongly"


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_folder_in_the_hubs_format_reads_as_the_same_set(
    ner_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    own = NER.read(str(ner_folder), None, strict=False)
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    folder = tmp_path / "set"
    folder.mkdir()
    for split, name in (("train", "train"), ("dev", "validation"), ("test", "test")):
        data = getattr(own, split)
        rows = {"tokens": data.inputs, "ner_tags": [[names.index(t) for t in tags] for tags in data.gold]}
        features = datasets.Features(
            tokens=datasets.List(datasets.Value("string")),
            ner_tags=datasets.List(datasets.ClassLabel(names=names)),
        )
        table = datasets.Dataset.from_dict(rows, features=features)
        if form == "parquet":
            table.to_parquet(folder / f"{name}.parquet")
        else:
            table.to_json(folder / f"{name}.jsonl")
    if form == "jsonl":
        listed = "".join(f"\n            '{number}': {name}" for number, name in enumerate(names))
        (folder / "README.md").write_text(
            f"""---
dataset_info:
  features:
  - name: tokens
    list: string
  - name: ner_tags
    list:
      class_label:
        names:{listed}
---
"""
        )
    read = NER.read(str(folder), None, strict=True)
    assert (read.train, read.dev, read.test, read.labels) == (own.train, own.dev, own.test, own.labels)
    with pytest.raises(InputError, match="has named fields"):
        NER.read(str(folder), None, False, (1, 2))
    assert read.sha256 == NER.read(str(folder), None, strict=False).sha256 != own.sha256


@pytest.mark.data
@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_the_real_sets_are_read(data_folder: Path, every: int):
    for folder in sorted((data_folder / "eval" / "ner").iterdir())[::every]:
        data = NER.read(str(folder), None, strict=False)
        assert data.labels == [
            "O", "B-DATE", "I-DATE", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER",
        ], folder  # fmt: skip
        assert len(data.test) > 500
        assert NER.baselines(data.train, data.test)["most_frequent_tag"] > 20


WORDS = ["Juma", "Ali", "anaishi", "Dodoma", "."]
TAGS = ["B-PER", "I-PER", "O", "B-LOC", "O"]


@pytest.mark.parametrize(
    ("lines", "repaired"),
    [
        (["# sent_id = 1", *map(" ".join, zip(WORDS, TAGS, strict=True))], {}),
        (["# id 4f2a0 domain=train", *(f"{w} _ _ {t}" for w, t in zip(WORDS, TAGS, strict=True))], {}),
        (["# Swahili news, CC BY 4.0", "", *map(" ".join, zip(WORDS, TAGS, strict=True))], {}),
        ([f"sw:{w}\t{t}" for w, t in zip(WORDS, TAGS, strict=True)], {"prefixed": 5}),
        ([f"{i}\t{w}\t{t}" for i, (w, t) in enumerate(zip(WORDS, TAGS, strict=True), 1)], {"numbered": 5}),
        ([f"{w}\t{t}\tO" for w, t in zip(WORDS, TAGS, strict=True)], {}),
        ([f"{w}\tNNP\tB-NP\t{t}" for w, t in zip(WORDS, TAGS, strict=True)], {}),
        ([f"{w} {t}" for w, t in zip(WORDS, ["B-PER", "E-PER", "O", "S-LOC", "O"], strict=True)], {}),
        ([f"{w} {t}" for w, t in zip(WORDS, ["B-PER", "L-PER", "O", "U-LOC", "O"], strict=True)], {}),
    ],
)
def test_columns_comments_and_marks_of_other_formats(tmp_path: Path, lines: list[str], repaired: dict[str, int]):
    path = tmp_path / "train.conll"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    counts: Counter[str] = Counter()
    repairs = Reading(strict=True)
    [sentence] = read_conll(path, lambda kind: counts.update([kind]))
    assert sentence.input == WORDS
    assert bio_tags(sentence, "train", repairs) == TAGS
    assert counts == repaired
    converted = sum(bool(re.search(r"\b[ESLU]-", line)) for line in lines)
    assert repairs.counts == ({"train_converted_to_bio": converted} if converted else {})


def test_a_word_may_begin_with_a_hash_or_be_a_number(tmp_path: Path):
    path = tmp_path / "train.conll"
    path.write_text("#JumaAli B-PER\n# O\n\n1 O\n2 O\n\n# O\n", encoding="utf-8")
    assert [sentence.input for sentence in read_conll(path)] == [["#JumaAli", "#"], ["1", "2"], ["#"]]


def test_a_line_without_a_number_keeps_its_word(tmp_path: Path):
    path = tmp_path / "new.conll"
    path.write_text("1\tJuma\n2\tanaishi\n\n1\nMvua\tkubwa\n", encoding="utf-8")
    assert [words for _, words in read_word_rows(path)] == [["Juma", "anaishi"], ["1", "Mvua"]]


def test_withheld_text_is_an_error(tmp_path: Path):
    path = tmp_path / "train.conll"
    path.write_text("_ B-PER\n_ O\n\n_ O\n", encoding="utf-8")
    with pytest.raises(InputError, match="the text is withheld"):
        list(read_conll(path))


def test_numbers_are_recognised_after_sentences_of_one_word(tmp_path: Path):
    path = tmp_path / "train.conll"
    path.write_text("1 Iva O\n\n1 Le O\n\n1 Toni B-PER\n2 hawn O\n", encoding="utf-8")
    assert [sentence.input for sentence in read_conll(path)] == [["Iva"], ["Le"], ["Toni", "hawn"]]


@pytest.fixture
def nested_folder(tmp_path: Path) -> Path:
    """Line number, word, inner and outer tags; train has more outer entities, dev and test more inner ones."""
    lines = {
        "train": ["1 Toni O B-PER", "2 fl- O O", "3 Università B-ORG B-ORG", "4 ta' O I-ORG", "5 Malta O I-ORG"],
        "dev": ["1 Università B-ORG O", "2 ta' O O", "3 Malta B-LOC O"],
        "test": ["1 Toni B-PER B-PER", "2 Malta B-LOC O"],
    }
    for split, of_split in lines.items():
        (tmp_path / f"{split}.conll").write_text("\n".join(of_split) + "\n", encoding="utf-8")
    return tmp_path


def test_dev_and_test_are_read_like_train(nested_folder: Path):
    """Each guessed for itself, dev would have the inner tags and train the outer ones."""
    data = NER.read(str(nested_folder), None, strict=False)
    assert data.train.gold == [["B-PER", "O", "B-ORG", "I-ORG", "I-ORG"]]
    assert (data.dev.gold, data.test.gold) == ([["O", "O", "O"]], [["B-PER", "O"]])
    [remark] = data.remarks
    assert remark.startswith(f"{nested_folder / 'train.conll'}: the tags are column 3 of 3, not counting word")
    (nested_folder / "train.conll").rename(nested_folder / "dev.conll")
    with pytest.raises(InputError, match="train split is missing"):
        NER.read(str(nested_folder), None, strict=False)


def test_a_file_with_other_columns_is_named(nested_folder: Path):
    (nested_folder / "test.conll").write_text("Toni B-PER\nhawn O\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"test\.conll:1: 2 columns without word numbers, but .*train\.conll has 3"
    ):
        NER.read(str(nested_folder), None, strict=False)


def test_columns_can_be_chosen_and_are_recorded(tiny_bert: Path, nested_folder: Path, tmp_path: Path, langlift):
    with nested_folder.joinpath("train.conll").open("a", encoding="utf-8") as file:
        file.write("\n1 Malta B-LOC O\n2 Pawlu B-PER O\n")
    out, chosen = tmp_path / "run", ("--columns", "2,3")
    where = ("--base", tiny_bert, "--data", nested_folder, "--out", out, "--epochs", 1, "--seeds", "1")
    result = langlift("task", "ner", *where, *chosen, "--json")
    assert result.code == 0, result.err
    rows = [json.loads(line) for line in (out / "seed-1" / "test_predictions.jsonl").read_text().splitlines()]
    assert [(row["words"], row["gold"]) for row in rows] == [(["Toni", "Malta"], ["B-PER", "B-LOC"])]
    assert not result.json["repaired"] and not result.json["remarks"], "nothing is guessed"
    assert "columns:\n  - 2\n  - 3\n" in (out / "recipe.yaml").read_text()
    resumed = langlift("task", "ner", *where, "--columns", "2,4", "--resume", "--json")
    assert "columns = [2, 3], not [2, 4]" in resumed.error["error"]
    # Labelled alike, unless told otherwise.
    labelled = langlift("predict", out, "--text", nested_folder / "test.conll", "--out", "-")
    assert json.loads(labelled.out)["words"] == ["Toni", "Malta"]
    assert "words are those of column 2, as in training" in labelled.err
    other = langlift("predict", out, "--text", nested_folder / "test.conll", "--word-column", 1)
    assert json.loads(other.out)["words"] == ["1", "2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("task", "ner", "--columns", "2"), "columns: two are needed"),
        (("task", "ner", "--columns", "2,2"), "columns: two are needed"),
        (("task", "ner", "--columns", "0,2"), "columns must be at least 1"),
        (("task", "ner", "--columns", "2,5"), "train.conll:1: not a word and its tag in columns 2 and 5"),
    ],
)
def test_columns_that_cannot_be(tiny_bert: Path, nested_folder: Path, langlift, arguments, message: str):
    where = ("--base", tiny_bert, "--data", nested_folder, "--out", nested_folder / "run", "--json")
    result = langlift(*arguments, *where)
    assert result.code == 2
    assert message in result.error["error"]


def test_columns_are_of_conll(nested_folder: Path):
    with pytest.raises(InputError, match="--columns: is not used by the task topic"):
        TASKS["topic"].learner.read(str(nested_folder), None, False, (1, 2))


def test_a_word_column_is_of_conll(run: Path, tmp_path: Path, langlift):
    for name, content in (("text.txt", "Toni hawn.\n"), ("text.conll", "Toni O\n")):
        (tmp_path / name).write_text(content, encoding="utf-8")
        result = langlift(
            "predict", run, "--text", tmp_path / name, "--word-column", 3, "--json", "--out", tmp_path / "o.tsv"
        )
        assert result.code == 2
        assert ("no word in column 3" if name == "text.conll" else "is not a .conll file") in result.error["error"]
