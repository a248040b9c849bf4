"""Build folders of sentences from sources of triples: train, dev and test, dropped triples, and a manifest."""

import hashlib
import json
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import accumulate, groupby
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from langlift.data_folder import MANIFEST, SPLITS, write_dropped
from langlift.errors import InputError, printable
from langlift.files import (
    check_new_folder,
    locked,
    new_folder,
    process_peak_memory_bytes,
    read_json,
    write_json,
    writing,
)
from langlift.graph.cldr import cldr_locales, locale_of, read_cldr
from langlift.graph.conceptnet import conceptnet_codes, language_of_code
from langlift.graph.plan import Plan, make_plan
from langlift.graph.recipe import GraphRecipe
from langlift.graph.source_files import Counts, SourceFile, Tally
from langlift.graph.triples import read_triples
from langlift.languages import Language, find_language
from langlift.notebook import Shown
from langlift.progress import ProgressBar

if TYPE_CHECKING:
    from pyarrow import Buffer

    from langlift.graph.edge_store import EdgeStore, Prepared

WORK = ".building"
"""The subfolder for the stored edges; removed when all languages are done."""
EDGES_AT_ONCE = 500_000
"""Number of edges prepared together, besides those of one language."""


@dataclass(frozen=True)
class GraphResult(Shown):
    """The result of ``langlift graph build``, also written to the folder's ``manifest.json``.

    ``rows`` is the number of rows of all sources; each is kept as one sentence, dropped for one reason, or
    damaged. ``damaged_rows`` lists the first 20. ``unknown_relations`` are ConceptNet's relations without a
    predicate, ``own_words`` the predicates made from the names of a triple source's relations; beyond 1,000 names,
    relations are counted as ``(others)``. ``languages`` counts the languages of heads and of tails (``mt`` as in
    ConceptNet, ``mlt_Latn`` in other sources), ``foreign_tails`` the tails in other languages than the requested
    one. ``largest_group`` is the largest number of sentences that must stay in one split because their concepts
    are linked. ``noise`` counts corrupted sentences: ``swap``, ``tail``, and ``unchanged`` for those that could
    not be corrupted. ``seconds`` is the time since the build started, also if it is one of many languages.
    """

    language: str
    purpose: str
    data: str
    sources: list[dict[str, Any]]
    settings: dict[str, Any]
    conceptnet_codes: list[str]
    rows: int
    kept: int
    dropped: dict[str, int]
    damaged: int
    damaged_rows: list[dict[str, Any]]
    unknown_relations: dict[str, int]
    relations: dict[str, int]
    own_words: dict[str, str]
    languages: dict[str, dict[str, int]]
    foreign_tails: int
    licences: dict[str, int]
    noise: dict[str, int]
    largest_group: int
    splits: dict[str, dict[str, Any]]
    seconds: float
    rows_per_second: float
    peak_memory_bytes: int
    versions: dict[str, str]


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


