"""Lists of documents that go, as sorted arrays of numbers: a task in the upper half, a place in it in the lower.

What a folder of lists holds is read in part: a task's documents stand together in each of them.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep

from megatron_redone.curation.documents import DroppedFiles
from megatron_redone.errors import UserError
from megatron_redone.formats.atomic import atomic_file

FILE_BITS = np.uint64(32)
PLACE = np.uint64((1 << 32) - 1)
# Files are told apart by 16 bits of a document's number.
MOST_TASKS = (1 << 16) - 2

_GATHERED_AT_ONCE = 16  # tasks
_KNOWN_AT_ONCE = 1 << 20  # numbers


class GatherLists(PipelineStep):
    """Makes one sorted list of several that have nothing in common, as much at a time as is of a few tasks."""

    type = "🫂 - DEDUP"
    name = "gather lists"

    def __init__(self, lists: Path, gathered: Path, tasks: int, parts: int) -> None:
        super().__init__()
        self.lists = lists
        self.gathered = gathered
        self.tasks = tasks
        self.parts = parts

    def run(self, data: Iterator[Document] | None = None, rank: int = 0, world_size: int = 1) -> None:
        """Writes `uint64[N]` to 00000.npy."""
        lists = saved_arrays(self.lists, self.parts)
        total = sum(len(np.load(path, mmap_mode="r")) for path in lists)
        self.gathered.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.gathered / "00000.npy", "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<u8", "fortran_order": False, "shape": (total,)})
            for first in range(0, self.tasks, _GATHERED_AT_ONCE):
                borders = [np.uint64(task) << FILE_BITS for task in (first, first + _GATHERED_AT_ONCE)]
                slices = [read_range(path, *borders) for path in lists]
                file.write(np.sort(np.concatenate([np.empty(0, np.uint64), *slices])).tobytes())


class DropListed(PipelineStep):
    """Drops the documents that `FindExact` or `KeepBest` listed; behind a `DocumentReader`."""

    type = "🫂 - DEDUP"

    def __init__(self, name: str, reason: str, found: Path, dropped: Path) -> None:
        self.name = name
        super().__init__()
        self.reason = reason
        self.found = found
        self.files = DroppedFiles(dropped, name)

    def run(self, data: Iterator[Document] | None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """Yields what is not listed."""
        goes = set(listed_numbers(self.found, rank).tolist())
        with self.files:
            for document in data or ():
                if document.metadata["index"] in goes:
                    self.files.drop(document, rank, self.reason)
                else:
                    yield document


def listed(found: Path, task: int, documents: int) -> np.ndarray:
    """`bool[documents]`: which documents of a task are in the lists of a folder."""
    mask = np.zeros(documents, bool)
    mask[listed_numbers(found, task)] = True
    return mask


def listed_numbers(found: Path, task: int) -> np.ndarray:
    """`int64[N]`: the places of a task's documents that are in the lists of a folder."""
    first, last = np.uint64(task) << FILE_BITS, np.uint64(task + 1) << FILE_BITS
    mine = [np.empty(0, np.int64)]
    for path in sorted(found.glob("*.npy")):
        mine.append((read_range(path, first, last) & PLACE).astype(np.int64))
    return np.concatenate(mine)


def read_range(path: Path, first: np.uint64, last: np.uint64) -> np.ndarray:
    """What a sorted array in a file has from `first` to before `last`; of several rows the first one is sorted."""
    array = np.load(path, mmap_mode="r")
    return np.array(array[..., slice(*np.searchsorted(array if array.ndim == 1 else array[0], [first, last]))])


def is_listed(found: Path, numbers: np.ndarray) -> np.ndarray:
    """`bool[N]`: which of `uint64[N]` documents are in the lists of a folder, each read a part at a time."""
    order = np.argsort(numbers)
    ascending, inside = numbers[order], np.zeros(len(numbers), bool)
    for path in sorted(found.glob("*.npy")):
        for start in range(0, len(np.load(path, mmap_mode="r")), _KNOWN_AT_ONCE):
            known = np.array(np.load(path, mmap_mode="r")[start : start + _KNOWN_AT_ONCE])
            first, last = np.searchsorted(ascending, known[0], "left"), np.searchsorted(ascending, known[-1], "right")
            some = ascending[first:last]
            inside[order[first:last]] |= known[np.searchsorted(known, some)] == some
    return inside


def document_numbers(task: int, indices: np.ndarray) -> np.ndarray:
    """`uint64[N]`: the numbers of documents at these places of a task."""
    return (np.uint64(task) << FILE_BITS) | indices.astype(np.uint64)


def save_array(folder: Path, rank: int, array: np.ndarray) -> None:
    """Writes what one task has found."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(folder / f"{rank:05d}.npy", "wb") as file:
        np.save(file, array)


def saved_arrays(folder: Path, tasks: int) -> list[Path]:
    """The files that the tasks of an earlier pass saved.

    Raises:
        UserError: not all of them have; without what is missing, duplicates would stay and nobody would notice.
    """
    paths = [folder / f"{rank:05d}.npy" for rank in range(tasks)]
    missing = sum(not path.is_file() for path in paths)
    if missing:
        raise UserError(
            f"{folder}: {missing} of {tasks} files of an earlier pass are missing; remove output_dir's folder 'work' "
            "and run again"
        )
    return paths
