"""Templates of sentences: what stands before, between and after head and tail, and user files of them."""

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import yaml

from langlift.errors import InputError
from langlift.graph.conceptnet import clean_term
from langlift.languages import find_language

PLACE = re.compile(r"(\{head\}|\{tail\})")
ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Template:
    """The words around the two arguments: ``before`` the first, ``between``, and ``after`` the second.

    ``head_first`` says which comes first. The relation's words are the longest of the three pieces.
    """

    before: str
    between: str
    after: str
    head_first: bool = True

    @classmethod
    def parse(cls, text: str) -> "Template":
        """``{head} is a type of {tail}.`` as a template.

        Raises:
            ValueError: a place is missing, stands twice, or nothing else is there; the message says which.
        """
        text = clean_term(text)
        pieces = PLACE.split(text)
        for place in ("{head}", "{tail}"):
            if pieces.count(place) != 1:
                raise ValueError(f"{place} must stand in it once")
        before, first, between, _, after = pieces
        if "{" in before + between + after or "}" in before + between + after:
            raise ValueError("braces are only for {head} and {tail}")
        template = cls(before, between, after, first == "{head}")
        if not any(character.isalpha() for character in before + between + after):
            raise ValueError("words for the relation are needed")
        return template

    @classmethod
    def of_predicate(cls, predicate: str) -> "Template":
        """The published form: ``head predicate tail.``"""
        return cls("", f" {predicate} ", ".")

    @property
    def words(self) -> tuple[int, int, int]:
        """The relation's words: which piece (0, 1, 2), where in it they begin, how many characters they have."""
        pieces = (self.before, self.between, self.after)
        piece = max(range(3), key=lambda place: (len(pieces[place].strip(" .")), place == 1))
        words = pieces[piece].strip()
        return piece, pieces[piece].index(words), len(words)


def load_templates(given: str, known: set[str]) -> tuple[Path, dict[str, Template]]:
    """The file that is meant, and its templates: a path (``.yaml``) or the name of a shipped one (``mlt_Latn``).

    ``known`` are the relations that there may be templates for.

    Raises:
        InputError: there is no such file, or it is not as it should be; the relation is named.
    """
    path = _path(given)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", "check the path given") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not valid UTF-8", "save the file as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        raise InputError(f"{path}{place}: not valid YAML", "put each template in double quotes") from None
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: relations with templates are needed", 'IsA: "{head} is a type of {tail}."')
    templates = {}
    for relation, text in content.items():
        if relation not in known:
            raise InputError(
                f"{path}: unknown relation '{relation}'", "relations of your own need a row in --predicates first"
            )
        try:
            if not isinstance(text, str):
                raise ValueError("a text is needed")
            templates[relation] = Template.parse(text)
        except ValueError as error:
            raise InputError(f"{path}: {relation}: {error}", f'{relation}: "{{head}} ... {{tail}}."') from None
    return path, templates


def _path(given: str) -> Path:
    if given.lower().endswith(ENDINGS):
        return Path(given).expanduser()
    folder = Path(str(files("langlift.graph") / "templates"))
    shipped = sorted(path.stem for path in folder.glob("*.yaml"))
    hint = f"a .yaml file, or one of {', '.join(shipped)}"
    try:
        name = str(find_language(given))
    except InputError:
        name = given
    if name not in shipped:
        raise InputError(f"--templates {given}: there are no templates of that name", hint)
    return folder / f"{name}.yaml"