def build_graph(
    language: Language,
    sources: Sequence[str],
    out: Path,
    recipe: GraphRecipe | None = None,
    *,
    strict: bool = False,
    columns: str | None = None,
    predicates: Path | None = None,
    templates: str | None = None,
    threads: int | None = None,
) -> GraphResult:
    """Turn triples into the folder ``out`` of sentences with argument spans, split 80/10/10.

    ``sources`` are ``conceptnet:PATH`` (the official dump, plain or gzip), ``triples:PATH`` (TSV, CSV or JSON
    lines) and ``cldr``, read in this order. ``columns`` gives the column names of triple sources
    (``head=subj,relation=pred,tail=obj``), ``predicates`` is a CSV file of further predicates, ``templates`` a
    YAML file of sentences (or shipped ones: ``mlt_Latn``). Memory does not grow with the sources. ``threads`` is
    the number of threads (default: one per core, at most 4).

    Raises:
        InputError: a source is missing or unreadable; ``strict`` and a row is damaged; nothing or too little is
            left to split; ``out`` is not empty; a setting needs a kind of source that is not given.
        LangliftError: the folder cannot be written.
    """
    started = time.monotonic()
    plan = make_plan(sources, recipe, strict, columns, predicates, templates)
    name, codes = str(language), conceptnet_codes(language)
    check_new_folder(out)
    # Imported here so that commands without a graph do not import DuckDB.
    from langlift.graph.edge_store import open_store

    with (
        new_folder(out) as folder,
        TemporaryDirectory(dir=folder, prefix=".") as work,
        open_store(Path(work), plan, out, threads) as store,
    ):
        build = Build(plan, store, started)
        build.read(codes, [language])
        prepared = store.prepare({name: (*codes, name)})[name]
        if (refusal := build.refusal(name, prepared)) is not None:
            raise refusal
        return build.write(folder, out, name, prepared, store.lines())


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
    plan = make_plan(sources, recipe, strict, None, predicates)
    if plan.numbers("triples"):
        raise InputError("triples sources have one language", "build that language alone")
    if any(source.kind == "cldr" and source.path for source in plan.sources):
        raise InputError("a CLDR locale has one language", "use --source cldr")
    if languages is not None and not (languages := list(dict.fromkeys(languages))):
        raise InputError("no language is named", "LANG is a language, several (mlt,swh) or all")
    asked = _asked(plan, languages)
    if (finished := _finished(out, asked)) is not None:
        return finished
    work = _open(out, asked)
    from langlift.graph.edge_store import open_store

    busy = f"{out}: another process is building it"
    with locked(work, busy), open_store(work, plan, out, threads) as store:
        for left in [*out.glob(".*.writing"), work / "spill"]:  # by a build that was killed
            shutil.rmtree(left, ignore_errors=True)
        build = Build(plan, store, started)
        codes = languages and sorted({code for language in languages for code in conceptnet_codes(language)})
        located = [find_language(name) for name in cldr_locales()] if plan.numbers("cldr") else []
        build.read(codes, [language for language in located if languages is None or language in languages])
        edges = store.codes()
        wanted, unknown = _named(languages, edges)
        built = [name for name in sorted(wanted) if (out / name / MANIFEST).exists()]
        done = {name: read_json(out / name / MANIFEST)["kept"] for name in built}
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


