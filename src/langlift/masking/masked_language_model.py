"""Masked language modelling: which tokens of an example are predicted, and their replacements."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IGNORED = -100
"""The label of a token that is not predicted, as in PyTorch's cross-entropy."""


@dataclass(frozen=True)
class MaskedLanguageModel:
    """BERT's masking (Devlin et al. 2019, section 3.1).

    A share of the non-special tokens is chosen; of those, 80 % become the mask token, 10 % a random ordinary token
    and 10 % stay. The number chosen is exactly ``round(share * n)``, and at least one. The choice depends only on
    (seed, epoch, example), never on a generator's state, so that resuming or another batch order cannot change it.
    """

    mask_token_id: int
    special_ids: frozenset[int]
    vocabulary_size: int
    share: float = 0.15

    def __call__(
        self, input_ids: npt.NDArray[np.integer], *, seed: int, epoch: int, example: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Mask one example.

        Args:
            input_ids: token ids, shape [length].
            seed: the run's seed.
            epoch: number of times the example has been seen before.
            example: the example's number in its data set.

        Returns:
            (input ids, labels), both int64 [length]; labels are ``IGNORED`` except at the chosen tokens.
        """
        candidates = self.candidates(input_ids)
        random = np.random.default_rng((seed, epoch, example))
        return self.predict(input_ids, random.permutation(candidates)[: self.count(len(candidates))], random)

    def candidates(self, input_ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """The positions of the ordinary tokens."""
        return np.flatnonzero(~np.isin(input_ids, list(self.special_ids)))

    def count(self, ordinary: int) -> int:
        """Number of tokens chosen out of ``ordinary`` ones."""
        return max(1, round(self.share * ordinary)) if ordinary else 0

    def predict(
        self, input_ids: npt.NDArray[np.integer], chosen: npt.NDArray[np.integer], random: np.random.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Input ids and labels if the tokens at ``chosen`` are predicted: 80/10/10 each."""
        seen = input_ids.astype(np.int64)
        labels = np.full_like(seen, IGNORED)
        labels[chosen] = seen[chosen]
        fate = random.random(len(chosen))
        seen[chosen[fate < 0.8]] = self.mask_token_id
        replaced = chosen[(fate >= 0.8) & (fate < 0.9)]
        seen[replaced] = self._random_tokens(random, len(replaced))
        return seen, labels

    def _random_tokens(self, random: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        """Random ordinary tokens: special ones are drawn again."""
        drawn = random.integers(self.vocabulary_size, size=count)
        while (bad := np.isin(drawn, list(self.special_ids))).any():
            drawn[bad] = random.integers(self.vocabulary_size, size=int(bad.sum()))
        return drawn
