"""The words of relations.

The predicates of ConceptNet's 33 relations in ``predicates.csv``, and the form ``head predicate tail``, are facts
of arXiv 2407.01406 and 2502.10140, from github.com/d-gurgurov/Knowledge-Driven-Adaptation-LLMs,
src/conceptnet/cn_to_nl.py (Apache-2.0). Some read the other way round from what ConceptNet means by the relation
(``HasA``: "belongs to"); they are kept as published.
"""

import csv
import re
from importlib.resources import files
from pathlib import Path

from langlift.errors import InputError
from langlift.graph.conceptnet import clean_term

WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def load_predicates(extra: Path | None = None) -> dict[str, str]:
    """Relation -> predicate: the published table, with the rows of a CSV file (relation, predicate) over it.

    Raises:
        InputError: ``extra`` is missing or damaged; the line is named.
    """
    predicates = _read(Path(str(files("langlift.graph") / "predicates.csv")))
    return predicates | (_read(extra) if extra is not None else {})


def own_words(relation: str) -> str:
    """A relation's name as words: ``livesIn`` -> ``lives in``, ``born_in`` -> ``born in``.

    Of an address only what follows the last ``/`` or ``#`` is taken.
    """
    name = re.split(r"[/#]", relation.rstrip("/#"))[-1] or relation
    words = WORD_START.sub(" ", name.replace("_", " ")).split()
    return " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words) or relation


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "check the path given") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not valid UTF-8", "save the file as UTF-8") from None
    reader = csv.reader(text.splitlines())
    predicates: dict[str, str] = {}
    try:
        if [field.strip() for field in next(reader, [])] != ["relation", "predicate"]:
            raise InputError(f"{path}:1: the columns must be relation,predicate", "write that as the first line")
        for row in reader:
            fields = [clean_term(field) for field in row]
            if not any(fields):
                continue
            if len(fields) != 2 or not all(fields):
                raise InputError(
                    f"{path}:{reader.line_num}: a relation and a predicate are needed",
                    'such as livesIn,"lives in"',
                )
            predicates[fields[0].removeprefix("/r/")] = fields[1]
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not valid CSV ({error})", "mend the line") from None
    return predicates
