"""A checkpoint of what ranks hold, saved as a run saves it and waited for."""

from pathlib import Path

from megatron_redone.checkpoint.rank_part import RankState
from megatron_redone.checkpoint.save_in_flight import SaveInFlight
from megatron_redone.errors import UserError
from megatron_redone.formats.folder_checksums import FileBlocks


def save_sharded(state: RankState, folder: Path) -> FileBlocks:
    """Writes this rank's part; called by all ranks, with one empty folder that all see.

    Returns:
        On the main rank the checksums of the files that all ranks have written; nothing on the others.

    Raises:
        UserError: writing failed on some rank; raised on all of them.
    """
    blocks: dict = {}
    save = SaveInFlight(state, folder, blocks.update)
    save.wait()
    if save.problem is not None:
        raise UserError(f"{folder}: the checkpoint could not be written ({save.problem})")
    return blocks
