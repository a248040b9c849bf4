"""The notebooks' cells run from top to bottom, without Jupyter."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapt", "compare"])
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    variables: dict = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "notebooks are kept without outputs"
            exec(compile("".join(cell["source"]), f"{name}.ipynb, cell {number}", "exec"), variables)
    if name == "adapt":
        assert variables["result"].validation_loss < variables["result"].validation_loss_before
        assert variables["bits"][1].mean() < variables["bits"][0].mean()
    else:
        assert set(variables["scores"].method) == {"none", "seq_bn", "lora"}
        assert (tmp_path / "methods.html").exists() and list((tmp_path / "tables").glob("*.csv"))
