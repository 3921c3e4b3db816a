"""What works on which family of models, tried out on tiny ones.

``python -m tests.helpers.families_page`` prints docs/models.md.

Every family of tests/helpers/families.py, with both heads and each strategy below, goes the whole way that a cell goes:
encoded, θ₀ measured, trained, probed. What comes out is *works*, or the one line by which it was refused before it was
trained; anything else, a run that is recorded as crashed above all, ends the program.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import datasets
import transformers
from transformers.trainer_callback import PrinterCallback

from maskbench.config.probes import Probes
from maskbench.errors import InputError
from maskbench.models.loading import takes_sdpa
from maskbench.probes import reference
from maskbench.probes.run import probe_run
from maskbench.probes.sources import Sources
from maskbench.slots.device import choose
from maskbench.training.run import Inputs, run_cell
from tests.helpers.families import FAMILIES, HEADS, make_family
from tests.helpers.models import make_cell, make_encoded
from tests.helpers.probed_runs import DRIFT

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "models.md"
STRATEGIES: dict[str, dict[str, Any]] = {
    "none": {},
    "random": {"input": {"kind": "random"}},
    "window": {"attention": {"kind": "window", "width": 2}},
    "freeze": {"parameter": {"kind": "freeze", "layers": 1}},
    "lora": {"parameter": {"kind": "lora", "rank": 2}},
    "learned": {"input": {"kind": "learned"}},
}
WORKS = "works"
_SHORT = {"sequence-classification": "classification", "token-classification": "tagging"}
_EXAMPLES = 24
_PROBES = {"measure": ["calibration", "probing", "representation-drift", "parameter-drift", "masked-lm"], "examples": 4}

PAGE = """# Models

Which families of models take which masks. Written by `python -m tests.helpers.families_page` (`make models`), which
trains and probes a tiny random model of each family with each head under six strategies: nothing is masked, `random`
tokens, attention within a `window`, a frozen bottom layer, `lora`, and the `learned` input mask. ✓ means that the
text was encoded, θ₀ measured, the model trained and probed, all without a note of failure; a number stands for the
line below, which is said instead, before anything is trained. A sample of every family is tried in CI, and must give
what stands here.

*sdpa* tells whether transformers has PyTorch's fused attention for the family: without it, `attention: auto` is eager
on every device, and the record says so.

| family | head | sdpa | {heads} |
|---|---|---|{rule}
{rows}

{lines}

## What the families differ in

- **Layers.** ALBERT's layers share their weights: the model has one, so nothing but 0 or 1 layer can be frozen.
  Layers of an encoder-decoder (BART, T5) are those of its encoder, then those of its decoder. Embeddings are the
  tables of tokens, positions and segments with their norms and projections, wherever they are kept: DeBERTa's and
  MPNet's tables of relative positions are among them, OPT's last norm is not.
- **Attention masks** reach a model through transformers' mask interface, XLNet through its `perm_mask`, DeBERTa
  through its encoder. Before training, a pass shows tokens at even places each other alone, and so those at odd
  places: no gradient may pass from the ones to the others. Convolutions (ConvBERT), embeddings of three tokens
  (MobileBERT), windows (Longformer) and pooling (Funnel) fail that, and are refused. BigBird attends to all pairs in
  texts of up to (5 + 2 · `num_random_blocks`) · `block_size` tokens (704); a study with longer ones is refused.
- **Embeddings that are mixed with that of [MASK]** (`learned`, `adaptive` with `place: loss` in classification): before
  training, a pass in which they go over in full must give what [MASK] in place of the tokens gives.
- **Hidden states** of an encoder-decoder are those of its encoder, since its decoder reads the text shifted by one
  place; Funnel's pooled ones are repeated as its own upsampling does. Drift and linear probes are measured on these.
- **XLNet** keeps queries, keys, values and outputs as bare parameters: `lora` and `learned-weights` reach its
  feed-forward maps alone. SqueezeBERT's layers are convolutions, which neither reaches.
