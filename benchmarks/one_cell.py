"""The trainings that benchmarks compare: this project's, and those of a stock Trainer, on the same examples.

A process of its own holds each of them (`worker.Worker`), imports once, and trains whenever it is asked to, so that
several take turns a moment apart. As a script this is such a process; benchmarks start it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import traceback
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from worker import KINDS, MARK

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def _clock() -> float:
    """Return the time in seconds; of one thread on a CPU its own time, which other work hardly changes."""
    import torch

    return time.perf_counter() if torch.cuda.is_available() or torch.get_num_threads() > 1 else time.process_time()


class Stopwatch:
    """Made a callback of a Trainer, it measures from the end of update `warm` to the end of the last."""

    def __new__(cls, warm: int) -> Any:
        """Return the callback; transformers is imported only here."""
        import torch
        from transformers import TrainerCallback

        class Callback(TrainerCallback):
            began = ended = 0.0
            updates = 0

            def now(self) -> float:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                return _clock()

            def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
                if state.global_step == warm:
                    self.began = self.now()

            def on_train_begin(self, *_: Any, **__: Any) -> None:
                if not warm:
                    self.began = self.now()

            def on_train_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
                self.ended, self.updates = self.now(), state.global_step - warm

        return Callback()


def lengths(given: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the splits of an encoded task, the training split without texts of other lengths than `given` asks for."""
    from maskbench.data.encode import load_encoded

    splits: dict[str, Any] = load_encoded(folder)
    shortest, longest = given.get("lengths", (0, sys.maxsize))
    if "lengths" in given:
        kept = [row for row, length in enumerate(splits["train"]["length"]) if shortest <= length <= longest]
        splits["train"] = splits["train"].select(kept)
    return splits


def ours(given: dict[str, Any], examples: int, seed: int = 1) -> tuple[Any, Any]:
    """Return the project's Trainer, ready to train, and its run."""
    from transformers import AutoTokenizer

    from maskbench.config.training import Training
    from maskbench.data.manifests import EncodedManifest
    from maskbench.experiment.cell import Cell
    from maskbench.masks import Strategy
    from maskbench.slots.device import choose
    from maskbench.training.run import Inputs, Run

    encoded, model = Path(given["encoded"]), Path(given["model"])
    manifest = EncodedManifest.read(encoded)
    settings = {"epochs": 1, "threads": given["threads"]} | given["settings"]
    cell = Cell(
        task=manifest.task,
        kind=manifest.kind,
        model="benchmark",
        strategy=Strategy(name="none"),
        regime="single",
        train_size=examples,
        seed=seed,
        training=Training.model_validate(settings),
        max_validation=32,
        max_test=32,
    )
    inputs = Inputs(encoded, model, Path(tempfile.mkdtemp()), load=partial(lengths, given))
    run = Run(cell, inputs, choose(cell.training, model))
    trainer = run.prepare(AutoTokenizer.from_pretrained(model, local_files_only=True))
    trainer.args.eval_strategy = trainer.args.save_strategy = trainer.args.logging_strategy = "no"
    trainer.args.load_best_model_at_end = False
    return trainer, run


def stock(given: dict[str, Any], examples: int, batch_size: int = 32, **more: Any) -> Any:
    """Return a Trainer as the examples of transformers use it, ready to train on the same examples."""
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

    from maskbench.data.manifests import EncodedManifest
    from maskbench.training.subsets import subset

    torch.set_num_threads(given["threads"])
    encoded, model, kind = Path(given["encoded"]), Path(given["model"]), KINDS[given["kind"]]
    manifest = EncodedManifest.read(encoded)
    dataset = subset(lengths(given, encoded)["train"], examples, 1)
    dataset = dataset.remove_columns([name for name in dataset.column_names if name not in ("input_ids", "labels")])
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    tagging = manifest.kind == "token-classification"
    head = AutoModelForTokenClassification if tagging else AutoModelForSequenceClassification
    padding = {"padding": "max_length", "max_length": 128} if kind["padding"] == "128" else {}
    collator = (DataCollatorForTokenClassification if tagging else DataCollatorWithPadding)(tokenizer, **padding)
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        **{
            "num_train_epochs": 1,
            "per_device_train_batch_size": batch_size,
            "learning_rate": 2e-4,
            "seed": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "bf16": kind["bf16"],
            "use_cpu": not torch.cuda.is_available(),
        }
        | more,
    )
    network = head.from_pretrained(model, local_files_only=True, num_labels=len(manifest.labels))
    return Trainer(model=network, args=arguments, train_dataset=dataset, data_collator=collator)


