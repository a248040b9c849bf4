"""From sources of triples to a folder of sentences: train, dev and test, what was dropped, and a manifest."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from os.path import expanduser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from langlift.config.recipes import GraphRecipe
from langlift.data_folder import SPLITS, printable, write_dropped, write_manifest
from langlift.errors import InputError, LangliftError
from langlift.files import check_new_folder, new_folder, process_peak_memory_bytes
from langlift.graph.conceptnet import conceptnet_codes, read_conceptnet
from langlift.graph.sentences import load_predicates, own_words, sentence
from langlift.graph.source_files import SourceFile
from langlift.graph.tally import MOST_NAMES, Edge, Tally, count_name
from langlift.graph.triples import column_names, read_triples
from langlift.languages import Language
from langlift.progress import ProgressBar

if TYPE_CHECKING:
    from langlift.graph.edge_store import EdgeStore

KINDS = ("conceptnet", "triples")
SENTENCES_A_REPORT = 1000


@dataclass(frozen=True)
class GraphResult:
    """What ``langlift graph build`` made; the same stands in the folder's ``manifest.json``.

    ``rows`` is all rows of all sources; each is kept as one sentence, dropped for one reason, or damaged.
    ``damaged_rows`` names the first 20. ``unknown_relations`` are ConceptNet's that no table has a predicate for,
    ``own_words`` the predicates made from the names of a triple source's relations; beyond 1,000 names, relations
    are counted as ``(others)``. ``languages`` counts the languages of heads and of tails (``mt`` as in ConceptNet,
    ``mlt_Latn`` in triple sources); ``foreign_tails`` the tails in another language than the one asked for.
    ``largest_group`` is how many sentences must stay in one split because their concepts hang together.
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
) -> GraphResult:
    """Turn triples into the folder ``out`` of sentences with argument spans, split 80/10/10.

    ``sources`` are ``conceptnet:PATH`` (the official dump, plain or gzip) and ``triples:PATH`` (TSV, CSV or JSON
    lines), read in this order. ``columns`` says what the columns of triple sources are called
    (``head=subj,relation=pred,tail=obj``), ``predicates`` names a CSV file of further predicates. Memory does not
    grow with the sources.

    Raises:
        InputError: a source is missing or damaged as a whole; ``strict`` and a row is damaged; nothing or too
            little is left to split; ``out`` holds something; a setting is for a kind of source that is not given.
        LangliftError: the folder cannot be written.
    """
    recipe = recipe or GraphRecipe()
    started = time.monotonic()
    if not sources:
        raise InputError("no source is given", "--source conceptnet:PATH or --source triples:PATH")
    kinds, paths = zip(*map(_source, sources), strict=True)
    _check_of_use(recipe, columns, kinds)
    names, table, codes = column_names(columns), load_predicates(predicates), conceptnet_codes(language)
    check_new_folder(out)
    tally = Tally(strict, recipe.seed)
    with ExitStack() as stack:
        files = [stack.enter_context(SourceFile(path)) for path in paths]
        folder = stack.enter_context(new_folder(out))
        with _open_store(out, folder) as store:
            described = []
            for number, (kind, file) in enumerate(zip(kinds, files, strict=True)):
                rows = tally.rows
                if kind == "conceptnet":
                    edges = read_conceptnet(file, codes, tally, recipe.ends == "either", recipe.term)
                else:
                    edges = read_triples(file, str(language), names, tally)
                for edge in _usable(edges, kind, file, table, tally):
                    store.add(number, edge)
                read = {"bytes": file.size, "sha256": file.sha256, "rows": tally.rows - rows}
                described.append({"kind": kind, "path": printable(str(file.path)), **read})
            with ProgressBar("removing duplicates, splitting", 2, "passes") as progress:
                left, removed, sample = store.remove_duplicates(recipe.duplicates == "keep")
                progress.advance()
                for number, edge in sample:
                    tally.drop("duplicate", paths[number], edge)
                tally.dropped["duplicate"] = removed
                store.split(recipe.split == "by_sentence", recipe.seed)
                progress.advance()
            written = _write_splits(folder, store, left, table)
            largest = store.largest_group()
        if not all(written.sentences[split] for split in SPLITS):
            raise _too_few(language, codes, recipe, kinds, left, largest, tally)
        write_dropped(folder, tally.samples.rows())
        seconds = time.monotonic() - started
        result = GraphResult(
            language=str(language),
            purpose="training",
            data=printable(str(out)),
            sources=described,
            settings=asdict(recipe) | {"columns": columns, "strict": strict, "predicates": _described(predicates)},
            conceptnet_codes=list(codes),
            rows=tally.rows,
            kept=left,
            dropped=_ranked(tally.dropped),
            damaged=tally.damaged,
            damaged_rows=tally.damaged_rows,
            unknown_relations=_ranked(tally.unknown_relations),
            relations=_ranked(written.relations),
            own_words=dict(sorted(written.own_words.items())),
            languages={"head": _ranked(written.heads), "tail": _ranked(written.tails)},
            foreign_tails=written.sentences.total() - sum(written.tails[code] for code in (*codes, str(language))),
            licences=_ranked(tally.licences),
            largest_group=largest,
            splits={
                split: {
                    "sentences": written.sentences[split],
                    "bytes": (folder / f"{split}.jsonl").stat().st_size,
                    "sha256": written.digests[split].hexdigest(),
                }
                for split in SPLITS
            },
            seconds=round(seconds, 2),
            rows_per_second=round(tally.rows / max(seconds, 1e-9), 1),
            peak_memory_bytes=process_peak_memory_bytes(),
            versions={name: version(name) for name in ("langlift", "duckdb")},
        )
        write_manifest(folder, asdict(result))
    return result