- **Gradient checkpointing** is not to be had for {checkpointing}.
- **Tagging** needs a head that transformers has not for {tagging} and some larger decoders.
- DDP, `torch.compile` and fp16 are not exposed: a cell is one process on one card, and is refused under `torchrun`.
"""


def outcomes(name: str, kind: str, strategies: list[str], folder: Path) -> dict[str, str]:
    """Try strategies on a family with a head; returns for each `WORKS`, or the line by which it was refused."""
    model = folder / "model"
    if not model.exists():
        make_family(model, name)
    cells = {
        strategy: make_cell(
            kind, {"name": strategy, **STRATEGIES[strategy]}, model=name.replace("_", "-"), training={"epochs": 1}
        )
        for strategy in strategies
    }
    device = choose(cells[strategies[0]].training, model)
    try:
        encoded = make_encoded(folder / kind, model, kind, count=_EXAMPLES)
        theta = folder / kind / "reference"
        reference.make(encoded, model, theta, max_test=None, examples=4, batch_size=4, device=device, code="c", **DRIFT)
    except InputError as error:
        return dict.fromkeys(strategies, _line(error, model))
    found = {}
    for strategy, cell in cells.items():
        run = folder / kind / strategy
        try:
            inputs = Inputs(encoded, model, run / "work", run / "model")
            record, outcome = run_cell(cell, inputs, device, code="c", command="x")
        except InputError as error:
            found[strategy] = _line(error, model)
            continue
        if outcome is None:
            raise RuntimeError(f"{name}, {kind}, {strategy}: {record.status}: {record.error}")
        outcome.table.to_parquet(run / "predictions.parquet", index=False)
        record.write(run / "metrics.json")
        sources = Sources(run, model, theta, encoded, encoded, folder / kind / "prepared")
        probed, _ = probe_run(cell, sources, Probes.model_validate(_PROBES), device, code="c")
        numbers = {metric.measure for metric in probed.metrics if metric.value is not None}
        if missing := {"representation_drift", "parameter_drift", "ece"} - numbers:
            raise RuntimeError(f"{name}, {kind}, {strategy}: no {', '.join(sorted(missing))}: {probed.notes}")
        found[strategy] = WORKS
    return found


def _line(error: InputError, model: Path) -> str:
    """Return the first line of a refusal, without what is of this model alone."""
    line = str(error).splitlines()[0].replace(f"{model}/", "")
    return re.sub(r"^model [a-z0-9-]+: ", "", line).replace("|", "\\|")


def table(names: list[str]) -> dict[tuple[str, str], dict[str, str]]:
    """Try everything; returns the outcomes by family and kind."""
    found = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder, quiet():
            for kind in HEADS:
                found[name, kind] = outcomes(name, kind, list(STRATEGIES), Path(folder))
        print(name, file=sys.stderr, flush=True)
    return found


@contextlib.contextmanager
def quiet() -> Any:
    """Keep the chatter of libraries to themselves."""
    before = PrinterCallback.on_log
    datasets.disable_progress_bars()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    PrinterCallback.on_log = lambda *_, **__: None
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what is found of the data is told, and is no part of the page
            yield
    finally:
        PrinterCallback.on_log = before
        logging.disable(logging.NOTSET)


def page(found: dict[tuple[str, str], dict[str, str]]) -> str:
    """Return docs/models.md."""
    from maskbench.models.families import NO_CHECKPOINTING

    lines = list(dict.fromkeys(cell for cells in found.values() for cell in cells.values() if cell != WORKS))
    rows = []
    for (name, kind), cells in found.items():
        with tempfile.TemporaryDirectory() as folder:
            FAMILIES[name].configuration(50).save_pretrained(folder)
            sdpa = "yes" if takes_sdpa(Path(folder)) else "no"
        marks = ["✓" if cell == WORKS else str(1 + lines.index(cell)) for cell in cells.values()]
        rows.append(f"| {FAMILIES[name].title} | {_SHORT[kind]} | {sdpa} | {' | '.join(marks)} |")
    return PAGE.format(
        heads=" | ".join(STRATEGIES),
        rule="---|" * len(STRATEGIES),
        rows="\n".join(rows),
        lines="\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1)),
        checkpointing=", ".join(FAMILIES[name].title for name in FAMILIES if name in NO_CHECKPOINTING),
        tagging=", ".join(FAMILIES[name].title for name, kind in found if WORKS not in found[name, kind].values()),
    )


def documented() -> dict[tuple[str, str], dict[str, str]]:
    """Return the outcomes that docs/models.md states."""
    text = DOCUMENT.read_text(encoding="utf-8")
    lines = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    titles = {family.title: name for name, family in FAMILIES.items()}
    kinds = {short: kind for kind, short in _SHORT.items()}
    found = {}
    for row in re.findall(r"^\| (.*) \|$", text, re.MULTILINE):
        title, kind, _, *marks = row.split(" | ")
        if title in titles:
            cells = [WORKS if mark == "✓" else lines[mark] for mark in marks]
            found[titles[title], kinds[kind]] = dict(zip(STRATEGIES, cells, strict=True))
    return found


if __name__ == "__main__":
    print(page(table(sys.argv[1:] or list(FAMILIES))), end="")
