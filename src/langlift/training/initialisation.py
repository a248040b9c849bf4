"""Initial weights of a new encoder."""

import math

import torch
from transformers import XLMRobertaModel

LOCAL_LAYERS = 2
OFFSETS = (-1, 1, -2, 2)
SHARPNESS = 1.2


@torch.no_grad()
def attend_to_neighbours(body: XLMRobertaModel) -> None:
    """Initialise the heads of the first layers to attend to near neighbours, in place.

    A small encoder with absolute positions behaves like a bag of words for tens of millions of tokens before its
    heads learn that neighbours matter. Therefore the position table starts from sinusoids of wavelengths 2 to 600
    instead of noise, and query and key of the first layers are set so that head h at position i attends to
    position i + OFFSETS[h]: with p(i) = (sin f i, cos f i) for each frequency f, q = R(f * offset) p(i) and k =
    p(j), the product q.k = sum cos(f (i + offset - j)) has its maximum there. All of these remain ordinary
    trainable parameters.
    """
    table = body.embeddings.position_embeddings.weight
    places, width = table.shape
    frequencies = math.pi * torch.exp(torch.linspace(0.0, math.log(0.01 / math.pi), width // 2))
    angles = torch.arange(places)[:, None] * frequencies
    # Twice the root mean square of the word embeddings.
    scale = 2 * body.config.initializer_range * math.sqrt(2)
    table[:, 0::2], table[:, 1::2] = scale * angles.sin(), scale * angles.cos()
    heads = body.config.num_attention_heads
    pairs = width // heads // 2
    for layer in body.encoder.layer[:LOCAL_LAYERS]:
        query, key = layer.attention.self.query.weight, layer.attention.self.key.weight
        for head in range(heads):
            offset = OFFSETS[head % len(OFFSETS)]
            for pair in range(pairs):
                sine, cosine = 2 * pair, 2 * pair + 1
                row = 2 * (head * pairs + pair)
                turn = offset * float(frequencies[pair])
                query[row, sine] += SHARPNESS * math.cos(turn)
                query[row, cosine] += SHARPNESS * math.sin(turn)
                query[row + 1, cosine] += SHARPNESS * math.cos(turn)
                query[row + 1, sine] -= SHARPNESS * math.sin(turn)
                key[row, sine] += SHARPNESS
                key[row + 1, cosine] += SHARPNESS
