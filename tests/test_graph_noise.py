"""Corrupted triples: how many, which way, the same by seed, and splits that still share nothing."""

import json
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langlift.data_folder import SPLITS
from langlift.graph.building import GraphResult, build_graph
from langlift.graph.recipe import GraphRecipe
from langlift.languages import find_language

MALTESE = find_language("mlt")
Row = dict[str, Any]


def build(
    folder: Path, triples: list[tuple[str, str, str]], name: str, recipe: GraphRecipe
) -> tuple[GraphResult, list[Row]]:
    source = folder / "own.jsonl"
    keys = ("head", "relation", "tail")
    source.write_text(
        "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in triples), encoding="utf-8"
    )
    result = build_graph(MALTESE, [f"triples:{source}"], folder / name, recipe, threads=1)
    rows = []
    for split in SPLITS:
        for line in (folder / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            rows.append(json.loads(line) | {"split": split})
    return result, rows


def triple(row: Row) -> tuple[str, str, str]:
    return row["head"]["text"], row["relation"]["name"], row["tail"]["text"]


MANY = [(f"a {i % 60}", ("IsA", "PartOf", "Synonym")[i % 3], f"b {i % 47}") for i in range(400)]


@given(share=st.sampled_from([0.1, 0.25, 0.5, 1.0]), seed=st.integers(0, 5))
@settings(max_examples=8, deadline=None)
def test_a_share_is_corrupted(share: float, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("noise")
    clean, before = build(folder, MANY, "clean", GraphRecipe(seed=seed))
    noisy, after = build(folder, MANY, "noisy", GraphRecipe(seed=seed, noise=share))
    true = {triple(row) for row in before}
    assert len(after) == len(before) == clean.kept == noisy.kept
    assert sum(noisy.noise.values()) == round(share * clean.kept)
    assert noisy.settings["noise"] == share
    assert Counter(row["noise"] for row in after if row["noise"]) == noisy.noise
    for row in after:
        head, relation, tail = triple(row)
        assert row["text"][row["head"]["start"] : row["head"]["end"]] == head
        assert row["text"][row["tail"]["start"] : row["tail"]["end"]] == tail
        assert head != tail
        assert ((head, relation, tail) in true) == (row["noise"] in (None, "unchanged"))
        if row["noise"] == "swap":
            assert (tail, relation, head) in true
            assert relation != "Synonym"
    pairs = {split: {frozenset(triple(row)[::2]) for row in after if row["split"] == split} for split in SPLITS}
    for one, other in combinations(SPLITS, 2):
        assert not pairs[one] & pairs[other]
    if share >= 0.5:
        assert min(noisy.noise["swap"], noisy.noise["tail"]) > 0.2 * share * clean.kept


def test_noise_is_the_same_by_seed_and_another_by_another(tmp_path: Path) -> None:
    found = [
        build(tmp_path, MANY, str(n), GraphRecipe(noise=0.3, seed=seed))[0] for n, seed in enumerate((1, 1, 2))
    ]
    assert found[0].splits == found[1].splits
    assert found[0].splits != found[2].splits
    plain, rows = build(tmp_path, MANY, "plain", GraphRecipe())
    assert plain.noise == {} and "noise" not in rows[0]


def test_what_cannot_be_corrupted_is_counted(tmp_path: Path) -> None:
    """All tails are the same, and Synonym has no direction."""
    result, _ = build(tmp_path, [(f"a {i}", "Synonym", "b") for i in range(20)], "graph", GraphRecipe(noise=0.5))
    assert result.noise == {"unchanged": 10}


def test_the_command(langlift, tmp_path: Path) -> None:
    build(tmp_path, MANY, "clean", GraphRecipe())
    arguments = ["graph", "build", "mt", "--source", f"triples:{tmp_path / 'own.jsonl'}", "--out"]
    shown = langlift(*arguments, tmp_path / "noisy", "--noise", "0.5")
    assert "corrupted" in shown.out and "swap" in shown.out
    refused = langlift(*arguments, tmp_path / "x", "--noise", "1.5", "--json")
    assert refused.code == 2 and "noise" in refused.error["error"]
