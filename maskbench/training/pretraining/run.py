"""One pretraining, from packed text to a model's folder: resumed if it was killed, recorded if it fails."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from transformers import AutoTokenizer

from maskbench.config.sources import RECORD, is_model_file
from maskbench.data.corpora.manifests import PackManifest
from maskbench.data.corpora.pack import HELD_OUT, TOKENIZER, TRAIN, load_packed
from maskbench.data.folders import new_folder
from maskbench.errors import InputError
from maskbench.io.files import canonical, read_json, sha256_files, sha256_text, verify, write_json
from maskbench.masks.setting import Setting
from maskbench.models.fetched import model_hash
from maskbench.models.loading import ordinary_tokens
from maskbench.records.pretraining import NAME, HeldOutRow, MaskCounts, PretrainingRecord, Speed
from maskbench.slots import determinism
from maskbench.slots.device import TOKENS, is_out_of_memory
from maskbench.training.checkpoints import SEAL, TERMINATED, Termination, Work, seal
from maskbench.training.clock import DivergedError
from maskbench.training.collate import Collator
from maskbench.training.job import quieten
from maskbench.training.pretraining.heldout import HeldOut, measure
from maskbench.training.pretraining.learner import Learner, continued, fresh, start_at_frequencies
from maskbench.training.pretraining.loop import Loop, batch_of
from maskbench.training.pretraining.speed import gemm_peak, operations
from maskbench.training.resident import Resident

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from maskbench.experiment.pretraining import Pretrain
    from maskbench.slots.device import Device

STATE, HISTORY = "state.pt", "history.json"
"""Files of a checkpoint, beside its seal."""


class PretrainingError(InputError):
    """A pretraining did not come to its end, and would not if it were started again as it is."""


@dataclass(frozen=True)
class Inputs:
    """Where a pretraining finds and leaves things."""

    pack: Path
    """Folder of the packed text (data/corpora/pack.py)."""
    start: Path | None
    """Folder of the fetched model that is continued; None: from scratch."""
    work: Path
    """Folder for checkpoints; removed when there is a result."""
    destination: Path
    """Folder that the model is written to."""


def key_of(recipe: Pretrain, inputs: Inputs, code: str) -> str:
    """Return a hash of all that a model depends on, sixteen hexadecimal digits; texts and models count by content."""
    settings = recipe.model_dump(mode="json", exclude={"corpora", "continues", "seeds"})
    start = None if inputs.start is None else model_hash(inputs.start)
    return sha256_text(canonical([settings, PackManifest.read(inputs.pack).hash, start, code]))[:16]


def pretrain(
    name: str, recipe: Pretrain, inputs: Inputs, device: Device, *, code: str, command: str, gpu_uuid: str | None = None
) -> PretrainingRecord:
    """Pretrain a model, and leave its folder as fetching leaves one, with the record beside it.

    A model that is there already, of the same recipe, text, start and code, is kept.

    Parameters
    ----------
    name
        Of the model.
    recipe
        How it is pretrained, with one seed.
    inputs
        Where things are.
    device
        What to compute on.
    code, command, gpu_uuid
        What the record says about the code, the command and the card.

    Raises
    ------
    PretrainingError
        If the loss is not finite, or memory runs out; a record says so in the folder, which holds no model.
    InputError
        If the text or the model cannot serve the recipe.
    OSError
        If a file cannot be read or written.
    """
    quieten()
    determinism.begin()
    key = key_of(recipe, inputs, code)
    if (kept := _kept(inputs.destination, key)) is not None:
        print(f"{name}: pretrained before, with this recipe, text and code: kept", flush=True)
        _write_source(inputs.destination, name, kept)
        return kept
    run = _Run(name, recipe, inputs, device, key, {"code": code, "command": command}, gpu_uuid)
    try:
        return run.carried_out()
    except DivergedError as error:
        run.failed("diverged", str(error))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        run.failed("oom", line)


def _kept(folder: Path, key: str) -> PretrainingRecord | None:
    """Return the record of a folder if the model in it is whole and has this key."""
    try:
        record = PretrainingRecord.read(folder / NAME)
        if record.key != key or record.status != "completed":
            return None
        verify(folder, record.files)
    except InputError:
        return None
    return record


def _write_source(folder: Path, name: str, record: PretrainingRecord) -> None:
    """Write what a fetched model's folder has, too: where the files came from, and their hashes."""
    write_json(folder / RECORD, {"source": {"pretrained": name}, "files": record.files, "features": {}})


