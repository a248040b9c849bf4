"""From sources of triples to a folder of sentences: train, dev and test, what was dropped, and a manifest."""

import hashlib
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from langlift.config.recipes import GraphRecipe
from langlift.data_folder import SPLITS, printable, write_dropped, write_manifest
from langlift.errors import InputError, LangliftError
from langlift.files import check_new_folder, new_folder, process_peak_memory_bytes
from langlift.graph.cldr import described, locale_of, read_cldr
from langlift.graph.conceptnet import conceptnet_codes
from langlift.graph.plan import Plan, make_plan
from langlift.graph.sentence_templates import Template
from langlift.graph.sentences import own_words
from langlift.graph.source_files import SourceFile
from langlift.graph.tally import Tally
from langlift.graph.threads import usable_threads
from langlift.graph.triples import read_triples
from langlift.languages import Language

if TYPE_CHECKING:
    from langlift.graph.edge_store import EdgeStore, Names
    from langlift.graph.parts import Parts


@dataclass(frozen=True)
class GraphResult:
    """What ``langlift graph build`` made; the same stands in the folder's ``manifest.json``.

    ``rows`` is all rows of all sources; each is kept as one sentence, dropped for one reason, or damaged.
    ``damaged_rows`` names the first 20. ``unknown_relations`` are ConceptNet's that no table has a predicate for,
    ``own_words`` the predicates made from the names of a triple source's relations; beyond 1,000 names, relations
    are counted as ``(others)``. ``languages`` counts the languages of heads and of tails (``mt`` as in ConceptNet,
    ``mlt_Latn`` in other sources); ``foreign_tails`` the tails in another language than the one asked for.
    ``largest_group`` is how many sentences must stay in one split because their concepts hang together.
    ``noise`` counts corrupted sentences: ``swap``, ``tail``, and ``unchanged`` for those that could not be.
    ``seconds`` is since the build began, that of many languages too.
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
    lines) and ``cldr``, read in this order. ``columns`` says what the columns of triple sources are called
    (``head=subj,relation=pred,tail=obj``), ``predicates`` names a CSV file of further predicates, ``templates`` a
    YAML file of sentences (or shipped ones: ``mlt_Latn``). Memory does not grow with the sources. ``threads``:
    how many may work at once (default: the machine's, at most 4).

    Raises:
        InputError: a source is missing or damaged as a whole; ``strict`` and a row is damaged; nothing or too
            little is left to split; ``out`` holds something; a setting is for a kind of source that is not given.
        LangliftError: the folder cannot be written.
    """
    started = time.monotonic()
    plan, threads = make_plan(sources, recipe, strict, columns, predicates, templates), usable_threads(threads)
    recipe, codes = plan.recipe, conceptnet_codes(language)
    check_new_folder(out)
    tally = Tally(strict)
    with new_folder(out) as folder:
        with working_folder(out, folder) as work:
            from langlift.graph.edge_store import EdgeStore
            from langlift.graph.parts import Parts

            parts = Parts(work / "parts")
            read = read_files(plan, parts, tally, codes, threads, language)
            read += read_locales(plan, parts, tally, [language])[str(language)]
            with EdgeStore(parts.pattern, work, threads) as store:
                ready = prepare(store, {str(language): (*codes, str(language))}, plan)
                build = Build(plan, ready, read, tally, started)
                build.check(language, codes)
                result = build.write(folder, out, language, codes, store.lines(recipe.noise > 0))
        write_manifest(folder, asdict(result))
    return result