def train(given: dict[str, Any], examples: int, warm: int = 0) -> dict[str, Any]:
    """Train once; returns examples per second after the first `warm` updates, and how many there were."""
    if given["kind"] == "ours-plain":
        import maskbench.training.trainer as module

        module.quick = lambda *_, **__: nullcontext()
    trainer, run = ours(given, examples) if given["kind"].startswith("ours") else (stock(given, examples), None)
    size = trainer.args.train_batch_size * trainer.args.gradient_accumulation_steps
    watch = Stopwatch(warm)
    trainer.add_callback(watch)
    trainer.train()
    seconds = watch.ended - watch.began
    about: dict[str, Any] = {"precision": "bf16" if trainer.args.bf16 else "fp32"}
    if run is not None:
        about |= {"attention": run.device.attention, "notes": _notes(trainer, run)}
    seen = examples - warm * size
    return about | {"examples": seen, "seconds": seconds, "examples_per_second": seen / seconds}


def serve(given: dict[str, Any]) -> None:
    """Answer each line of standard input by one line.

    A request may have `settings`, hyperparameters of `ours` for this request alone, and `lengths`, the least and the
    most tokens of the texts that are trained on.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import Trainer  # noqa: F401 (takes seconds; the process may be started before it is needed)
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    for line in sys.stdin:
        request = json.loads(line)
        asked = given | {"settings": given["settings"] | request.pop("settings", {})}
        if "lengths" in request:
            asked["lengths"] = request.pop("lengths")
        try:
            answer = _ACTIONS[request.pop("do")](asked, **request)
        except Exception:
            answer = {"failed": traceback.format_exc()[-2000:]}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # others share the card
        print(MARK + json.dumps(answer), flush=True)


def about(_: dict[str, Any]) -> dict[str, Any]:
    """Return what the numbers are found on."""
    import platform

    import torch
    import transformers

    card = torch.cuda.is_available()
    return {
        "card": torch.cuda.get_device_name(0) if card else None,
        "memory_gib": torch.cuda.get_device_properties(0).total_memory / 2**30 if card else None,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
    }


def tokens(given: dict[str, Any], examples: int) -> dict[str, Any]:
    """Return how many tokens the first examples have, without padding, and the model's weights that multiply them."""
    from transformers import AutoModel

    from maskbench.training.subsets import subset

    dataset = subset(lengths(given, Path(given["encoded"]))["train"], examples, 1)
    model = AutoModel.from_pretrained(given["model"], local_files_only=True)
    return {"tokens": sum(dataset["length"]), "weights": model.num_parameters(exclude_embeddings=True)}


