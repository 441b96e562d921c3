"""`${...}` in a configuration: a reference, a text, or one line that says what is wrong."""

from pathlib import Path

import pytest

from megatron_redone.config.loader import load_config, to_yaml
from megatron_redone.config.metrics import MetricsConfig
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.config.prepare_sft import PrepareSFTConfig
from megatron_redone.errors import UserError


@pytest.mark.parametrize(
    "text", ["${x}", "${x", "${wandb_name}", "${oc.env:HOME}", r"\\${oc.env:HOME}", "${${oc.env:X}}"]
)
def test_what_does_not_resolve_or_comes_from_outside_is_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"wandb_project: p\nwandb_name: '{text}'\n")
    with pytest.raises(UserError, match=r"^wandb_name: .*") as override:
        load_config(MetricsConfig, None, ["wandb_project=p", f"wandb_name={text}"])
    with pytest.raises(UserError, match=f"^{file}: wandb_name: .*") as in_file:
        load_config(MetricsConfig, str(file))
    assert "\n" not in str(override.value) + str(in_file.value)


@pytest.mark.parametrize("text", [r"\${x}", r"\${x", r"a \${x} b: {c}", r"\\\${x}"])
def test_an_escaped_text_is_itself_and_survives_being_written(text: str, tmp_path: Path) -> None:
    config = load_config(MetricsConfig, None, ["wandb_project=p", f"wandb_name='{text}'"])
    assert config.wandb_name is not None and "${x" in config.wandb_name
    (tmp_path / "b.yaml").write_text(to_yaml(config))
    assert load_config(MetricsConfig, str(tmp_path / "b.yaml")) == config


@pytest.mark.parametrize("text", ["true", "42", "[" * 900 + "]" * 900, "template_variables: [1]", "a: ${x"])
def test_files_that_hold_no_keys_are_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=f"^{file}: ") as caught:
        load_config(PrepareSFTConfig, str(file))
    assert "\n" not in str(caught.value)


def test_an_old_name_tells_the_new_one() -> None:
    with pytest.raises(UserError, match=r"^warmup_share: is called warmup_ratio now$"):
        load_config(OptimizerConfig, None, ["warmup_share=0.1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [("lr=0", "lr: 0.0 is not above 0"), ("adam_beta1=1", "adam_beta1: 1.0 is not below 1"),
     ("warmup_ratio=2", "warmup_ratio: 2.0 is more than 1"), ("lr=.nan", "lr: nan is not a finite number")],
)  # fmt: skip
def test_ranges(override: str, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        load_config(OptimizerConfig, None, [override])
