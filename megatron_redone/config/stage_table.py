"""The sub-commands of `redone`, in the order of `redone --help`.

This table is all that the command line and the pipeline need to list and configure them. The stage `export-hf` is
`megatron_redone/stages/export_hf.py`, imported only when it runs, and with it torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module


@dataclass(frozen=True)
class Stage:
    """One sub-command of `redone`.

    Attributes:
        summary: One line for `redone --help`.
        schema: `module:Class` of its configuration dataclass.
        options: Options that stand for keys, and the keys: {"--from": "from_stage"}.
        folder_key: The key that becomes the folder of the file that --config names.
        plans: Whether the module has a `dry_run(config)` that tells more than the configuration.
        of_pipeline: Whether `redone pipeline` can run it.
        resumes: Whether it goes on from what lies in its output, whatever the settings were that it was begun with;
            a pipeline clears such an output away where they have changed.
    """

    summary: str
    schema: str
    options: Mapping[str, str] = field(default_factory=dict)
    folder_key: str | None = None
    plans: bool = False
    of_pipeline: bool = True
    resumes: bool = False

    def config_class(self) -> type:
        """Imports and returns the configuration dataclass."""
        module, name = self.schema.split(":")
        return getattr(import_module(module), name)


STAGES = {
    "curate": Stage(
        "raw posts and texts to clean, deduplicated documents, with a funnel of what was dropped and why",
        "megatron_redone.config.curate:CurateConfig",
    ),
    "select-quality": Stage(
        "documents scored by a small model, and cut by percentile within source, language and length",
        "megatron_redone.config.select_quality:SelectQualityConfig",
        options={"--job": "job"},
    ),
    "prepare-sft": Stage(
        "conversations to token ids with loss masks, by the tokenizer's chat template",
        "megatron_redone.config.prepare_sft:PrepareSFTConfig",
    ),
    "prepare-preferences": Stage(
        "preference pairs to token ids with masks on the responses, by the tokenizer's chat template",
        "megatron_redone.config.prepare_preferences:PreparePreferencesConfig",
    ),
    "tokenize": Stage(
        "raw JSONL or Parquet to Megatron indexed datasets (.bin/.idx)",
        "megatron_redone.config.tokenize:TokenizeConfig",
    ),
    "optimize-mixture": Stage(
        "many small runs over mixtures of sources, and the blend that a regression of their losses proposes",
        "megatron_redone.config.optimize_mixture:OptimizeMixtureConfig",
        options={"--job": "job"},
    ),
    "pretrain": Stage(
        "train on tokens, from random weights or from a checkpoint (start it with torchrun)",
        "megatron_redone.config.pretrain:PretrainConfig",
        resumes=True,
    ),
    "sft": Stage(
        "fine-tune on conversations that prepare-sft wrote (start it with torchrun)",
        "megatron_redone.config.sft:SftConfig",
        resumes=True,
    ),
    "score-reference": Stage(
        "log-probabilities of preference pairs under the reference model, once (torchrun for a layout)",
        "megatron_redone.config.score_reference:ScoreReferenceConfig",
    ),
    "dpo": Stage(
        "optimise on preference pairs, with one model in memory (start it with torchrun)",
        "megatron_redone.config.dpo:DpoConfig",
        resumes=True,
    ),
    "import-hf": Stage(
        "a Hugging Face directory to a megatron-core distributed checkpoint (training stages need no such step)",
        "megatron_redone.config.import_hf:ImportHFConfig",
    ),
    "export-hf": Stage(
        "a checkpoint of any layout to a Hugging Face directory",
        "megatron_redone.config.export_hf:ExportHFConfig",
    ),
    "verify": Stage(
        "compare a checkpoint with a Hugging Face model: logits, perplexity, weights (torchrun for a layout)",
        "megatron_redone.config.verify:VerifyConfig",
    ),
    "evaluate": Stage(
        "exported models side by side: bits per byte, preferences, answers, with intervals",
        "megatron_redone.config.evaluate:EvaluateConfig",
    ),
    "estimate-online": Stage(
        "click-page rate and exposure of harmful content under another model, from logs of the present one",
        "megatron_redone.config.estimate_online:EstimateOnlineConfig",
    ),
    "report": Stage(
        "one HTML page on runs, curation and evaluation, with Markdown and JSON beside it",
        "megatron_redone.config.report:ReportConfig",
    ),
    "build-preferences": Stage(
        "preference pairs from people's labels, a judge, the policy's mistakes and wrong options",
        "megatron_redone.config.build_preferences:BuildPreferencesConfig",
    ),
    "doctor": Stage(
        "look at this machine: what is there, what is missing, and whether two processes train together",
        "megatron_redone.config.doctor:DoctorConfig",
        of_pipeline=False,
    ),
    "pipeline": Stage(
        "stages in their order, each run where its settings or what it reads have changed",
        "megatron_redone.config.pipeline:PipelineConfig",
        options={"--from": "from_stage", "--until": "until_stage"},
        folder_key="config_dir",
        plans=True,
        of_pipeline=False,
    ),
}
