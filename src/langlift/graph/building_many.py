"""Build folders of sentences for many languages in one pass over ConceptNet and CLDR."""

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from langlift.data_folder import MANIFEST
from langlift.errors import InputError, printable
from langlift.files import check_new_folder, new_folder, write_json, writing
from langlift.graph.building import Build
from langlift.graph.cldr import cldr_locales
from langlift.graph.conceptnet import conceptnet_codes, language_of_code
from langlift.graph.plan import Plan, make_plan
from langlift.graph.recipe import GraphRecipe
from langlift.languages import Language, find_language
from langlift.progress import ProgressBar

WORK = ".building"
"""The subfolder for the stored edges; removed when all languages are done."""
EDGES_AT_ONCE = 500_000
"""Number of edges prepared together, besides those of one language."""


@dataclass(frozen=True)
class GraphsResult:
    """The result of ``langlift graph build all``, also written to ``manifest.json`` beside the languages' folders.

    ``languages`` gives the number of sentences of each language that has a folder, ``too_small`` the reason why
    another has none. ``unknown_codes`` counts the edges that start in a code of ConceptNet without a language.
    ``already_built`` are the languages finished by an earlier build. ``rows`` and ``damaged`` count the rows read.
    ``asked`` are the arguments that must be the same to resume a build.
    """

    data: str
    asked: dict[str, Any]
    sources: list[dict[str, Any]]
    settings: dict[str, Any]
    languages: dict[str, int]
    sentences: int
    too_small: dict[str, str]
    unknown_codes: dict[str, int]
    already_built: list[str]
    rows: int
    damaged: int
    damaged_rows: list[dict[str, Any]]
    seconds: float
    rows_per_second: float
    peak_memory_bytes: int


def build_graphs(
    languages: Sequence[Language] | None,
    sources: Sequence[str],
    out: Path,
    recipe: GraphRecipe | None = None,
    *,
    strict: bool = False,
    predicates: Path | None = None,
    threads: int | None = None,
) -> GraphsResult:
    """Write a folder as ``build_graph`` does for each language, ``out/mlt_Latn`` and so on, from one pass.

    With ``languages`` None, all languages of the sources are built. Sources are ``conceptnet:PATH`` and ``cldr``.
    An interrupted build resumes when called again with the same arguments: finished languages are kept, and blocks
    of the dumps that are stored are not parsed again.

    Raises:
        InputError: as ``build_graph``, but a language with too few sentences is only counted, unless all have too
            few; no language is named; ``out`` contains something else, or a build with other settings; a source is
            a table of triples.
        LangliftError: the folder cannot be written.
    """
    started = time.monotonic()
    plan = _plan_for_many(sources, recipe, strict, predicates)
    if languages is not None and not (languages := list(dict.fromkeys(languages))):
        raise InputError("no language is named", "LANG is a language, several (mlt,swh) or all")
    asked = _asked(plan, languages)
    if (finished := _finished(out, asked)) is not None:
        return finished
    work = _open(out, asked)
    from langlift.graph.edge_store import open_store

    with open_store(work, plan, out, threads) as store:
        build = Build(plan, store, started)
        codes = languages and sorted({code for language in languages for code in conceptnet_codes(language)})
        located = [find_language(name) for name in cldr_locales()] if plan.numbers("cldr") else []
        build.read(codes, [language for language in located if languages is None or language in languages])
        edges = store.codes()
        wanted, unknown = _named(languages, edges)
        built = [name for name in sorted(wanted) if (out / name / MANIFEST).exists()]
        done = {name: json.loads((out / name / MANIFEST).read_text(encoding="utf-8"))["kept"] for name in built}
        small: dict[str, str] = {}
        with ProgressBar("languages", len(wanted) - len(built), "languages") as progress:
            for batch in _batches({name: wanted[name] for name in wanted if name not in done}, edges):
                prepared = store.prepare(batch)
                for name in batch:
                    if (refusal := build.refusal(name, prepared[name])) is not None:
                        small[name] = refusal.message
                        progress.advance(note=name)
                for name, lines in groupby(store.lines(), itemgetter(0)):
                    if name not in small:
                        with new_folder(out / name) as folder:
                            written = build.write(folder, out / name, name, prepared[name], lines)
                        done[name] = written.kept
                        progress.advance(note=name)
    if not done:
        shutil.rmtree(work)
        raise _nothing_kept(build, small)
    result = GraphsResult(
        data=printable(str(out)),
        asked=asked,
        sources=build.sources + ([{"kind": "cldr"}] if plan.numbers("cldr") else []),
        languages=dict(sorted(done.items(), key=lambda item: -item[1])),
        sentences=sum(done.values()),
        too_small=dict(sorted(small.items())),
        unknown_codes=unknown,
        already_built=built,
        **build.measured(),
    )
    write_json(out / MANIFEST, asdict(result))
    shutil.rmtree(work)
    return result


