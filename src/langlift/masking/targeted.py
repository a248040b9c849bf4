"""Targeted masking (arXiv 2407.01406): one argument of a verbalised triple is predicted, never the relation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from langlift.masking.masked_language_model import IGNORED

PUBLISHED_RELATIONS = frozenset(
    {
        "Antonym",
        "DerivedFrom",
        "DistinctFrom",
        "EtymologicallyDerivedFrom",
        "EtymologicallyRelatedTo",
        "FormOf",
        "HasContext",
        "IsA",
        "RelatedTo",
        "SimilarTo",
        "SymbolOf",
        "Synonym",
    }
)
"""The relations of the published script, utilities/lang_adapters/run_mlm_targeted_masking.py in
github.com/d-gurgurov/Injecting-Commonsense-Knowledge-into-LLMs, which leaves out all other sentences."""


@dataclass(frozen=True)
class TargetedMasking:
    """Head or tail, each with probability 0.5, is replaced completely by mask tokens: no 80/10/10.

    The choice depends only on (seed, epoch, example) and is made again in every epoch.
    """

    mask_token_id: int
    special_ids: frozenset[int]

    def __call__(
        self,
        input_ids: npt.NDArray[np.integer],
        arguments: Sequence[npt.NDArray[np.int64]],
        *,
        seed: int,
        epoch: int,
        example: int,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Mask one example; as ``MaskedLanguageModel``.

        ``arguments`` are the positions of head and tail, or of the one that can be predicted. Unknown tokens are
        masked too, but have no label.
        """
        random = np.random.default_rng((seed, epoch, example))
        chosen = arguments[0 if random.random() < 0.5 else -1]
        seen = input_ids.astype(np.int64)
        labels = np.full_like(seen, IGNORED)
        labels[chosen] = np.where(np.isin(seen[chosen], list(self.special_ids)), IGNORED, seen[chosen])
        seen[chosen] = self.mask_token_id
        return seen, labels


def published_positions(
    input_ids: npt.NDArray[np.integer], pieces_of_words: Sequence[Sequence[int]]
) -> npt.NDArray[np.int64]:
    """The positions that the published script masks for an argument, int64, sorted.

    It tokenises each word of the argument separately and masks every occurrence of these tokens in the sentence:
    also in the other argument or the relation, and none if the word is tokenised differently in the sentence.
    """
    found: set[int] = set()
    ids = [int(i) for i in input_ids]
    for pieces in map(list, pieces_of_words):
        at = 0
        while pieces and at + len(pieces) <= len(ids):
            places = range(at, at + len(pieces))
            if ids[at : at + len(pieces)] == pieces and found.isdisjoint(places):
                found.update(places)
                at += len(pieces)
            else:
                at += 1
    return np.asarray(sorted(found), dtype=np.int64)
