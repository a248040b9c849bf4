"""langlift lifts small multilingual language models into low-resource languages.

The Python API has the command line's verbs: ``langlift.adapt``, ``langlift.score_model``,
``langlift.train_task``, ``langlift.pretrain``, ``langlift.demo``; each returns a dataclass.
"""

from importlib import import_module
from typing import Any

_PLACES = {
    "Adapted": "langlift.adapted",
    "AdaptRecipe": "langlift.training.recipes",
    "BaseName": "langlift.backbones.base_name",
    "FamilyRecipe": "langlift.training.recipes",
    "GraphRecipe": "langlift.graph.recipe",
    "InputError": "langlift.errors",
    "LangliftError": "langlift.errors",
    "FurtherRecipe": "langlift.training.recipes",
    "PretrainRecipe": "langlift.training.recipes",
    "PromptRecipe": "langlift.prompting.recipe",
    "TaskRecipe": "langlift.tasks.recipe",
    "VocabRecipe": "langlift.vocab.recipe",
    "adapt": "langlift.training.adaptation",
    "adapt_family": "langlift.training.family",
    "analyse": "langlift.studies.analysis.analysing",
    "apply_vocabulary": "langlift.vocab.applying",
    "attach": "langlift.adapters.composition",
    "build_corpus": "langlift.corpus.building",
    "build_graph": "langlift.graph.building",
    "build_graphs": "langlift.graph.building",
    "build_vocabulary": "langlift.vocab.building",
    "cost_table": "langlift.reports.costs",
    "demo": "langlift.demonstration",
    "diagnose": "langlift.diagnosis.diagnosing",
    "export": "langlift.sharing.exporting",
    "export_adapter": "langlift.checkpoints.exporting",
    "find_language": "langlift.languages",
    "import_adapters": "langlift.checkpoints.importing",
    "load_adapter": "langlift.checkpoints.adapter_folder",
    "plan_study": "langlift.studies.planning",
    "pretrain": "langlift.training.pretraining",
    "price_plan": "langlift.studies.pricing",
    "prompt": "langlift.prompting.running",
    "push": "langlift.sharing.pushing",
    "read_family": "langlift.training.family_file",
    "read_study": "langlift.studies.study_file",
    "resolve": "langlift.config.loading",
    "run_study": "langlift.studies.running",
    "runs_frame": "langlift.studies.folder",
    "score_model": "langlift.evaluation.pseudo_perplexity",
    "score_sentences": "langlift.evaluation.pseudo_perplexity",
    "task_recipe": "langlift.tasks.task",
    "train_task": "langlift.tasks.runner",
    "trim_vocabulary": "langlift.vocab.trimming",
    "write_fusion_map": "langlift.reports.charts",
    "write_report": "langlift.reports.study_page",
}
__all__ = list(_PLACES)


def __getattr__(name: str) -> Any:
    """Import on first use: ``import langlift`` itself loads neither torch nor transformers."""
    if name not in _PLACES:
        raise AttributeError(f"module 'langlift' has no attribute '{name}'")
    return getattr(import_module(_PLACES[name]), name)