@dataclass(frozen=True)
class Prepared:
    """What is known of the languages that were prepared together: counts, sizes of the splits, samples."""

    names: Mapping[str, "Names"]
    sizes: Mapping[str, tuple[list[int], int]]
    dropped: Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Build:
    """What is known when languages are written one by one."""

    plan: Plan
    ready: Prepared
    sources: list[dict[str, Any]]
    tally: Tally
    started: float

    def check(self, language: Language, codes: Sequence[str]) -> None:
        """Raise an InputError unless there is enough to fill three splits."""
        sizes, largest = self._sizes(language)
        if not all(sizes):
            raise _too_few(language, codes, self.plan, sum(sizes), largest, self._dropped(language), self.tally)

    def write(
        self,
        folder: Path,
        out: Path,
        language: Language,
        codes: Sequence[str],
        lines: Iterable[tuple[str, str, memoryview]],
    ) -> GraphResult:
        """Write train, dev, test and what was dropped into ``folder``, which will be called ``out``.

        ``lines`` are the language's, as the store gives them.
        """
        name, plan, tally = str(language), self.plan, self.tally
        names, (sizes, largest) = self.ready.names[name], self._sizes(language)
        kept, splits = sum(sizes), {}
        with ExitStack() as stack:
            files = {split: stack.enter_context((folder / f"{split}.jsonl").open("wb")) for split in SPLITS}
            digests = {split: hashlib.sha256() for split in SPLITS}
            for _, split, piece in lines:
                files[split].write(piece)
                digests[split].update(piece)
            for split, size in zip(SPLITS, sizes, strict=True):
                splits[split] = {
                    "sentences": size,
                    "bytes": files[split].tell(),
                    "sha256": digests[split].hexdigest(),
                }
        paths = {source.number: printable(source.path or source.kind) for source in plan.sources}
        sample = self.ready.dropped.get(name, [])
        write_dropped(folder, ({**row, "source": paths[row["source"]]} for row in sample))
        seconds = time.monotonic() - self.started
        return GraphResult(
            language=name,
            purpose="training",
            data=printable(str(out)),
            sources=self.sources,
            settings=plan.settings,
            conceptnet_codes=list(codes),
            rows=tally.rows,
            kept=kept,
            dropped=self._dropped(language),
            damaged=tally.damaged,
            damaged_rows=tally.damaged_rows,
            unknown_relations=names.unknown_relations,
            relations=names.relations,
            own_words=names.own_words,
            languages={"head": names.heads, "tail": names.tails},
            foreign_tails=kept - sum(names.tails.get(code, 0) for code in {*codes, name}),
            licences=names.licences,
            noise=names.noise,
            largest_group=largest,
            splits=splits,
            seconds=round(seconds, 2),
            rows_per_second=round(tally.rows / max(seconds, 1e-9), 1),
            peak_memory_bytes=process_peak_memory_bytes(),
            versions={name: version(name) for name in ("langlift", "duckdb")},
        )

    def _sizes(self, language: Language) -> tuple[list[int], int]:
        return self.ready.sizes.get(str(language), ([0] * len(SPLITS), 0))

    def _dropped(self, language: Language) -> dict[str, int]:
        """Counts by reason, the largest first; what is neither kept, dropped nor damaged is not the language's."""
        dropped = dict(self.ready.names[str(language)].dropped)
        left = sum(self._sizes(language)[0]) + sum(dropped.values()) + self.tally.damaged
        if self.tally.rows > left:
            dropped["other_language"] = self.tally.rows - left
        return dict(sorted(dropped.items(), key=lambda item: -item[1]))


def read_files(
    plan: Plan,
    parts: "Parts",
    tally: Tally,
    codes: Sequence[str] | None,
    threads: int,
    language: Language | None = None,
) -> list[dict[str, Any]]:
    """Read the sources that are files into parts; returns what the manifest says of them.

    ``codes`` are those that are wanted of ConceptNet, None means all; ``language`` is that of triples.
    """
    from langlift.graph.conceptnet_pass import read_conceptnet

    described_files = []
    recipe = plan.recipe
    with ExitStack() as stack:
        sources = [source for source in plan.sources if source.kind != "cldr"]
        files = [stack.enter_context(SourceFile(Path(source.path))) for source in sources]
        for source, file in zip(sources, files, strict=True):
            rows = tally.rows
            if source.kind == "conceptnet":
                either = recipe.ends == "either"
                read_conceptnet(file, source.number, parts, tally, codes, either, recipe.term, threads)
            else:
                parts.write_edges(source.number, read_triples(file, str(language), plan.columns, tally))
            read = {"bytes": file.size, "sha256": file.sha256, "rows": tally.rows - rows}
            described_files.append({"kind": source.kind, "path": printable(source.path), **read})
    return described_files


