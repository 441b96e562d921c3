"""What a selection writes: kept, dropped and drawn documents, scores, and a report on the mix before and after."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from megatron_redone import __version__
from megatron_redone.config.schema import config_hash, plain
from megatron_redone.config.select_quality import DocumentsConfig, SelectQualityConfig
from megatron_redone.curation.plain_table import plain_table
from megatron_redone.curation.quality.classes import Classes, Cut, classify, cut
from megatron_redone.curation.quality.score_blocks import Facts, Record, read_blocks
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import atomic_file, write_json, write_text
from megatron_redone.formats.done_check import Finished, read_finished, remove_finished, write_sealed
from megatron_redone.formats.file_record import damage, record_files
from megatron_redone.formats.input_records import invalid_path

FORMAT = "megatron_redone.quality/1"
MANIFEST = "manifest.json"
REPORT = "quality.json"
TABLE = "quality.txt"
WORK = "work"

_SHOWN_AT = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_EXCERPT = 300


@dataclass(frozen=True)
class Selected:
    """One source and what stays of it."""

    source: DocumentsConfig
    facts: Facts
    classes: Classes
    cut: Cut


def select(config: SelectQualityConfig, source: DocumentsConfig, facts: Facts) -> Selected:
    """Cuts one source."""
    classes = classify(facts.languages, facts.letters, config.lengths, config.least_documents)
    return Selected(source, facts, classes, cut(classes, facts.scores, facts.draws, config.keep_from, config.keep_to))


def write_selection(config: SelectQualityConfig, selected: Sequence[Selected], work: str) -> None:
    """Writes all files, the manifest last.

    Raises:
        UserError: too many records are invalid, or the input has changed since it was scored.
    """
    output = Path(config.output_dir)
    examples = {one.source.name: _write_documents(config, one, output) for one in selected}
    classes = [row for one in selected for row in _class_rows(one)]
    write_json(output / REPORT, {"classes": classes, "mix": _mix(classes), "examples": examples})
    write_text(output / TABLE, quality_table(classes) + "\n")
    files = [path for one in selected for path in _written(output, one.source.name)]
    files += (output / WORK).rglob("*.npz")
    content = {
        "format": FORMAT,
        "work": work,
        "config": plain(config),
        "config_hash": config_hash(config),
        "outputs": record_files(output, sorted([*files, output / REPORT, output / TABLE])),
        "version": __version__,
    }
    write_sealed(output / MANIFEST, content)


def finished_selection(output: Path) -> Finished | None:
    """What the manifest in an output folder says, or None where there is none."""
    return read_finished(output / MANIFEST, lambda content: content["outputs"], FORMAT)


def remove_selection(output: Path, finished: Finished | None) -> None:
    """Removes the files of a result that is being replaced; scores stay, unless damaged."""
    scores = output / WORK
    remove_finished(finished, output, lambda file, record: file.is_relative_to(scores) and not damage({file: record}))


def _write_documents(config: SelectQualityConfig, one: Selected, output: Path) -> list[dict[str, Any]]:
    """Writes the files of one source, and returns the examples that the report shows."""
    places = _places(output, one.source.name)
    if not config.random_cut:
        places.pop("drawn").unlink(missing_ok=True)
    shown, examples = _shown(one, config.examples), []
    number = invalid = 0
    with contextlib.ExitStack() as stack:
        files = {kind: stack.enter_context(_file(path)) for kind, path in places.items()}
        bad = stack.enter_context(_file(invalid_path(output / one.source.name)))
        for block in read_blocks(one.source, config.block_documents):
            invalid += len(block.invalid)
            bad.writelines(record.as_line().encode() for record in block.invalid)
            for record in block.records:
                if number >= len(one.facts.scores):
                    raise _changed(one)
                _write_one(one, number, record, files)
                if number in shown:
                    examples.append(_example(one, number, record))
                number += 1
    _check(config, one, number, invalid)
    return sorted(examples, key=lambda example: example["percentile"])


def _places(output: Path, name: str) -> dict[str, Path]:
    """Where the documents of a source go."""
    folders = {"kept": "", "dropped": "dropped", "scores": "scores", "drawn": "random"}
    return {kind: output / folder / f"{name}.jsonl" for kind, folder in folders.items()}


def _written(output: Path, name: str) -> list[Path]:
    """Those of them that there are, and the records that are none."""
    return [path for path in (*_places(output, name).values(), invalid_path(output / name)) if path.exists()]


def _file(path: Path) -> contextlib.AbstractContextManager[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return atomic_file(path, "wb")


def _write_one(one: Selected, number: int, record: Record, files: dict[str, BinaryIO]) -> None:
    facts, chosen = _facts_of(one, number), one.cut
    line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    files["scores"].write(orjson.dumps({"id": record.get("id"), **facts}, option=orjson.OPT_APPEND_NEWLINE))
    if chosen.kept[number]:
        files["kept"].write(line)
    else:
        files["dropped"].write(orjson.dumps({**facts, **record}, option=orjson.OPT_APPEND_NEWLINE))
    if chosen.drawn[number] and "drawn" in files:
        files["drawn"].write(line)


def _facts_of(one: Selected, number: int) -> dict[str, Any]:
    return {
        "score": float(one.facts.scores[number]),
        "percentile": round(float(one.cut.percentiles[number]), 6),
        "class": one.classes.names[int(one.classes.numbers[number])],
    }


def _example(one: Selected, number: int, record: Record) -> dict[str, Any]:
    return {**_facts_of(one, number), "kept": bool(one.cut.kept[number]), "text": record["text"][:_EXCERPT]}


def _shown(one: Selected, examples: int) -> set[int]:
    """Numbers of the documents nearest to some percentiles, over all classes of a source."""
    found: set[int] = set()
    for place in _SHOWN_AT:
        found.update(np.argsort(np.abs(one.cut.percentiles - place), kind="stable")[:examples].tolist())
    return found


def _check(config: SelectQualityConfig, one: Selected, documents: int, invalid: int) -> None:
    if documents != len(one.facts.scores):
        raise _changed(one)
    path = invalid_path(Path(config.output_dir) / one.source.name)
    if not invalid:
        path.unlink()
    if invalid > config.max_invalid * (documents + invalid):
        raise UserError(
            f"{invalid:,} of {documents + invalid:,} records are invalid, more than "
            f"max_invalid={config.max_invalid:g}; they are in {path} with their reasons"
        )


def _changed(one: Selected) -> UserError:
    return UserError(
        f"source '{one.source.name}' has changed since it was scored; remove the folder 'work' in output_dir"
    )


def _class_rows(one: Selected) -> Iterator[dict[str, Any]]:
    for number, name in enumerate(one.classes.names):
        inside = one.classes.numbers == number
        kept, drawn = inside & one.cut.kept, inside & one.cut.drawn
        scores, characters = one.facts.scores[inside], one.facts.characters
        staying = one.facts.scores[kept]
        yield {
            "source": one.source.name,
            "class": name,
            "documents": int(inside.sum()),
            "kept": int(kept.sum()),
            "lowest_kept": float(staying.min()) if len(staying) else None,
            "highest_kept": float(staying.max()) if len(staying) else None,
            "quantiles": {f"{q:g}": round(float(np.quantile(scores, q)), 4) for q in _QUANTILES},
            "characters": int(characters[inside].sum()),
            "characters_kept": int(characters[kept].sum()),
            "characters_random": int(characters[drawn].sum()),
        }


def _mix(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each class' share of all characters before, after, and in the random cut."""
    totals = {name: sum(row[name] for row in rows) for name in ("characters", "characters_kept", "characters_random")}
    return [
        {"source": row["source"], "class": row["class"]}
        | {name: round(row[name] / max(1, total), 6) for name, total in totals.items()}
        for row in rows
    ]


def quality_table(rows: Sequence[dict[str, Any]]) -> str:
    """The classes as a text table: what stays by quality and by chance."""
    header = ["source", "class", "documents", "kept", "median score", "kept scores", "characters", "kept", "random"]
    cells = [
        [
            row["source"],
            row["class"],
            f"{row['documents']:,}",
            f"{row['kept']:,}",
            f"{row['quantiles']['0.5']:.3f}",
            "-" if row["lowest_kept"] is None else f"{row['lowest_kept']:.3f} to {row['highest_kept']:.3f}",
            f"{row['characters']:,}",
            f"{row['characters_kept']:,}",
            f"{row['characters_random']:,}",
        ]
        for row in rows
    ]
    return "\n".join(plain_table(header, cells, words=(0, 1)))
