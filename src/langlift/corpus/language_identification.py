"""Language identification by a fastText model such as GlotLID (cis-lmu/glotlid on the hub)."""

from pathlib import Path

from langlift.corpus.language_names import language_codes, names_with_script, wiki_code
from langlift.errors import InputError
from langlift.languages import Language

THRESHOLD = 0.5
LABEL = "__label__"
CHARACTERS = 5000
"""The length of the beginning of a document that is classified."""


class LanguageIdentifier:
    """Checks whether the most likely label of a text is ``language``, with at least the probability ``THRESHOLD``.

    Labels may have a script (``__label__mlt_Latn``) or not (``__label__mt``). InputError if the package or the
    file is missing, or the file is not a fastText classifier.
    """

    def __init__(self, path: Path, language: Language) -> None:
        try:
            import fasttext
        except ImportError:
            raise InputError(
                "--language-model needs the package fasttext-predict", "pip install 'langlift[language-id]'"
            ) from None
        if not path.is_file():
            raise InputError(f"{path}: no such file", "give a fastText model such as GlotLID's model.bin")
        try:
            self._model = fasttext.load_model(str(path))
            self._predict("text")
        except (ValueError, RuntimeError, MemoryError) as error:
            reason = str(error).split("\n")[0]
            raise InputError(f"{path}: not a fastText classifier ({reason})", "give GlotLID's model.bin") from None
        self._wanted = {*names_with_script(language, "_"), *language_codes(language), wiki_code(language)}

    def other_language(self, lines: list[str]) -> str | None:
        """The label and probability of a document in another language, such as ``ita_Latn, 0.98``; else None."""
        label, probability = self._predict(" ".join(lines)[:CHARACTERS])
        if label in self._wanted and probability >= THRESHOLD:
            return None
        return f"{label}, {probability:.2f}"

    def _predict(self, text: str) -> tuple[str, float]:
        labels, probabilities = self._model.predict(text, k=1)
        if not len(labels):
            return "no label", 0.0
        return labels[0].removeprefix(LABEL), float(probabilities[0])
