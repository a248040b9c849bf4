"""Labelled texts: a folder of train.tsv, dev.tsv and test.tsv, or a data set in the hub's format."""

from collections.abc import Collection

from langlift.corpus.text_files import read_raw_lines
from langlift.errors import InputError
from langlift.tasks.input_rows import TEXT, read_table
from langlift.tasks.learner import Split
from langlift.tasks.sources import HubSet, SplitFolder, open_source
from langlift.tasks.task import Columns

HUB_TEXTS = ("text", "sentence", "review", "tweet", "content")
"""Possible names of the text's field in hub data sets."""

LabelledText = Split[str, str]
"""Texts and their labels."""


def open_labelled(data: str, columns: Columns) -> SplitFolder | HubSet:
    """A folder of TSV files, or a data set in the hub's format; raises an InputError if it is neither."""
    fields = (HUB_TEXTS, columns.hub_labels)
    return open_source(data, (".tsv",), "train.tsv, dev.tsv and test.tsv", fields)


def read_labelled(
    source: SplitFolder | HubSet, split: str, columns: Columns, known: Collection[str] | None = None
) -> LabelledText:
    """A split; its labels must be among ``known``, if given.

    Raises:
        InputError: the split or a column is missing, a row is damaged, or a label is unknown, by file and line.
    """
    data = LabelledText([], [])
    if isinstance(source, HubSet):
        name = f"{source.name} ({split})"
        rows = (
            (place, *(" ".join(str(value).split()) for value in values)) for place, values in source.rows(split)
        )
    else:
        path = source.file(split)
        name = str(path)
        # The csv module joins the lines of a quoted field itself, so it needs their ends.
        lines = (f"{line}\n" for line in read_raw_lines(path))
        hint = f"the first line must name the columns, '{columns.label}' and '{TEXT}' among them"
        table = read_table(path, lines, (columns.label, TEXT), columns.quoted, hint)
        rows = (
            (place, row[header.index(TEXT)].strip(), row[header.index(columns.label)].strip())
            for place, header, row in table
        )
    for place, text, label in rows:
        if not text or not label:  # only in hub data; tables have been checked
            raise InputError(f"{place}: empty {'label' if text else 'text'}", "drop the row")
        if known is not None and label not in known:
            raise InputError(f"{place}: label '{label}' never occurs in the training data", "a misspelt label?")
        data.inputs.append(text)
        data.gold.append(label)
    if not data.inputs:
        raise InputError(f"{name}: no rows", "every split needs a labelled text")
    return data