class _Run:
    """The work on one pretraining; `pretrain` says what the parameters are."""

    def __init__(
        self,
        name: str,
        recipe: Pretrain,
        inputs: Inputs,
        device: Device,
        key: str,
        about: dict[str, str],
        gpu_uuid: str | None,
    ) -> None:
        self.name, self.recipe, self.inputs, self.device, self.key = name, recipe, inputs, device, key
        self.about, self.gpu_uuid = about, gpu_uuid
        self.started, self.clock = datetime.now(UTC), time.perf_counter()
        self.manifest = PackManifest.read(inputs.pack)
        self.history: list[HeldOutRow] = []
        self.notes = list(device.notes)
        self.peak = gemm_peak(device)
        environment = device.environment(None).model_dump(mode="json", exclude={"gpu_uuid", "platform", "python"})
        self.work = Work(inputs.work, {"key": key, "device": environment}, 1)
        self.loop: Loop | None = None

    def carried_out(self) -> PretrainingRecord:
        """Train, measure what was held out, and write the model."""
        splits = load_packed(self.inputs.pack)
        tokenizer = AutoTokenizer.from_pretrained(self.inputs.pack / TOKENIZER, local_files_only=True)
        learner, own = self._learner(tokenizer)
        collate = Collator(int(tokenizer.pad_token_id), multiple=self.device.multiple)
        texts, held = (Resident(splits[split], collate, learner.model.device) for split in (TRAIN, HELD_OUT))
        self.frequencies = texts.frequencies(learner.model.config.vocab_size)
        if self.inputs.start is None:
            start_at_frequencies(learner.model, self.frequencies)
        self.loop = loop = Loop(self.recipe, learner, texts, self._setting(splits, tokenizer, learner), self.device)
        self._resume(loop)
        self._train(loop, held)
        table = self._measure(loop, held, len(held))
        return self._finish(loop, tokenizer, own, table)

    def _learner(self, tokenizer: PreTrainedTokenizerBase) -> tuple[Learner, dict[str, Any]]:
        """Return the model on the device, and the dropout that its configuration says for fine-tuning."""
        attention = self.device.attention
        if self.inputs.start is None:
            model, own = fresh(self.recipe, tokenizer, attention)
        else:
            model, own = continued(self.recipe, self.inputs.start, attention)
        return Learner(model.to(self.device.kind)), own  # type: ignore[arg-type]

    def _setting(self, splits: dict[str, Any], tokenizer: PreTrainedTokenizerBase, learner: Learner) -> Setting:
        """Return what a mask may look at: no labels, no batches (MASKS in experiment/pretraining.py says which do)."""

        def none(*_: Any) -> NoReturn:
            raise InputError(f"{self.recipe.input.kind}: a mask of a pretraining has no labels and no loss to look at")

        return Setting(
            kind="masked-lm",
            labels=(),
            train=splits[TRAIN],
            model=learner.model,
            folder=self.inputs.start or self.inputs.pack / TOKENIZER,
            tokenizer=tokenizer,
            vocabulary=ordinary_tokens(tokenizer),
            updates=0,
            batches=none,
            loss=none,
        )

    # training, with checkpoints

    def _train(self, loop: Loop, held: Resident) -> None:
        """Make all updates; measure at equal distances, and write a checkpoint each time."""
        termination = Termination()
        points = sorted({-(-loop.updates * part // self.recipe.evaluations) for part in range(self.recipe.evaluations)})
        with termination.heeded():
            termination.training = True
            for until in [*(point for point in points if point > loop.done), loop.updates]:
                loop.train(until, lambda: termination.asked)
                if loop.done == until < loop.updates:
                    self._measure(loop, held, self.recipe.evaluated)
                if loop.done < loop.updates:
                    self._checkpoint(loop)
                if termination.asked and loop.done < loop.updates:
                    print(f"asked to end: wrote a checkpoint after update {loop.done} of {loop.updates}", flush=True)
                    raise SystemExit(TERMINATED)
            termination.training = False

    def _measure(self, loop: Loop, held: Resident, most: int) -> HeldOut:
        """Measure the held-out loss on so many sequences, and note it."""
        size = max(1, TOKENS[self.device.kind] // self.recipe.length)
        starts = range(0, min(most, len(held)), size)
        rows = [range(start, min(start + size, most, len(held))) for start in starts]
        batches = [lambda chosen=chosen: batch_of(held.batch(chosen), 0, loop.mask_id) for chosen in rows]
        found = measure(loop.learner, batches, self.frequencies, mixed=self.device.precision == "bf16")
        if not math.isfinite(found.loss):
            raise DivergedError(f"held-out loss is {found.loss} after update {loop.done}")
        row = HeldOutRow(
            update=loop.done,
            loss=found.loss,
            unigram_loss=found.unigram_loss,
            accuracy=found.accuracy,
            pseudo_perplexity=found.pseudo_perplexity,
            pair_accuracy=found.pair_accuracy,
            sequences=len(found.nll),
            masked=int(found.weight.sum()),
        )
        self.history.append(row)
        print(
            f"update {loop.done} of {loop.updates}: "
            f"held-out loss {row.loss:.3f} nats, {100 * row.accuracy:.1f} % right",
            flush=True,
        )
        return found

    def _checkpoint(self, loop: Loop) -> None:
        """Write a checkpoint, which then takes the place of the one before."""
        folder = self.work.folder / f"checkpoint-{loop.done}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        loop.save(folder / STATE)
        write_json(folder / HISTORY, [row.model_dump(mode="json") for row in self.history])
        seal(folder)
        for other in self.work.folder.glob("checkpoint-*"):
            if other != folder:
                shutil.rmtree(other)

    def _resume(self, loop: Loop) -> None:
        """Take over the last whole checkpoint, if there is one."""
        found = sorted(self.work.folder.glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2]))
        for folder in found:
            try:
                verify(folder, read_json(folder / SEAL))
            except InputError as error:
                print(f"{folder}: not used: {error}", flush=True)
                continue
            loop.load(folder / STATE)
            self.history = [HeldOutRow.model_validate(row) for row in read_json(folder / HISTORY)]
            self.notes.append(f"went on after update {loop.done}: wall time is of the last part alone")
            print(f"continues from {folder.name}", flush=True)
            return

    # what is left behind

    def _finish(
        self, loop: Loop, tokenizer: PreTrainedTokenizerBase, own: dict[str, Any], table: HeldOut
    ) -> PretrainingRecord:
        """Write the model's folder in one piece."""
        model = loop.learner.model
        for field, value in own.items():
            setattr(model.config, field, value)
        with new_folder(self.inputs.destination) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            files = sha256_files((path for path in folder.iterdir() if is_model_file(path.name)), folder)
            record = self._record("completed", None, files)
            _write_held_out(folder / "held-out.parquet", table)
            record.write(folder / NAME)
            _write_source(folder, self.name, record)
        self.work.remove()
        return record

    def failed(self, status: Any, message: str) -> NoReturn:
        """Record that there is no model, and say so."""
        self.work.remove()
        folder = self.inputs.destination
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._record(status, message, {}).write(folder / NAME)
        words = {"diverged": "diverged", "oom": "ran out of memory"}[status]
        raise PretrainingError(
            f"model {self.name}: its pretraining {words}: {message}; nothing is fine-tuned from it ({folder / NAME})"
        )

    def _record(self, status: Any, error: str | None, files: dict[str, str]) -> PretrainingRecord:
        loop, start = self.loop, self.inputs.start
        hits, positions = loop.masks.masked.tolist() if loop is not None else (0, 0)
        shown, repeated = loop.repeats.counts() if loop is not None else (0, 0)
        return PretrainingRecord(
            model=self.name,
            key=self.key,
            status=status,
            error=error,
            files=files,
            recipe=self.recipe.model_dump(mode="json"),
            updates=loop.updates if loop is not None else 0,
            passes=loop.updates / loop.per_pass if loop is not None else 0.0,
            held_out=self.history,
            unigram_entropy=self.manifest.splits[HELD_OUT].unigram_entropy,
            unigram_loss=self.manifest.splits[HELD_OUT].unigram_loss,
            masks=MaskCounts(rate=hits / positions if positions else None, shown=shown, repeated=repeated),
            speed=self._speed(loop, hits / positions if positions else 0.0),
            pack=self.manifest.hash,
            corpora=self.manifest.model_dump(mode="json", include={"corpora", "splits", "shared", "tasks"}),
            start=None if start is None else model_hash(start),
            environment=self.device.environment(self.gpu_uuid),
            started=self.started.isoformat(timespec="seconds"),
            wall_s=time.perf_counter() - self.clock,
            notes=[*self.notes, *determinism.notes()],
            **self.about,
        )

    def _speed(self, loop: Loop | None, rate: float) -> Speed:
        each = 0.0 if loop is None else operations(loop.learner.model, self.recipe.length, rate)
        tokens, seconds = (0, 0.0) if loop is None else (loop.tokens, loop.seconds)
        per_s = tokens / seconds if seconds else None
        return Speed(
            tokens=tokens,
            seconds=seconds,
            tokens_per_s=per_s,
            operations_per_token=each,
            gemm_peak=self.peak,
            share_of_peak=None if per_s is None else per_s * each / self.peak,
        )


def _write_held_out(path: Path, table: HeldOut) -> None:
    """Write what each held-out sequence contributes: sums make loss and accuracy of any set of them."""
    import pandas as pd

    columns = {"nll": table.nll, "hit": table.hit, "weight": table.weight}
    if table.pairs is not None:
        columns["pair"] = table.pairs
    pd.DataFrame(columns).rename_axis("example").reset_index().to_parquet(path)
