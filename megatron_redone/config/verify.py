"""Keys of `redone verify`."""

from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.config.model import Backend, Precision, check_plain
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """A checkpoint against a Hugging Face model that transformers computes; or what lies on disk, against checksums."""

    hf: str | None = key(
        "a Hugging Face directory with a tokenizer, or a hub name where the network allows it; null compares every "
        "byte of the checkpoint with the checksums that were taken when it was written",
        None,
        reads=True,
        or_hub=True,
    )
    checkpoint: str | None = key(
        "a checkpoint, or the folder of a run; null takes hf's own weights, as init_from would", None, reads=True
    )
    dataset: str | None = key(
        "a dataset's path without .bin or .idx, of any kind: every byte of its files, masks and reference scores is "
        "compared with the checksums that were taken when it was written",
        None,
        reads=True,
    )
    export: str | None = key("a directory of export-hf, of which every byte is compared likewise", None, reads=True)
    text: str | None = key("a UTF-8 file of real text; null takes a built-in sample", None, reads=True)
    seq_length: int = key("tokens of a row", 256, at_least=1)
    rows: int = key("rows that are compared, fewer where the text ends", 8, at_least=1)
    validation: bool = key(
        "also the losses of the checkpoint's main weights, of those it trained with and of hf's, on the run's own "
        "validation rows",
        False,
    )
    tolerance: float | None = key("end with exit code 2 if logits differ by more; null only tells", None, at_least=0)
    backend: Backend = key("modules of a layer; auto takes Transformer Engine where it runs", Backend.auto)
    precision: Precision = key("type of weights and activations, on both sides", Precision.fp32)
    device: Device = key("where to compute", Device.auto, decides=False)
    parallel: ParallelConfig = key("layout over processes, of the checkpoint's side", ParallelConfig, decides=False)

    def __post_init__(self) -> None:
        check_plain(self.precision)
        at_rest = [name for name in ("dataset", "export") if getattr(self, name) is not None]
        if at_rest and (len(at_rest) > 1 or self.hf is not None or self.checkpoint is not None):
            raise UserError(f"{at_rest[0]}: is compared alone; leave the others of dataset, export, hf, checkpoint out")
        if self.validation and (self.checkpoint is None or self.hf is None):
            raise UserError("validation: compares a run with a model; name its checkpoint, and hf")
        if self.validation and self.precision is not Precision.fp32:
            raise UserError("validation: compares weights, not arithmetic; leave precision=fp32")
        if self.hf is None and self.checkpoint is None and not at_rest:
            raise UserError("hf, checkpoint: both are null; give the model, or the checkpoint, or both")
