"""Keys of `redone verify`."""

from dataclasses import dataclass

from megatron_redone.config.field import key
from megatron_redone.config.model import Backend, Precision, check_plain
from megatron_redone.config.parallel import Device, ParallelConfig
from megatron_redone.errors import UserError


@dataclass(frozen=True, kw_only=True)
class VerifyConfig:
    """A checkpoint against a Hugging Face model that transformers computes."""

    hf: str = key(
        "a Hugging Face directory with a tokenizer, or a hub name where the network allows it", reads=True, or_hub=True
    )
    checkpoint: str | None = key(
        "a checkpoint, or the folder of a run; null takes hf's own weights, as init_from would", None, reads=True
    )
    text: str | None = key("a UTF-8 file of real text; null takes a built-in sample", None, reads=True)
    seq_length: int = key("tokens of a row", 256)
    rows: int = key("rows that are compared, fewer where the text ends", 8)
    tolerance: float | None = key("end with exit code 2 if logits differ by more; null only tells", None)
    backend: Backend = key("modules of a layer; auto takes Transformer Engine where it runs", Backend.auto)
    precision: Precision = key("type of weights and activations, on both sides", Precision.fp32)
    device: Device = key("where to compute", Device.auto, decides=False)
    parallel: ParallelConfig = key("layout over processes, of the checkpoint's side", ParallelConfig, decides=False)

    def __post_init__(self) -> None:
        check_plain(self.precision)
        for name in ("seq_length", "rows"):
            if getattr(self, name) < 1:
                raise UserError(f"{name}: {getattr(self, name)} is less than 1")
        if self.tolerance is not None and self.tolerance < 0:
            raise UserError(f"tolerance: {self.tolerance} is negative")
