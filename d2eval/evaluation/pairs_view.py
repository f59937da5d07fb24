"""Pictures of image pairs: the matches that a run left in the store, coloured by their error."""

import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from d2eval.contracts.options import Runtime, checked_options
from d2eval.evaluation.dataset import ImagePair, PairDataset
from d2eval.foundation.errors import D2EvalError
from d2eval.foundation.images.decoding import read_image
from d2eval.metrics.bootstrap import Statistic
from d2eval.pipeline.pairs import open_matcher
from d2eval.pipeline.stored import StoredWork
from d2eval.report.figures import Sources
from d2eval.report.matches import UNMEASURED, MatchedImages, MatchKind, draw_matches, kinds_by_error
from d2eval.runs.folder import format_value
from d2eval.runs.manifest import FILE as MANIFEST
from d2eval.runs.manifest import entry, load_manifest
from d2eval.runs.measured import SAMPLE, RunPlace
from d2eval.runs.rows import REMEDY, reading

if TYPE_CHECKING:
    from d2eval.evaluation.pairs import PairsBenchmark

_MOST_SAID = 4  # numbers of a pair


def draw_pair(
    benchmark: "PairsBenchmark", runs: Sequence[RunPlace], item: str, sources: Sources
) -> Figure:
    """A row for each run's matches of the pair called ``item``.

    Raises:
        D2EvalError: the pair isn't among the data, or something of it isn't stored.
    """
    rows = [_row(benchmark, run, item, sources) for run in runs]
    return draw_matches(rows, item, sources.lines)


def _row(benchmark: "PairsBenchmark", run: RunPlace, item: str, sources: Sources) -> MatchedImages:
    manifest = load_manifest(run.path, benchmark.name)
    content = manifest.content
    with reading(run.path / MANIFEST, REMEDY):
        words = entry({"command": ["d2eval", benchmark.name], **content}, "command", list)
        root = sources.data or Path(entry(content, "root", str))
        names = [f.name for f in fields(benchmark.Options) if f.name in content]
        chosen = {name: content[name] for name in names}
        file = entry({"protocol_file": None, **content}, "protocol_file", str, type(None))
        if file is not None:
            chosen["protocol"] = file
        options = checked_options(benchmark.Options, chosen)
    own = type(benchmark)(options)
    if file is not None and own.protocol()["protocol_sha256"] != content.get("protocol_sha256"):
        raise D2EvalError(f"{file}: has other numbers than for {run.path}; put the old ones back")
    if not root.is_dir():
        raise D2EvalError(f"{root}: no such folder; say where the data are with --data")
    dataset = own.load(root, sample=manifest.dataset == SAMPLE)
    pair = _pair(own, dataset, item)
    # manifests of earlier versions, which knew one matcher, name none
    usual = {"matcher": open_matcher(None, own.matcher(), Runtime(cache=sources.cache)).describe()}
    remedy = f"make them by `{shlex.join(map(str, words))}`, or give the --cache that has them"
    with reading(run.path / MANIFEST, REMEDY):
        features, matcher = (entry({**usual, **content}, n, dict) for n in ("features", "matcher"))
        stored = StoredWork(features, matcher, sources.cache, remedy)
    paths = (pair.first, pair.second)
    if stored.matches_images:
        first, second = stored.points(*paths, own.top_k)
        matches = np.repeat(np.arange(len(first.features), dtype=np.int32)[:, None], 2, 1)
    else:
        first, second = (stored.features(p, dataset.name_of(p), own.top_k) for p in paths)
        matches = stored.matches(first, second, own.top_k)
    errors = own.errors(pair, first.features, second.features, matches)
    kind, kinds = np.zeros(len(matches), np.int64), [MatchKind("matches", UNMEASURED)]
    if errors is not None:
        kind, kinds = kinds_by_error(errors, own.error_bins, own.error_unit)
    title = (
        f"{run.label}: {len(matches):,} matches of {len(first.features):,} and "
        f"{len(second.features):,} features{_numbers(own, run.path, item)}"
    )
    return MatchedImages(
        title,
        read_image(pair.first),
        read_image(pair.second),
        first.features.keypoints[matches[:, 0]],
        second.features.keypoints[matches[:, 1]],
        kind,
        kinds,
    )


def _pair(benchmark: "PairsBenchmark", dataset: PairDataset, item: str) -> ImagePair:
    for pair in dataset.pairs:
        if benchmark.item_name(tuple(map(format_value, pair.columns.values()))) == item:
            return pair
    raise D2EvalError(f"{dataset.root}: has no pair {item}; say where the data are with --data")


def _numbers(benchmark: "PairsBenchmark", folder: Path, item: str) -> str:
    """Such as "MMA@1px 0.310", on a line of its own: what the run's row of the pair says."""
    found = benchmark.pairing().read(folder)
    row = [benchmark.item_name(key) for key in found.items].index(item)
    said = [
        f"{own.measure.text} {_shown(found.columns[own.column][row])}"
        for own in found.compared
        if own.shown and own.statistic == Statistic() and own.column != "matches"
    ]
    return "\n" + ", ".join(said[:_MOST_SAID]) if said else ""


def _shown(value: float) -> str:
    return f"{value:.3f}" if value <= 1 else f"{value:.4g}"