@dataclass
class _Written:
    """What is counted while the splits are written."""

    sentences: Counter[str] = field(default_factory=Counter)
    relations: Counter[str] = field(default_factory=Counter)
    heads: Counter[str] = field(default_factory=Counter)
    tails: Counter[str] = field(default_factory=Counter)
    own_words: dict[str, str] = field(default_factory=dict)
    digests: dict[str, Any] = field(default_factory=lambda: {split: hashlib.sha256() for split in SPLITS})


@contextmanager
def _open_store(out: Path, folder: Path) -> Iterator["EdgeStore"]:
    """A store of edges in a folder that is removed afterwards."""
    # Imported late: DuckDB is not for commands that do not need it.
    import duckdb

    from langlift.graph.edge_store import EdgeStore

    try:
        with TemporaryDirectory(dir=folder) as work, EdgeStore(Path(work)) as store:
            yield store
    except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
        reason = str(error).splitlines()[0]
        raise LangliftError(f"{out}: cannot be written ({reason})", "check free space and permissions") from error


def _source(text: str) -> tuple[str, Path]:
    """``conceptnet:PATH`` or ``triples:PATH`` in two."""
    kind, colon, path = text.partition(":")
    if kind not in KINDS or not path:
        given = "PATH" if colon else text
        hint = f"conceptnet:{given} (the official dump) or triples:{given} (a table)"
        raise InputError(f"--source {text}: the kind of source is unknown", hint)
    return kind, Path(expanduser(path))  # noqa: PTH111 - leaves what names no user as it is


def _check_of_use(recipe: GraphRecipe, columns: str | None, kinds: Sequence[str]) -> None:
    """Refuse settings that none of the sources would heed."""
    for given, setting, kind in (
        (columns, "--columns", "triples"),
        (recipe.ends == "either", "--either-end", "conceptnet"),
        (recipe.term == "last_segment", "term=last_segment", "conceptnet"),
    ):
        if given and kind not in kinds:
            raise InputError(f"{setting} is only for sources {kind}:PATH, and none is given", "leave it out")