def _plan_for_many(
    sources: Sequence[str], recipe: GraphRecipe | None, strict: bool, predicates: Path | None
) -> Plan:
    """A plan whose sources each have many languages."""
    plan = make_plan(sources, recipe, strict, None, predicates)
    if plan.numbers("triples"):
        raise InputError("triples sources have one language", "build that language alone")
    if any(source.kind == "cldr" and source.path for source in plan.sources):
        raise InputError("a CLDR locale has one language", "use --source cldr")
    return plan


def _nothing_kept(build: Build, small: Mapping[str, str]) -> InputError:
    """The error of a build without any folder; ``small`` says why a language has none."""
    if len(small) == 1:
        return InputError(next(iter(small.values())), "check LANG and the sources")
    tally = build.tally
    damage = f", {tally.damaged:,} damaged{tally.first_damage()}" * (tally.damaged > 0)
    return InputError(f"no language has enough for a graph in {tally.rows:,} rows{damage}", "check the sources")


def _asked(plan: Plan, languages: Sequence[Language] | None) -> dict[str, Any]:
    """The arguments that determine the build; a source that has changed counts as a different one."""
    sources = []
    for source in plan.sources:
        try:
            state = Path(source.path).stat() if source.kind != "cldr" else None
        except OSError as error:
            raise InputError(f"{source.path}: cannot be read ({error.strerror})", "check the path given") from None
        path = str(Path(source.path).resolve()) if state else ""
        sources.append([source.kind, path, *((state.st_size, state.st_mtime_ns) if state else ())])
    # In the form in which JSON returns it.
    names = languages and sorted(str(language) for language in languages)
    asked = {"languages": names, "sources": sources, "settings": plan.settings, "langlift": version("langlift")}
    return dict(json.loads(json.dumps(asked)))


def _finished(out: Path, asked: Mapping[str, Any]) -> GraphsResult | None:
    """The result of an earlier finished build, or None."""
    path = out / MANIFEST
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        finished = GraphsResult(**stored | {"already_built": sorted(stored["languages"])})
    except (ValueError, KeyError, TypeError, OSError):
        raise InputError(f"{out}: contains something else", "choose a new --out") from None
    if finished.asked != asked:
        raise InputError(f"{out}: contains a finished build with other settings or sources", "choose a new --out")
    shutil.rmtree(out / WORK, ignore_errors=True)  # left by a build that was killed just before it ended
    return finished


def _open(out: Path, asked: Mapping[str, Any]) -> Path:
    """Create the working folder, or reuse that of the same interrupted build."""
    work = out / WORK
    state = work / "asked.json"
    if state.exists():
        if json.loads(state.read_text(encoding="utf-8")) != asked:
            raise InputError(
                f"{out}: contains an unfinished build with other settings or sources",
                "choose a new --out, or delete it",
            )
        for left in [*out.glob(".*.writing"), work / "spill"]:
            shutil.rmtree(left, ignore_errors=True)
        return work
    # A build that was interrupted before it recorded what was asked leaves the working folder empty.
    if not (work.is_dir() and [path.name for path in out.iterdir()] == [WORK]):
        check_new_folder(out)
    with writing(out):
        work.mkdir(parents=True, exist_ok=True)
        write_json(state, asked)
    return work


def _named(
    languages: Sequence[Language] | None, counts: Mapping[str, int]
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Each language with its codes in the sources, and the counts of codes without a language."""
    if languages is not None:
        return {str(language): [*conceptnet_codes(language), str(language)] for language in languages}, {}
    wanted: dict[str, list[str]] = {}
    unknown = {}
    for code, count in counts.items():
        language = language_of_code(code)
        if language is None:
            unknown[printable(code)] = count
        else:
            wanted.setdefault(str(language), []).append(code)
    return wanted, unknown


def _batches(wanted: Mapping[str, list[str]], counts: Mapping[str, int]) -> Iterator[dict[str, list[str]]]:
    """Languages to prepare together: at most ``EDGES_AT_ONCE`` edges, and one language more."""
    sizes = [sum(counts.get(code, 0) for code in codes) for codes in wanted.values()]
    before = accumulate(sizes, initial=0)
    for _, batch in groupby(zip(before, wanted, strict=False), lambda pair: pair[0] // EDGES_AT_ONCE):
        yield {name: wanted[name] for _, name in batch}
