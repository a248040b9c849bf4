"""Baselines without a language model: most frequent labels, and TF-IDF with logistic regression."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from langlift.evaluation.metrics import macro_f1
from langlift.tasks.learner import Split


def text_baseline(train: Split[str, str], test: Split[str, str]) -> dict[str, float]:
    """Macro-F1 on the test split, 0 to 100, of both baselines, trained on ``train`` alone; deterministic.

    TF-IDF over word 1- and 2-grams and character 2- to 5-grams within words, then logistic regression.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    model = make_pipeline(
        make_union(
            TfidfVectorizer(token_pattern=r"\w+|[^\w\s]", ngram_range=(1, 2), sublinear_tf=True),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
        ),
        LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"),
    )
    model.fit(train.inputs, train.gold)
    majority = Counter(train.gold).most_common(1)[0][0]
    return {
        "tfidf": macro_f1(test.gold, list(model.predict(test.inputs))),
        "majority": macro_f1(test.gold, [majority] * len(test.gold)),
    }


def most_frequent_label(
    words: Sequence[Sequence[str]],
    labels: Sequence[Sequence[str]],
    sentences: Sequence[Sequence[str]],
    unknown: str | None = None,
) -> list[list[str]]:
    """The most frequent label of each word in ``sentences``; unseen words get ``unknown``.

    Without ``unknown`` they get the most frequent label of all words.
    """
    by_word: defaultdict[str, Counter[str]] = defaultdict(Counter)
    every: Counter[str] = Counter()
    for sentence, its_labels in zip(words, labels, strict=True):
        every.update(its_labels)
        for word, label in zip(sentence, its_labels, strict=True):
            by_word[word][label] += 1
    best = {word: counts.most_common(1)[0][0] for word, counts in by_word.items()}
    fallback = every.most_common(1)[0][0] if unknown is None else unknown
    return [[best.get(word, fallback) for word in sentence] for sentence in sentences]
