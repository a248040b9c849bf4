"""How similar two models or two languages are: linear CKA and Procrustes of sentence vectors, shared neurons."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.linalg import orthogonal_procrustes
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from langlift.backbones.loading import BaseModel, default_device
from langlift.backbones.registry import backbone_of
from langlift.checkpoints.adapter_folder import load_adapter
from langlift.corpus.text_files import read_lines
from langlift.errors import InputError
from langlift.evaluation.scores import batches_by_length
from langlift.progress import ProgressBar

Vectors = npt.NDArray[np.float64]
"""A vector for each sentence, [sentences, width]; equal rows of two arrays are sentences with the same meaning."""
FEWEST = 4
MOST_ACTIVE = 0.05
"""The share of a layer's feed-forward neurons that are compared: those active at most tokens."""
SHUFFLE_SEED = 0
LAYERS = ("last", "every")


@dataclass(frozen=True)
class Alignment:
    """The similarity of two sets of sentence vectors; ``width`` is that of the wider vectors.

    ``cka`` is 1 for sets equal up to rotation and scale; ``cka_shuffled`` is that of unrelated sentences (well
    above 0 with few sentences for the width). ``residual`` is the share of the second set's variance that a
    rotation of the first, fitted on the first half of the sentences, does not explain on the other half: 0 is
    perfect, 1 no better than the mean. ``retrieval`` is the share of that half's sentences whose counterpart is
    nearest after the rotation, the mean of both directions; chance is ``2 / sentences``. If a half has fewer
    sentences than the width, the rotation is not determined and both mean little.
    """

    sentences: int
    width: int
    cka: float
    cka_shuffled: float
    residual: float
    retrieval: float


def compare_vectors(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> Alignment:
    """All measures of two sets of vectors; the narrower ones are padded with zeros.

    InputError for fewer than four sentences, or sentences that all have the same vector.
    """
    if len(first) < FEWEST:
        raise InputError(f"{len(first)} sentences to compare", f"at least {FEWEST} are needed")
    width = max(first.shape[1], second.shape[1])
    first, second = _of_width(first, width), _of_width(second, width)
    half = len(first) // 2
    mapped, target = (vectors[half:] for vectors in rotated(first, second, half))
    order = np.random.default_rng(SHUFFLE_SEED).permutation(len(first))
    return Alignment(
        sentences=len(first),
        width=width,
        cka=linear_cka(first, second),
        cka_shuffled=linear_cka(first, second[order]),
        residual=float(((mapped - target) ** 2).sum() / (target**2).sum()),
        retrieval=(nearest_is_counterpart(mapped, target) + nearest_is_counterpart(target, mapped)) / 2,
    )


@dataclass(frozen=True)
class SentenceVectors:
    """``vectors`` float32 [layers, sentences, width]: the mean hidden state of each sentence's tokens.

    ``active`` float32 [layers of the model, neurons]: at which share of all tokens a feed-forward neuron is
    active, that is, its activation is above 0. Neither counts special tokens.
    """

    vectors: npt.NDArray[np.float32]
    active: npt.NDArray[np.float32]


def neuron_overlap(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """The share of the neurons most often active in one text that are so in the other, the mean over layers.

    Shapes [layers, neurons], as ``SentenceVectors.active`` of the same model; ``MOST_ACTIVE`` of a layer's neurons
    are compared, which is the share expected by chance. Of equally active ones, the first count.
    """
    most = max(1, round(MOST_ACTIVE * first.shape[1]))
    chosen = (np.argsort(-active, axis=1, kind="stable")[:, :most] for active in (first, second))
    return float(np.mean([len(np.intersect1d(one, two)) / most for one, two in zip(*chosen, strict=True)]))


def linear_cka(first: Vectors, second: Vectors) -> float:
    """Linear centred kernel alignment, 0 to 1 (Kornblith et al. 2019, arXiv 1905.00414, section 3).

    ``|Y'X|^2 / (|X'X| |Y'Y|)`` in Frobenius norms, X and Y with centred columns. Invariant to rotation
    and scale of either.
    """
    x, y = _scaled(first - first.mean(axis=0)), _scaled(second - second.mean(axis=0))
    return float(np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)))


def rotated(first: Vectors, second: Vectors, fitted: int) -> tuple[Vectors, Vectors]:
    """The first set rotated and scaled onto the second, and the second, both minus the mean of the latter.

    Orthogonal Procrustes with a scale: the rotation R and s >= 0 that minimise ``|s X R - Y|`` for the first
    ``fitted`` vectors, X and Y centred (Schönemann 1966). On these the residual is that of
    ``scipy.spatial.procrustes``.
    """
    x, y = first - first[:fitted].mean(axis=0), second - second[:fitted].mean(axis=0)
    _scaled(y[:fitted])
    matrix, scale = orthogonal_procrustes(_scaled(x[:fitted]), y[:fitted])
    return scale / np.linalg.norm(x[:fitted]) * x @ matrix, y


def nearest_is_counterpart(first: Vectors, second: Vectors) -> float:
    """The share of rows in ``first`` whose nearest row in ``second``, by cosine, is the one with the same number.

    Of several equally near ones, the first counts.
    """
    first, second = (x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12) for x in (first, second))
    near = first @ second.T
    return float((near.argmax(axis=1) == np.arange(len(first))).mean())


