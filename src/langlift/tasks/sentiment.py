"""Sentiment: labels as they stand in the data, two in the published sets."""

from langlift.tasks.labelled_text import TableForm
from langlift.tasks.sentence_task import SentenceTask


class Sentiment(SentenceTask):
    """Sentences with the columns ``label`` and ``text``; plain tabs, quotation marks are part of the text."""

    name = "sentiment"
    title = "Sentiment"
    form = TableForm("label", False, ("label", "sentiment", "labels"))


SENTIMENT = Sentiment()
