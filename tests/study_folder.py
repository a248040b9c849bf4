"""A study's folder as ``langlift study run`` leaves it, with made-up numbers, for tests of analysis and report."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from sklearn.metrics import f1_score

LANGUAGES = ["mlt_Latn", "swh_Latn", "uig_Arab", "cym_Latn", "fin_Latn"]
BASE = "FacebookAI/xlm-roberta-base"
LABELS = ("negative", "positive")
COST = {"tokens": 1000, "flops": 10**9, "seconds": 12.5, "peak_memory_bytes": 10**9}


class StudyFolder:
    """Writes run folders by the contract; ``runs`` are the contents of their run.json."""

    def __init__(self, path: Path) -> None:
        self.path, self.runs = path, []
        self.random = np.random.default_rng(7)

    def run(self, kind: str, cell: dict[str, Any], result: dict[str, Any], published=None, needs=(), cost=None):
        """A finished run; returns its folder."""
        number = len(self.runs)
        name = f"{kind}-{number:03d}"
        content = {
            "kind": kind, "name": name, "hash": f"{number:064d}", "cell": cell, "needs": list(needs),
            "result": result, "cost": COST if cost is None else cost, "published": published,
        }  # fmt: skip
        folder = self.path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
        self.runs.append(content)
        return folder

    def adapt(self, language: str, data: str, seed: int, alpha: float, needs=()) -> str:
        """An adapter's run; returns its hash."""
        cell = {"language": language, "base": BASE, "method": "seq_bn", "data": data, "objective": "mlm",
                "task": None, "metric": "validation_loss", "seed": seed, "alpha": alpha}  # fmt: skip
        folder = self.run("adapt", cell, {"value": 3.0 + seed / 10, "before": 5.0}, needs=needs)
        write_recipe(folder, "adapt", {"steps": 400, "learning_rate": 1e-4, "batch_size": 16, "seed": seed})
        records = [{"step": s, "validation_loss": 5.0 - s / 100, "loss": 1.0} for s in (0, 100, 200)]
        (folder / "progress.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
        return self.runs[-1]["hash"]

    def sentiment(self, language: str, cell: dict[str, Any], seed: int, right: float, published=None, needs=()):
        """A task's run with predictions of which about a share is right; its value is the predictions'."""
        gold = [LABELS[i % 2] for i in range(60)]
        kept = self.random.random(60) < right
        predicted = [g if ok else LABELS[g == LABELS[0]] for g, ok in zip(gold, kept, strict=True)]
        value = 100 * f1_score(gold, predicted, average="macro")
        place = {"language": language, "base": BASE, "task": "sentiment", "metric": "macro_f1", "seed": seed}
        folder = self.run("task", {**place, **cell}, {"value": value, "before": None}, published, needs)
        write_recipe(folder, "task", {"epochs": 3, "batch_size": 32, "seeds": [seed]})
        seed_folder = folder / f"seed-{seed}"
        seed_folder.mkdir()
        rows = [{"text": "a", "gold": g, "predicted": p} for g, p in zip(gold, predicted, strict=True)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (seed_folder / "test_predictions.jsonl").write_text(text, encoding="utf-8")
        return folder


def add_alignment(study: StudyFolder) -> None:
    """Two languages beside English, before and after adaptation with two seeds, by layer; and beside the base."""
    for place, language in enumerate(LANGUAGES[:2]):
        for method, seed, to in (
            (None, None, "eng_Latn"),
            *(("seq_bn", s, t) for s in (1, 2) for t in ("eng_Latn", BASE)),
        ):
            cka = 0.3 + 0.1 * place + (0.2 + 0.02 * seed if seed else 0)
            found = {
                "sentences": 100,
                "width": 32,
                "cka": cka,
                "cka_shuffled": 0.05,
                "residual": 0.8,
                "retrieval": 0.25,
                "neurons": None if to == BASE else 0.4,
            }
            cell = {"language": language, "base": BASE, "method": method, "data": method and "text", "with": to,
                    "seed": seed, "metric": "cka", "task": None}  # fmt: skip
            folder = study.run("alignment", cell, {"value": cka, "before": None, **found})
            metrics = {**found, "by_layer": [{**found, "cka": 0.9}, found]}
            (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def write_recipe(folder: Path, section: str, settings: dict[str, Any]) -> None:
    """A recipe.yaml."""
    content = {"command": section, "inputs": {}, section: settings}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


def make_study(path: Path) -> StudyFolder:
    """Five languages: scores, sentiment alone, stacked (two alphas) and fused, as published once; 3 seeds."""
    study = StudyFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    (path / "study.yaml").write_text("name: made-up\n", encoding="utf-8")
    for place, language in enumerate(LANGUAGES):
        none = {"method": None, "data": None, "objective": None}
        before = 20.0 + 15 * place
        cut = {"language": language, "data": "text", "max_bytes": 10**5 * 4**place}
        study.run("cut", cut, {"value": 10**5 * 4**place, "before": 10**8})
        text = study.runs[-1]["hash"]
        score = {"language": language, "base": BASE, "task": None, "metric": "pseudo_perplexity"}
        study.run("score", {**none, **score, "seed": None}, {"value": before, "before": None})
        for seed in (1, 2, 3):
            study.sentiment(language, {**none, "use": "alone"}, seed, 0.6)
            for alpha in (0.1, 0.4, 1.0):
                adapter = study.adapt(language, "text", seed, alpha, needs=[text])
                trained = {"method": "seq_bn", "data": "text", "objective": "mlm", "alpha": alpha}
                value = before * (0.5 - 0.02 * seed + 0.05 * alpha + 0.03 * place)
                cell = {**trained, **score, "seed": seed}
                study.run("score", cell, {"value": value, "before": None}, needs=[adapter])
                study.sentiment(language, {**trained, "use": "stacked"}, seed, 0.95, needs=[adapter])
            published = {"method": "seq_bn", "data": "text", "objective": "mlm", "alpha": 0.1, "use": "stacked"}
            study.sentiment(language, published, seed, 0.8, published=True)
    fused = {"method": "seq_bn", "data": "<a&b>_text,graph", "objective": "mlm", "use": "fused"}
    for seed in (1, 2, 3):
        folder = study.sentiment("mlt_Latn", fused, seed, 0.9)
        attention = {"<a&b>_text": [0.7, 0.2], "graph": [0.3, 0.8]}
        report = {"fusion_attention": attention, "fusion_attention_by_seed": {str(seed): attention}}
        (folder / "metrics.json").write_text(json.dumps({"report": report}), encoding="utf-8")
    (path / "runs" / "task-killed").mkdir()
    return study