def _of_width(vectors: npt.NDArray[Any], width: int) -> Vectors:
    return np.pad(vectors.astype(np.float64), ((0, 0), (0, width - vectors.shape[1])))


def _scaled(vectors: Vectors) -> Vectors:
    """Centred vectors, divided by their Frobenius norm."""
    norm = np.linalg.norm(vectors)
    if not np.isfinite(norm) or norm == 0:
        raise InputError("all sentences have the same vector", "give text with different sentences")
    return vectors / norm


def parallel_sentences(first: Path, second: Path) -> list[tuple[str, str]]:
    """The pairs of sentences of two files that are parallel line by line; pairs with a blank side are skipped.

    InputError if a file cannot be read, the numbers of lines differ, or no pair is left.
    """
    ours, theirs = _lines(first), _lines(second)
    if len(ours) != len(theirs):
        raise InputError(
            f"{first} has {len(ours)} lines and {second} {len(theirs)}: not parallel line by line",
            "each line of one file must be the translation of the same line of the other",
        )
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a and b]
    if not pairs:
        raise InputError(f"{first}: no sentence", "give text files with one sentence per line")
    return pairs


def sentence_vectors(
    base: str, sentences: Sequence[str], adapter: Path | None = None, layers: str = "last"
) -> SentenceVectors:
    """The vectors of sentences in a model, and its neurons' activity.

    ``layers``: ``last`` is the model's output; ``every`` is the output of each layer (with its adapter), lowest
    first, with the model's output as the last one. Computed in float32. InputError for an unusable model or
    adapter, or a sentence without a token.
    """
    loaded = BaseModel.load(base, masked_only=True, head_needed=False)
    model, tokenizer = loaded.model, loaded.tokenizer
    if adapter is not None:
        load_adapter(model, adapter)
    model = model.to(default_device()).eval()
    encoded = tokenizer(
        list(sentences), truncation=True, max_length=loaded.longest_input,
        return_special_tokens_mask=True, verbose=False,
    )  # fmt: skip
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    empty = next((text for text, mask in zip(sentences, special, strict=True) if all(mask)), None)
    if empty is not None:
        raise InputError(f"a sentence without a token: {empty!r}", "delete the line in both files")
    found: list[Any] = [None] * len(sentences)
    active: Any = 0
    with ProgressBar("sentence vectors", len(sentences), "sentences") as bar, torch.inference_mode():
        for batch in batches_by_length([len(one) for one in ids]):
            pooled, counts = _pooled(
                model, tokenizer.pad_token_id, [ids[i] for i in batch], [special[i] for i in batch], layers
            )
            for place, number in enumerate(batch):
                found[number] = pooled[:, place]
            active += counts
            bar.advance(len(batch))
    tokens = sum(mask.count(0) for mask in special)
    return SentenceVectors(np.stack(found, axis=1), (active / tokens).astype(np.float32))


def _lines(path: Path) -> list[str]:
    lines = read_lines(path)
    return lines[:-1] if lines[-1:] == [""] else lines


def _pooled(
    model: PreTrainedModel, pad: int, ids: Sequence[list[int]], special: Sequence[list[int]], layers: str
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Mean hidden states of one batch [layers, sentences, width], and how many tokens each neuron is active at."""
    padded = pad_sequence([torch.tensor(one) for one in ids], batch_first=True, padding_value=pad)
    attended = pad_sequence([torch.ones(len(one), dtype=torch.long) for one in ids], batch_first=True)
    weights = pad_sequence([1 - torch.tensor(one) for one in special], batch_first=True).to(
        model.device, torch.float32
    )
    ordinary = weights > 0
    weights = weights / weights.sum(dim=1, keepdim=True)
    with _outputs_of_layers(model, layers) as outputs, _activations(model) as neurons:
        last = model.base_model(
            input_ids=padded.to(model.device), attention_mask=attended.to(model.device)
        ).last_hidden_state
    states = torch.stack([*outputs[:-1], last])
    counts = [(activation > 0)[ordinary].sum(dim=0) for activation in neurons]
    return torch.einsum("lstd,st->lsd", states, weights).float().cpu().numpy(), torch.stack(counts).cpu().numpy()


@contextmanager
def _outputs_of_layers(model: PreTrainedModel, layers: str) -> Iterator[list[Tensor]]:
    """A list that collects each layer's output while the model runs; it stays empty for ``last``.

    Outputs are taken from the modules with bottleneck adapters, the last ones of their layers.
    """
    outputs: list[Tensor] = []

    def keep(module: Any, arguments: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    paths = [backbone_of(model).bottleneck.format(layer=i) for i in range(model.config.num_hidden_layers)]
    chosen = paths if layers == "every" else []
    handles = [model.base_model.get_submodule(path).register_forward_hook(keep) for path in chosen]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _activations(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """A list that collects each layer's feed-forward activations while the model runs."""
    found: list[Tensor] = []

    def keep(module: Any, arguments: tuple[Tensor, ...]) -> None:
        found.append(arguments[0])

    ends = backbone_of(model).ia3_scaled_inputs
    modules = [
        module
        for name, module in model.base_model.named_modules()
        if name.endswith(ends) and ".attention." not in name
    ]
    handles = [module.register_forward_pre_hook(keep) for module in modules]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
