"""Runs go to a hub, served on this machine, and come back from it; what a hub refuses is told in one line."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from conftest import CommandResult
from hub_server import TOKEN, Hub, running_hub
from huggingface_hub import constants

from langlift.adapted import Adapted
from langlift.errors import InputError
from langlift.model_cards import split_front_matter
from langlift.sharing.publication import find_publication


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that huggingface_hub of this process talks to."""
    with running_hub() as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


def pushed(hub: Hub, name: str) -> dict[str, bytes]:
    return hub.repositories[name].files


def test_an_adapter_goes_out_and_comes_back(
    hub: Hub, adapted_runs: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    run = adapted_runs / "seq_bn_inv"
    result = langlift("push", run, "anna/maltese", "--license", "cc-by-4.0", "--json")
    assert result.code == 0, result.err
    files = pushed(hub, "anna/maltese")
    wanted = {"README.md", "adapter.safetensors", "adapter_config.json", "metrics.json", "progress.jsonl"}
    assert set(files) == wanted | {"recipe.yaml", "versions.json"} and set(result.json["files"]) == set(files)
    assert files["adapter.safetensors"] == (run / "adapter.safetensors").read_bytes()
    assert len(hub.repositories["anna/maltese"].commits) == 1, "all or nothing"
    front, text = split_front_matter(files["README.md"].decode())
    assert front["language"] == ["mlt"] and front["license"] == "cc-by-4.0" and "langlift" in front["tags"]
    for said in ("Maltese (`mlt_Latn`", "## Recipe", "| steps | 4 |", "--adapter anna/maltese", "## Limits"):
        assert said in text, said
    everything = b"".join(files.values())
    assert TOKEN not in everything.decode(errors="replace") + result.out + result.err, "the token stays here"
    # The base, a folder of this machine, is told, and its path goes nowhere.
    assert "publish it too" in " ".join(result.json["remarks"])
    assert b"/" + adapted_runs.parts[-2].encode() not in everything

    base = json.loads((run / "adapter_config.json").read_text())["model_name"]
    model = Adapted.load("anna/maltese", base=base)
    assert model.fill("Il-qattus ___ fuq.") == Adapted.load(run).fill("Il-qattus ___ fuq.")
    lines = tmp_path / "lines.txt"
    lines.write_text("Il-qattus raqad.\nIl-kelb ukoll.\n", encoding="utf-8")
    scores = [
        langlift("score", "--base", base, "--adapter", adapter, "--text", lines, "--json").json
        for adapter in (run, "anna/maltese")
    ]
    assert scores[0]["pseudo_perplexity"] == scores[1]["pseudo_perplexity"]


def test_a_base_of_this_machine_is_no_repository_wherever_push_is_called(
    hub: Hub,
    tiny_bert: Path,
    maltese_lines: list[str],
    langlift: Callable[..., CommandResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Recorded as ``my-bert`` and ``models/my-bert``, names that only mean something in the folder of then."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (home / "models").mkdir(parents=True)
    for name in ("my-bert", "models/my-bert"):
        shutil.copytree(tiny_bert, home / name)
    (home / "text.txt").write_text("\n".join(maltese_lines[:40]), encoding="utf-8")
    for number, base in enumerate(("my-bert", "models/my-bert")):
        monkeypatch.chdir(home)
        arguments = ["--data", "text.txt", "--steps", 1, "--method", "seq_bn", "--out", f"run-{number}"]
        assert langlift("adapt", "mlt", "--base", base, *arguments).code == 0
        for folder in (home, elsewhere):
            monkeypatch.chdir(folder)
            result = langlift("push", home / f"run-{number}", "anna/m", "--dry-run", "--json")
            assert any("publish it too" in remark for remark in result.json["remarks"]), (base, folder)
            front, _ = split_front_matter(result.json["card"])
            # A name such as models/my-bert cannot be told from a repository's elsewhere: the remark says so.
            assert "base_model" not in front or (base, folder) == ("models/my-bert", elsewhere)


def test_a_task_goes_out_as_its_best_seed_and_labels_from_the_hub(
    hub: Hub, adapted_runs: Path, tiny_xlm_roberta: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    run = adapted_runs / "topic"
    result = langlift("push", run, "anna/topics", "--language", "Maltese", "--private", "--json")
    assert result.code == 0, result.err
    assert hub.repositories["anna/topics"].private
    files = pushed(hub, "anna/topics")
    assert {"head.json", "head.safetensors", "adapter.safetensors"} <= set(files)
    assert not any("predictions" in name for name in files)
    assert all(b"il-futbol" not in content for content in files.values()), "no text of the data"
    front, text = split_front_matter(files["README.md"].decode())
    metrics = json.loads((run / "seed-1" / "metrics.json").read_text())
    [index] = front["model-index"]
    assert index["results"][0]["metrics"][0]["value"] == round(metrics["test_macro_f1"], 2)
    assert "langlift predict anna/topics" in text and front["pipeline_tag"] == "text-classification"
    settings = text.partition("## Recipe")[2].partition("\n## ")[0]
    assert "| method | seq_bn |" in settings and "| pooling | first |" in settings
    for other in ("experts", "consistency", "decoding", "label_subwords"):
        assert other not in settings, f"{other}: of another method or task"
    lines = tmp_path / "lines.txt"
    lines.write_text("Il-futbol u l-gowl.\nIl-vapur.\n", encoding="utf-8")
    for name, out in ((run, "a.jsonl"), ("anna/topics", "b.jsonl")):
        base = ["--base", tiny_xlm_roberta] if name != run else []
        assert langlift("predict", name, "--text", lines, "--out", tmp_path / out, *base).code == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_a_dry_run_sends_nothing_and_shows_all(
    hub: Hub, adapted_runs: Path, langlift: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    result = langlift("push", adapted_runs / "full", "anna/whole", "--dry-run", "--json")
    assert result.code == 0 and not hub.requests
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= set(result.json["files"])
    assert "base_model" not in split_front_matter(result.json["card"])[0], "a folder of this machine"
    assert not any("--base" in remark for remark in result.json["remarks"]), "a whole model needs no base"
    assert result.json["dry_run"] and result.json["url"] is None
    assert result.json["bytes"] == sum(result.json["files"].values())
    shown = langlift("push", adapted_runs / "full", "anna/whole", "--dry-run")
    assert "model.safetensors" in shown.out and "library_name: langlift" in shown.out
    for lacking in ("--license", "--data"):
        assert lacking in shown.err


def test_the_sources_and_licences_of_the_data_are_on_the_card(
    adapted_runs: Path, langlift: Callable[..., CommandResult], tmp_path: Path, maltese_lines: list[str]
) -> None:
    source = tmp_path / "private" / "mine.txt"
    source.parent.mkdir()
    source.write_text("\n\n".join(maltese_lines[:60]), encoding="utf-8")
    built = tmp_path / "built"
    result = langlift("corpus", "build", "mlt", "--source", f"file:{source}", "--out", built, "--json")
    assert result.code == 0, result.err
    manifest = json.loads((built / "manifest.json").read_text())
    manifest["sources"].append(
        {"kind": "wikipedia", "id": "wikimedia/wikipedia", "licence": "CC BY-SA 4.0 and GFDL"}
    )
    (built / "manifest.json").write_text(json.dumps(manifest))
    run = adapted_runs / "seq_bn_inv"
    result = langlift("push", run, "anna/m", "--data", built, "--base", "anna/base", "--dry-run", "--json")
    assert result.code == 0, result.err
    front, text = split_front_matter(result.json["card"])
    assert "CC BY-SA 4.0 and GFDL" in text and "as given by its owner" in text and "mine.txt" in text
    assert "private" not in text and front["datasets"] == ["wikimedia/wikipedia"]
    assert front["base_model"] == "anna/base" and "--base anna/base" in text
    assert "not the data that the run recorded" in " ".join(result.json["remarks"])
    nothing = langlift("push", run, "anna/m", "--data", adapted_runs, "--dry-run", "--json")
    assert nothing.code == 2 and "manifest.json" in nothing.error["error"]


def test_what_the_owner_wrote_on_the_card_stays(
    adapted_runs: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(adapted_runs / "seq_bn_inv", run)
    own = "---\nlicense: mit\nthanks: Anna\n---\n\n# Mine\n\n## Limits\n\nOnly tales. THIS_FOLDER\n"
    (run / "README.md").write_text(own, encoding="utf-8")
    card = langlift("push", run, "anna/m", "--dry-run", "--json").json["card"]
    front, text = split_front_matter(card)
    assert front["license"] == "mit" and front["thanks"] == "Anna" and front["language"] == ["mlt"]
    assert text.startswith("# Mine") and text.count("## Limits") == 1 and "Only tales. anna/m" in text
    (run / "README.md").write_text(card, encoding="utf-8")
    assert langlift("push", run, "anna/m", "--dry-run", "--json").json["card"] == card, (
        "pushed again it is the same"
    )


def test_what_cannot_be_published(
    adapted_runs: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "recipe.yaml").write_text("inputs: {}\n")
    for source, name, said in (
        (tmp_path / "nothing", "anna/m", "no such folder"),
        (tmp_path, "anna/m", "contains no adapter, task run or model"),
        (tmp_path / "unfinished", "anna/m", "not finished"),
        (adapted_runs / "full", "a/b/c", "not a repository's name"),
        (adapted_runs / "full", "maltese", "not a repository's name"),
    ):
        result = langlift("push", source, name, "--dry-run", "--json")
        assert result.code == 2 and said in result.error["error"], result.err


@pytest.mark.parametrize(
    ("fails", "repository", "said"),
    [
        ({"whoami": 401}, "anna/m", "does not accept the token"),
        ({}, "bela/m", "may not write there (403)"),
        ({"preupload": 403}, "anna/m", "may not write there (403)"),
        ({"commit": 500}, "anna/m", "failed (500)"),
        ({"/lfs/": 403}, "anna/m", "may not write there (403)"),
        ({"commit": 0}, "anna/m", "cannot be reached"),
        ({"commit": 409}, "anna/m", "changed just now"),
    ],
)
def test_what_a_hub_refuses_is_one_line(
    hub: Hub, adapted_runs: Path, langlift: Callable[..., CommandResult], fails: dict, repository: str, said: str
) -> None:
    hub.fails = fails
    result = langlift("push", adapted_runs / "seq_bn_inv", repository, "--json")
    assert result.code == 1 and said in result.error["error"], result.err
    assert result.error["hint"] and ("no file was published" in result.error["error"] or fails == {"commit": 0})
    assert TOKEN not in result.err
    assert not any(known.files for known in hub.repositories.values())


def test_no_token_no_network_and_a_public_repository(
    hub: Hub, adapted_runs: Path, langlift: Callable[..., CommandResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = adapted_runs / "seq_bn_inv"
    assert langlift("push", run, "anna/m", "--json").code == 0
    result = langlift("push", run, "anna/m", "--private", "--json")
    assert result.code == 1 and "is public" in result.error["error"]
    assert langlift("push", run, "anna/m", "--license", "mit", "--json").code == 0, "again, into the same"
    assert b"license: mit" in pushed(hub, "anna/m")["README.md"]
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    result = langlift("push", run, "anna/m", "--json")
    assert result.code == 1 and "cannot be reached" in result.error["error"]
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nowhere/token")
    result = langlift("push", run, "anna/m", "--json")
    assert result.code == 1 and "no token" in result.error["error"] and "HF_TOKEN" in result.error["hint"]


def test_a_repository_that_is_not_there(hub: Hub, langlift: Callable[..., CommandResult], tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("Iva.\n", encoding="utf-8")
    result = langlift("predict", "anna/none", "--text", tmp_path / "t.txt", "--out", tmp_path / "o.tsv", "--json")
    assert result.code == 2 and "anna/none: no such folder, and not found" in result.error["error"], result.err


@pytest.mark.slow
def test_the_command_alone_with_the_address_in_the_environment(adapted_runs: Path, tmp_path: Path) -> None:
    with running_hub() as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(tmp_path),
        }
        command = [sys.executable, "-m", "langlift", "push", str(adapted_runs / "full"), "anna/whole", "--json"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (
            pushed(hub, "anna/whole")["model.safetensors"]
            == (adapted_runs / "full/model.safetensors").read_bytes()
        )
        assert yaml.safe_load(pushed(hub, "anna/whole")["recipe.yaml"])["inputs"]["language"] == "mlt_Latn"


def test_links_do_not_leave_the_run(
    hub: Hub, adapted_runs: Path, langlift: Callable[..., CommandResult], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(adapted_runs / "seq_bn_inv", run)
    secret = tmp_path / "secret"
    secret.write_text("root:x:0:0")
    (run / "versions.json").unlink()
    (run / "versions.json").symlink_to(secret)
    result = langlift("push", run, "anna/maltese", "--license", "cc-by-4.0", "--json")
    assert result.code == 2
    assert "versions.json: is a link" in result.error["error"]
    assert "anna/maltese" not in hub.repositories


@pytest.mark.parametrize(
    "name", ["pytorch_adapter.bin", "adapter.safetensors", "mlm_head.safetensors", "metrics.json"]
)
def test_files_that_are_not_what_their_names_say_are_refused(
    adapted_runs: Path, langlift: Callable[..., CommandResult], tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(adapted_runs / "seq_bn_inv", run)
    (run / name).write_text("root:x:0:0")
    result = langlift("push", run, "anna/maltese", "--license", "cc-by-4.0", "--dry-run", "--json")
    assert result.code == 2
    assert f"{name}: not a {Path(name).suffix[1:]} file" in result.error["error"]


def test_links_below_a_task_run_are_refused(adapted_runs: Path, tmp_path: Path) -> None:
    run, below = tmp_path / "run", tmp_path / "run" / "language_adapter"
    shutil.copytree(adapted_runs / "seq_bn_inv", below)
    (run / "head.json").write_text("{}")
    assert "language_adapter/adapter.safetensors" in find_publication(run).files
    (below / "pytorch_adapter.bin").symlink_to(adapted_runs / "seq_bn_inv" / "adapter.safetensors")
    with pytest.raises(InputError, match=r"pytorch_adapter\.bin: is a link"):
        find_publication(run)
    shutil.rmtree(below)
    below.symlink_to(adapted_runs / "seq_bn_inv", target_is_directory=True)
    with pytest.raises(InputError, match="language_adapter: is a link"):
        find_publication(run)
