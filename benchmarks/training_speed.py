"""Training speed beside a stock Trainer (fp32, dynamic padding, its own defaults), on the same examples.

Both train MiniLM on the same sentences of an encoded task that a study has left in its results; the two take turns, so
that the ratio holds on a noisy machine.

    python benchmarks/training_speed.py --results results/quickstart --task conll2003 --examples 640 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def ours(encoded: Path, model: Path, examples: int, threads: int) -> float:
    """Return examples per second of the project's training, from the first update to the last."""
    from maskbench.config.training import Training
    from maskbench.data.manifests import EncodedManifest
    from maskbench.experiment.cell import Cell
    from maskbench.masks import Strategy
    from maskbench.slots.device import choose
    from maskbench.training.run import Inputs, Run

    manifest = EncodedManifest.read(encoded)
    cell = Cell(
        task=manifest.task,
        kind=manifest.kind,
        model="benchmark",
        strategy=Strategy(name="none"),
        regime="single",
        train_size=examples,
        seed=1,
        training=Training(epochs=1, threads=threads),
        max_validation=32,
        max_test=32,
    )
    device = choose(cell.training)
    with tempfile.TemporaryDirectory() as work:
        run = Run(cell, Inputs(encoded, model, Path(work)), device)
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
        trainer = run.prepare(tokenizer)
        trainer.args.eval_strategy = trainer.args.save_strategy = "no"
        trainer.args.load_best_model_at_end = False
        start = time.perf_counter()
        trainer.train()
        return examples / (time.perf_counter() - start)


def stock(encoded: Path, model: Path, examples: int, threads: int) -> float:
    """Return examples per second of a Trainer as the examples of transformers use it: fp32, dynamic padding."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    from maskbench.data.encode import load_encoded
    from maskbench.data.manifests import EncodedManifest
    from maskbench.training.run import subset

    torch.set_num_threads(threads)
    manifest = EncodedManifest.read(encoded)
    dataset = subset(load_encoded(encoded)["train"], examples, 1)
    dataset = dataset.remove_columns([name for name in dataset.column_names if name not in ("input_ids", "labels")])
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    tagging = manifest.kind == "token-classification"
    head = AutoModelForTokenClassification if tagging else AutoModelForSequenceClassification
    collator = (DataCollatorForTokenClassification if tagging else DataCollatorWithPadding)(tokenizer)
    with tempfile.TemporaryDirectory() as work:
        arguments = TrainingArguments(
            output_dir=work,
            num_train_epochs=1,
            per_device_train_batch_size=32,
            learning_rate=2e-4,
            seed=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        network = head.from_pretrained(model, local_files_only=True, num_labels=len(manifest.labels))
        trainer = Trainer(model=network, args=arguments, train_dataset=dataset, data_collator=collator)
        start = time.perf_counter()
        trainer.train()
        return examples / (time.perf_counter() - start)


def main() -> None:
    """Take turns, each in a process of its own, and print the ratio pair by pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results/quickstart", help="a finished study")
    parser.add_argument("--task", default="conll2003")
    parser.add_argument("--model", default="minilm-l6")
    parser.add_argument("--examples", type=int, default=640)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", choices=["ours", "stock"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    encoded = options.results / f"data/encoded/{options.task}.{options.model}.clean"
    model = options.results / f"data/models/{options.model}"
    if options.one:
        speed = {"ours": ours, "stock": stock}[options.one](encoded, model, options.examples, options.threads)
        print(json.dumps({"examples_per_second": speed}))
        return
    ratios = []
    for number in range(options.rounds):
        speeds = {}
        for name in ("ours", "stock"):
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name]
            environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
            output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
            speeds[name] = json.loads(output.strip().splitlines()[-1])["examples_per_second"]
        ratios.append(speeds["ours"] / speeds["stock"])
        print(f"round {number + 1}: ours {speeds['ours']:.0f}/s, stock {speeds['stock']:.0f}/s, {ratios[-1]:.2f} x")
    print(f"median: {statistics.median(ratios):.2f} x")


if __name__ == "__main__":
    main()