def peak(given: dict[str, Any], size: int = 1024) -> dict[str, Any]:
    """Return the FLOP/s that a product of two matrices reaches, by type, on the device and threads of the worker."""
    import torch

    torch.set_num_threads(given["threads"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = {}
    for name, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        one, other = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
        best, spent = float("inf"), 0.0
        while spent < 0.7:
            if device == "cuda":
                torch.cuda.synchronize()
            began = _clock()
            for _ in range(4):
                one @ other
            if device == "cuda":
                torch.cuda.synchronize()
            took = (_clock() - began) / 4
            best, spent = min(best, took), spent + 4 * took
        found[name] = 2 * size**3 / best
    return found


def waits(given: dict[str, Any], examples: int) -> dict[str, Any]:
    """Return at which lines the host waited for the card while it trained, how often, and in how many updates.

    CUDA's driver tells of each such call; without a card there are none.
    """
    import warnings
    from collections import Counter

    import torch
    from transformers import TrainerCallback

    places: Counter[str] = Counter()
    trainer, _ = ours(given, examples)

    class Told(TrainerCallback):
        def on_step_begin(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            if state.global_step == 3 and torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode("warn")

        def on_train_end(self, *_: Any, **__: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode("default")

    shown = warnings.showwarning

    def note(message: Any, category: Any, filename: str, line: int, *rest: Any) -> None:
        if "synchronizing CUDA operation" in str(message):
            places[f"{Path(filename).parent.name}/{Path(filename).name}:{line}"] += 1
        else:
            shown(message, category, filename, line, *rest)

    trainer.add_callback(Told())
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        trainer.train()
    return {"updates": max(0, trainer.state.global_step - 3), "waits": dict(places.most_common(12))}


def busy(given: dict[str, Any], examples: int) -> dict[str, Any]:
    """Return the milliseconds of an update, and those in which the card computed."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    trainer, _ = ours(given, examples)
    watch = Stopwatch(0)
    trainer.add_callback(watch)
    card = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CUDA if card else ProfilerActivity.CPU]) as seen:
        trainer.train()
    computed = sum(row.self_device_time_total for row in seen.key_averages()) / 1e3 if card else None
    updates = watch.updates
    return {
        "update_ms": 1000 * (watch.ended - watch.began) / updates,
        "card_ms": None if computed is None else computed / updates,
    }


def score(given: dict[str, Any], examples: int) -> dict[str, Any]:
    """Return the speed of scoring the training examples, and the useful FLOP/s (2 per weight and real token)."""
    import torch

    trainer, run = ours(given, examples)
    rows = list(run.train)
    trainer.forward().read(rows[:64], head=run.head)
    began = _clock()
    trainer.forward().read(rows, head=run.head)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    took = _clock() - began
    work = 2 * trainer.model.num_parameters(exclude_embeddings=True) * sum(run.train["length"])
    precision = run.device.precision
    return {"examples_per_second": examples / took, "flops_per_second": work / took, "precision": precision}


def weights(given: dict[str, Any], examples: int, file: str) -> dict[str, Any]:
    """Train once; returns a hash of all weights, and how far they are from those in a file, which is made if need be.

    The distance is the norm of the difference, as a share of the norm of those in the file.
    """
    import hashlib

    import numpy as np
    import torch

    trainer, run = ours(given, examples)
    trainer.train()
    values = [value.detach().float().flatten().cpu() for value in trainer.whole.state_dict().values()]
    found = torch.cat(values).numpy()
    if not Path(file).exists():
        np.save(file, found)
    first = np.load(file)
    apart = float(np.linalg.norm(found - first) / np.linalg.norm(first))
    return {"hash": hashlib.sha256(found.tobytes()).hexdigest(), "apart": apart, "notes": _notes(trainer, run)}


def _notes(trainer: Any, run: Any) -> list[str]:
    """Return the notes of a training that the record of its run would have."""
    return [*run.notes, *([] if trainer.compiled is None else trainer.compiled.notes())]


def stack(given: dict[str, Any], cells: int, updates: int, warm: int, batched: bool | None = None) -> dict[str, Any]:
    """Return the examples a second that a stack of so many cells trains on, all of its cells counted."""
    from stacked_speed import stacked

    folders = Path(given["encoded"]), Path(given["model"])
    settings = {"threads": given["threads"]} | given["settings"]
    return {"examples_per_second": stacked(*folders, cells, updates, warm=warm, batched=batched, **settings)}


_ACTIONS = {
    "about": about,
    "train": train,
    "tokens": tokens,
    "peak": peak,
    "waits": waits,
    "busy": busy,
    "score": score,
    "weights": weights,
    "stack": stack,
}


if __name__ == "__main__":
    serve(json.loads(sys.argv[1]))
