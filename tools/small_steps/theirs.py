"""The same runs by transformers and by TRL, in bf16 as they come: autocast over fp32 weights, AdamW."""

from pathlib import Path
from typing import Any

import torch

from megatron_redone.batches.micro_batch import MicroBatch
from megatron_redone.config.optimizer import OptimizerConfig
from megatron_redone.training.schedule import LearningRate
from tools.small_steps.ours import BETA, WARMUP
from tools.small_steps.text import PAIRS_A_STEP, SEQ_LENGTH, TRAIN_PAIRS


def autocast(folder: Path, batches: list[MicroBatch], config: OptimizerConfig, output: Path) -> list[float]:
    """transformers under torch.autocast; leaves its fp32 weights in a folder, and returns the losses."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    betas = (config.adam_beta1, config.adam_beta2)
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=betas, eps=config.adam_eps, fused=True)
    schedule, losses = LearningRate(config, len(batches)), []
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = schedule.at(step)
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(input_ids=batch.tokens).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch.labels.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_grad)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    model.save_pretrained(output)
    return losses


def trl(folder: Path, pairs: Path, order: list[int], config: OptimizerConfig, output: Path) -> list[float]:
    """TRL's DPOTrainer with bf16=True over fp32 weights, its reference scored before."""
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    settings = DPOConfig(
        output_dir=str(output / "trainer"),
        beta=BETA,
        learning_rate=config.lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=WARMUP,
        weight_decay=config.weight_decay,
        adam_beta1=config.adam_beta1,
        adam_beta2=config.adam_beta2,
        adam_epsilon=config.adam_eps,
        max_grad_norm=config.clip_grad,
        per_device_train_batch_size=PAIRS_A_STEP,
        train_sampling_strategy="sequential",
        max_length=SEQ_LENGTH,
        bf16=True,
        model_init_kwargs={"dtype": "float32"},
        precompute_ref_log_probs=True,
        gradient_checkpointing=False,
        use_cpu=True,
        max_steps=len(order) // PAIRS_A_STEP,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = (pairs / "template.jinja").read_text()
    dataset: Any = load_dataset("json", data_files=str(pairs / "pairs.jsonl"), split="train",
                                cache_dir=str(output / "cache"))  # fmt: skip
    assert max(order) < TRAIN_PAIRS
    trainer = DPOTrainer(
        str(folder),
        args=settings,
        train_dataset=dataset.select(order),
        processing_class=tokenizer,
    )
    trainer.train()
    trainer.save_model(str(output))
    return [record["loss"] for record in trainer.state.log_history if "loss" in record]