def read_locales(
    plan: Plan, parts: "Parts", tally: Tally, languages: Collection[Language]
) -> dict[str, list[dict[str, Any]]]:
    """Read CLDR's names in each language into parts, where the plan has that source; returns what was read."""
    from langlift.graph.parts import PartCounts, edge_table

    found: dict[str, list[dict[str, Any]]] = {str(language): [] for language in languages}
    for source in plan.sources:
        for number, language in enumerate(languages if source.kind == "cldr" else ()):
            locale = locale_of(language, source.path)
            edges = list(read_cldr(locale, str(language)))
            if not edges and len(plan.sources) == 1 and len(languages) == 1:
                raise InputError(f"CLDR's locale {locale} has no names in {language.name}", "give another source")
            parts.write(source.number, number, edge_table(edges), PartCounts(len(edges), 0, []))
            tally.rows += len(edges)
            found[str(language)].append(described(locale, len(edges)))
    return found


def prepare(store: "EdgeStore", codes: Mapping[str, Collection[str]], plan: Plan) -> Prepared:
    """Load languages, remove duplicates, add noise and split; after that ``store`` has their lines."""
    recipe = plan.recipe
    store.load(codes, recipe.ends == "either", plan.numbers("conceptnet"), plan.templates)
    own = {relation: own_words(relation) for relation in store.relations()}
    store.add_templates({relation: Template.of_predicate(words) for relation, words in own.items()})
    if recipe.duplicates == "drop":
        store.remove_duplicates()
    if recipe.noise:
        store.corrupt(recipe.noise, recipe.seed)
    store.split(recipe.split == "by_sentence", recipe.seed)
    return Prepared(store.names(own), store.sizes(), store.dropped(recipe.seed))


@contextmanager
def working_folder(out: Path, folder: Path) -> Iterator[Path]:
    """A folder in ``folder`` that is removed afterwards; that the disk is full is told in one line."""
    with TemporaryDirectory(dir=folder, prefix=".") as work, no_space(out):
        yield Path(work)


@contextmanager
def no_space(out: Path) -> Iterator[None]:
    """The errors of a full disk, DuckDB's too, as one of ours."""
    # Imported late: DuckDB is not for commands that do not need it.
    import duckdb

    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise LangliftError(f"{out}: cannot be written ({reason})", "check free space and permissions") from error


def _too_few(
    language: Language,
    codes: Sequence[str],
    plan: Plan,
    kept: int,
    largest: int,
    dropped: Mapping[str, int],
    tally: Tally,
) -> InputError:
    """The error for a graph that does not fill three splits."""
    reasons = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in dropped.items()]
    lost = ", ".join(reasons + ([f"{tally.damaged:,} damaged"] if tally.damaged else [])) or "nothing"
    if tally.damaged:
        first = tally.damaged_rows[0]
        lost += f" (the first: {first['source']}:{first['line']}: {first['reason']})"
    if not kept:
        return InputError(
            f"no sentence in {language.name} (ConceptNet: {', '.join(codes)}); left out of {tally.rows:,} rows: "
            f"{lost}",
            "check LANG and the sources; " + _way_out(plan, tally),
        )
    if plan.recipe.split == "by_sentence":
        return InputError(f"{kept:,} sentences do not fill three splits; left out: {lost}", "give more triples")
    return InputError(
        f"{kept:,} sentences, {largest:,} of them inseparable, do not fill three splits; left out: {lost}",
        "give more triples, or --set split=by_sentence, which lets the splits share concepts",
    )


def _way_out(plan: Plan, tally: Tally) -> str:
    """What may help where nothing is left."""
    if not plan.numbers("conceptnet"):
        return "a triple needs head, relation and tail"
    if tally.damaged and tally.damaged == tally.rows:
        return "a table of triples that is not ConceptNet's dump is given as triples:PATH"
    if plan.recipe.ends == "either":
        return "ConceptNet may not have the language"
    return "--either-end keeps more edges"
