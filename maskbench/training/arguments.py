"""A cell's hyperparameters as the arguments of transformers' Trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transformers import TrainingArguments

if TYPE_CHECKING:
    from maskbench.training.state import State


def arguments(run: State, examples: int) -> TrainingArguments:
    """Translate a run's hyperparameters for the Trainer.

    Parameters
    ----------
    run
        The run; its hyperparameters, device and number of micro-batches are taken.
    examples
        Number of training examples.
    """
    settings = run.cell.training
    updates = -(-examples // settings.batch_size)
    every = max(1, updates // settings.evaluations_per_epoch)
    return TrainingArguments(
        output_dir=str(run.inputs.work),
        seed=run.cell.seed,
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size // run.micro_batches,
        gradient_accumulation_steps=run.micro_batches,
        activation_checkpointing=settings.gradient_checkpointing,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=run.device.precision == "bf16",
        use_cpu=run.device.kind == "cpu",
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=1,
        restore_callback_states_from_checkpoint=True,  # early stopping keeps its count of evaluations
        load_best_model_at_end=settings.selection == "best",
        metric_for_best_model="score",
        greater_is_better=True,
        logging_strategy="steps",
        logging_steps=every,
        logging_nan_inf_filter=False,
        report_to=list(settings.report_to) or "none",
        run_name=run.cell.run,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=run.device.kind == "cuda",
        accelerator_config={"non_blocking": run.device.kind == "cuda"},
        optim="adamw_torch_fused",
        disable_tqdm=True,
    )