@dataclass
class Build:
    """One build: reads the sources (``read``), and writes the folder of each language (``write``).

    ``sources`` describes the files for the manifest, ``locales`` the locales of CLDR, by language.
    """

    plan: Plan
    store: "EdgeStore"
    started: float
    sources: list[dict[str, Any]] = field(default_factory=list)
    locales: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tally = Tally(self.plan.strict)

    def read(self, codes: Sequence[str] | None, languages: Collection[Language]) -> None:
        """Read all sources into the store.

        ``codes`` are the wanted languages in ConceptNet (None: all), ``languages`` those in CLDR. Triples are in
        the only language.
        """
        from langlift.graph.conceptnet_dump import read_conceptnet
        from langlift.graph.edge_store import edge_table

        plan, store, tally = self.plan, self.store, self.tally
        with ExitStack() as stack:
            sources = [source for source in plan.sources if source.kind != "cldr"]
            files = [stack.enter_context(SourceFile(Path(source.path))) for source in sources]
            for source, file in zip(sources, files, strict=True):
                rows = tally.rows
                if source.kind == "conceptnet":
                    either_end = plan.recipe.ends == "either"
                    read_conceptnet(file, source.number, store, tally, codes, either_end, plan.recipe.term)
                else:
                    [language] = languages
                    store.add_edges(source.number, read_triples(file, str(language), plan.columns, tally))
                read = {"bytes": file.size, "sha256": file.sha256, "rows": tally.rows - rows}
                self.sources.append({"kind": source.kind, "path": printable(source.path), **read})
        for number in plan.numbers("cldr"):
            # In an order that does not change when a build is resumed.
            for place, language in enumerate(sorted(languages, key=str)):
                locale = locale_of(language, plan.sources[number].path)
                edges = list(read_cldr(locale, str(language)))
                if not edges and len(plan.sources) == 1 and len(languages) == 1:
                    raise InputError(
                        f"CLDR's locale {locale} has no names in {language.name}", "use another source"
                    )
                if store.counts(number, place) is None:
                    store.add(number, place, edge_table(edges), Counts(len(edges)))
                tally.rows += len(edges)
                described = {"kind": "cldr", "locale": locale, "babel": version("babel"), "rows": len(edges)}
                self.locales.setdefault(str(language), []).append(described)

    def refusal(self, name: str, prepared: "Prepared") -> InputError | None:
        """The error if a language has too few sentences for three splits, else None."""
        if all(prepared.sizes):
            return None
        tally, kept = self.tally, sum(prepared.sizes)
        losses = self._dropped(prepared) | ({"damaged": tally.damaged} if tally.damaged else {})
        lost = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in losses.items()) or "nothing"
        lost += tally.first_damage()
        if not kept:
            if not self.plan.numbers("conceptnet"):
                hint = "a triple needs head, relation and tail"
            elif tally.damaged and tally.damaged == tally.rows:
                hint = "a table of triples that is not ConceptNet's dump is given as triples:PATH"
            elif self.plan.recipe.ends == "either":
                hint = "ConceptNet may not have the language"
            else:
                hint = "--either-end keeps more edges"
            return InputError(
                f"no sentence in {find_language(name).name} (ConceptNet: {', '.join(prepared.codes)}); "
                f"dropped from {tally.rows:,} rows: {lost}",
                f"check LANG and the sources; {hint}",
            )
        groups, hint = "", ""
        if self.plan.recipe.split != "by_sentence":
            groups = f", {prepared.largest_group:,} of them inseparable,"
            hint = ", or --set split=by_sentence, which lets the splits share concepts"
        return InputError(
            f"{kept:,} sentences{groups} are too few for three splits; dropped: {lost}", f"give more triples{hint}"
        )

    def write(
        self, folder: Path, out: Path, name: str, prepared: "Prepared", lines: Iterable[tuple[str, str, "Buffer"]]
    ) -> GraphResult:
        """Write a language's sentences, the sample of what was dropped and the manifest into ``folder``.

        ``folder`` will be renamed to ``out``; ``name`` is the language's, ``lines`` are its lines from the store.
        """
        plan, counts = self.plan, prepared.counts
        digests = {split: hashlib.sha256() for split in SPLITS}
        with ExitStack() as stack:
            files = {split: stack.enter_context((folder / f"{split}.jsonl").open("wb")) for split in SPLITS}
            for _, split, text in lines:
                files[split].write(text)
                digests[split].update(text)
            sizes = {split: file.tell() for split, file in files.items()}
        paths = {source.number: printable(source.path or source.kind) for source in plan.sources}
        write_dropped(folder, ({**row, "source": paths[row["source"]]} for row in prepared.dropped))
        kept = sum(prepared.sizes)
        result = GraphResult(
            language=name,
            purpose="training",
            data=printable(str(out)),
            sources=self.sources + self.locales.get(name, []),
            conceptnet_codes=prepared.codes,
            kept=kept,
            dropped=self._dropped(prepared),
            unknown_relations=counts["unknown_relations"],
            relations=counts["relations"],
            own_words=prepared.own_words,
            languages={"head": counts["heads"], "tail": counts["tails"]},
            foreign_tails=kept - sum(counts["tails"].get(code, 0) for code in [*prepared.codes, name]),
            licences=counts["licences"],
            noise=counts["noise"],
            largest_group=prepared.largest_group,
            splits={
                split: {"sentences": count, "bytes": sizes[split], "sha256": digests[split].hexdigest()}
                for split, count in zip(SPLITS, prepared.sizes, strict=True)
            },
            versions={name: version(name) for name in ("langlift", "duckdb")},
            **self.measured(),
        )
        write_json(folder / MANIFEST, asdict(result))
        return result

    def measured(self) -> dict[str, Any]:
        """The part of the result that one and many languages have in common."""
        tally, seconds = self.tally, time.monotonic() - self.started
        return {
            "settings": self.plan.settings,
            "rows": tally.rows,
            "damaged": tally.damaged,
            "damaged_rows": tally.damaged_rows,
            "seconds": round(seconds, 2),
            "rows_per_second": round(tally.rows / max(seconds, 1e-9), 1),
            "peak_memory_bytes": process_peak_memory_bytes(),
        }

    def _dropped(self, prepared: "Prepared") -> dict[str, int]:
        """Counts by reason, largest first; rows neither kept, dropped nor damaged are in other languages."""
        dropped = dict(prepared.counts["dropped"])
        other = self.tally.rows - sum(prepared.sizes) - sum(dropped.values()) - self.tally.damaged
        if other > 0:
            dropped["other_language"] = other
        return dict(sorted(dropped.items(), key=lambda item: -item[1]))


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
    if not (out / MANIFEST).is_file():
        return None
    stored = read_json(out / MANIFEST)
    try:
        finished = GraphsResult(**stored | {"already_built": sorted(stored["languages"])})
    except (KeyError, TypeError):
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
        if read_json(state) != asked:
            raise InputError(
                f"{out}: contains an unfinished build with other settings or sources",
                "choose a new --out, or delete it",
            )
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
