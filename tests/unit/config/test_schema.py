"""What is read off a configuration: what it reads and writes, and what decides."""

from megatron_redone.config.loader import load_config
from megatron_redone.config.schema import FileRead, files_read, files_written
from megatron_redone.config.stage_table import STAGES


def test_what_a_configuration_reads_and_writes() -> None:
    keys = ["init_from=runs/sft", "data=[{path: pairs/a}, {path: pairs/b}]"]
    scoring = load_config(STAGES["score-reference"].config_class(), None, keys)
    assert files_read(scoring) == [FileRead("runs/sft", True), FileRead("pairs/a"), FileRead("pairs/b")]
    assert files_written(scoring) == ["pairs/a.reference", "pairs/b.reference"]
    elsewhere = load_config(STAGES["score-reference"].config_class(), None, [*keys, "output_dir=scores"])
    assert files_written(elsewhere) == ["scores"]
