"""Full-word masking: all tokens of a chosen word are predicted together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from langlift.masking.masked_language_model import MaskedLanguageModel


@dataclass(frozen=True)
class FullWordMasking:
    """BERT's whole-word masking: as ``mlm``, but words are chosen instead of tokens.

    Words are chosen in random order until ``mlm``'s number of tokens is reached. The word that would exceed it is
    chosen with the probability that makes the expected number exact, or always if it is the first, so that
    something is predicted. Each token of a chosen word independently becomes the mask token (80 %), a random one
    (10 %) or stays (10 %), as in BERT.
    """

    mlm: MaskedLanguageModel

    def __call__(
        self,
        input_ids: npt.NDArray[np.integer],
        words: npt.NDArray[np.integer],
        *,
        seed: int,
        epoch: int,
        example: int,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Mask one example; as ``MaskedLanguageModel``, with ``words`` from ``word_numbers``, shape [length]."""
        candidates = self.mlm.candidates(input_ids)
        count = self.mlm.count(len(candidates))
        random = np.random.default_rng((seed, epoch, example))
        numbers, sizes = np.unique(words[candidates], return_counts=True)
        order = random.permutation(len(numbers))
        ends = np.cumsum(sizes[order])
        taken = int(np.searchsorted(ends, count, side="right"))
        if taken < len(order):
            missing = count - (int(ends[taken - 1]) if taken else 0)
            if taken == 0 or random.random() < missing / sizes[order[taken]]:
                taken += 1
        chosen = candidates[np.isin(words[candidates], numbers[order[:taken]])]
        return self.mlm.predict(input_ids, chosen, random)