def _described(predicates: Path | None) -> dict[str, str] | None:
    """Name and SHA-256 of the file of further predicates."""
    if predicates is None:
        return None
    return {"name": printable(predicates.name), "sha256": hashlib.sha256(predicates.read_bytes()).hexdigest()}


def _usable(
    edges: Iterator[Edge], kind: str, file: SourceFile, table: Mapping[str, str], tally: Tally
) -> Iterator[Edge]:
    """The edges that become sentences: no loops, and of ConceptNet only relations with a predicate."""
    for edge in edges:
        if kind == "conceptnet" and edge.relation not in table:
            count_name(tally.unknown_relations, edge.relation)
            tally.drop("unknown_relation", file.path, edge)
        elif edge.head == edge.tail:
            tally.drop("self_loop", file.path, edge)
        else:
            yield edge


def _write_splits(folder: Path, store: "EdgeStore", count: int, table: Mapping[str, str]) -> _Written:
    """Write train.jsonl, dev.jsonl and test.jsonl, in the order of the sources."""
    written = _Written()
    with ExitStack() as stack:
        outputs = {split: stack.enter_context((folder / f"{split}.jsonl").open("wb")) for split in SPLITS}
        progress = stack.enter_context(ProgressBar("writing", count, "sentences"))
        for done, (split, _, edge) in enumerate(store.edges(), start=1):
            predicate = table.get(edge.relation)
            if predicate is None:
                predicate = own_words(edge.relation)
                if len(written.own_words) < MOST_NAMES:
                    written.own_words[printable(edge.relation)] = printable(predicate)
            line = (json.dumps(sentence(edge, predicate), ensure_ascii=False) + "\n").encode("utf-8")
            outputs[split].write(line)
            written.digests[split].update(line)
            written.sentences[split] += 1
            count_name(written.relations, edge.relation)
            count_name(written.heads, edge.head_language)
            count_name(written.tails, edge.tail_language)
            if done % SENTENCES_A_REPORT == 0 or done == count:
                progress.advance((done - 1) % SENTENCES_A_REPORT + 1)
    return written


def _too_few(
    language: Language,
    codes: Sequence[str],
    recipe: GraphRecipe,
    kinds: Sequence[str],
    left: int,
    largest: int,
    tally: Tally,
) -> InputError:
    """The error for a graph that does not fill three splits."""
    reasons = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in _ranked(tally.dropped).items()]
    lost = ", ".join(reasons + ([f"{tally.damaged:,} damaged"] if tally.damaged else [])) or "nothing"
    if tally.damaged:
        first = tally.damaged_rows[0]
        lost += f" (the first: {first['source']}:{first['line']}: {first['reason']})"
    if not left:
        return InputError(
            f"no sentence in {language.name} (ConceptNet: {', '.join(codes)}); left out of {tally.rows:,} rows: "
            f"{lost}",
            "check LANG and the sources; " + _way_out(recipe, kinds, tally),
        )
    if recipe.split == "by_sentence":
        return InputError(f"{left:,} sentences do not fill three splits; left out: {lost}", "give more triples")
    return InputError(
        f"{left:,} sentences, {largest:,} of them inseparable, do not fill three splits; left out: {lost}",
        "give more triples, or --set split=by_sentence, which lets the splits share concepts",
    )


def _way_out(recipe: GraphRecipe, kinds: Sequence[str], tally: Tally) -> str:
    """What may help where nothing is left."""
    if "conceptnet" not in kinds:
        return "a triple needs head, relation and tail"
    if tally.damaged and tally.damaged == tally.rows:
        return "a table of triples that is not ConceptNet's dump is given as triples:PATH"
    return "ConceptNet may not have the language" if recipe.ends == "either" else "--either-end keeps more edges"


def _ranked(counts: Counter[str]) -> dict[str, int]:
    """Counts as a plain dictionary, the largest first; zeros are left out."""
    return {name: count for name, count in counts.most_common() if count}
