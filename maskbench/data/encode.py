"""From prepared text to token ids: once for each task and model, memory-mapped, shared by all cells."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import tokenizers
import transformers
from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from maskbench.config.conditions import SHIFTED
from maskbench.data import examine
from maskbench.data.encoder import Encoder
from maskbench.data.folders import new_folder
from maskbench.data.manifests import NAME, EncodedManifest, EncodedSplit, PreparedManifest, TokenizerInfo, in_order
from maskbench.data.pairs import PairEncoder
from maskbench.data.prepare import load_prepared
from maskbench.errors import InputError
from maskbench.io.files import canonical, read_json, sha256_files, sha256_text, verify
from maskbench.models.tokens import read_masked, require_head, require_pad_and_ids, with_segments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from maskbench.config.tasks import Task
    from maskbench.kinds.findings import Finding

_TOKENIZER_FILES = (
    "config.json",
    "tokenizer*",
    "vocab*",
    "merges*",
    "special_tokens_map.json",
    "added_tokens.json",
    "*.model",
)
_OFFSET_POSITIONS = {
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "mpnet",
    "longformer",
    "roberta-prelayernorm",
    "data2vec-text",
    "xmod",
    "ibert",
    "esm",
}
"""Model types whose positions start after the padding id, so that two or so of max_position_embeddings are unused."""


def encode(task: Task, prepared: Path, model: Path, destination: Path) -> None:
    """Tokenize all splits of a prepared task for one model.

    Parameters
    ----------
    task
        Its `max_length` is used and, where rows have two texts, its `stride`.
    prepared
        Folder made by `prepare`, or by `plant` or `shift` from such a folder; whatever splits it has are encoded.
        Words that `shift` masked become the tokenizer's mask token (for a tokenizer without one: the token that
        training adds, `add_mask_token`). Special tokens that are written in a text are text.
    model
        Transformers folder with config.json and a fast tokenizer; nothing is downloaded, no code of it is run.
    destination
        Folder to make, in one piece: one folder for each split (datasets.save_to_disk) and manifest.json. Columns:
        `input_ids` (int32), `words` (int32: index of the word that a subword belongs to, -1 on special tokens;
        data/segments.py says what a word is; in tagging words are given),
        `labels` (int64; in tagging one for each subword, -100 except on the first subword of a word), `example`
        (int64), `length` (int32), `truncated` (int32: words cut off at max_length), `capitals` (bool: subwords of words
        that look like names, surface.py), in tagging
        `tags` (int64: one for each word, also for those cut off), and
        `token_type_ids` (int8) if the model takes them and they are not all 0 (XLNet, Funnel; BERT, of two texts). Rows
        of two texts have a row for each window (data/pairs.py), `segments` (int8: which text a subword is of), and
        columns of their kind (kinds/<kind>/encoding.py). The same input gives the same bytes.

    Raises
    ------
    InputError
        If the folders do not hold what they should, there is no fast tokenizer, max_length exceeds the model's limit,
        or it cuts off every entity of the test split.
    """
    manifest, tables = load_prepared(prepared)
    if manifest.task != task.name or manifest.kind != task.kind:
        raise InputError(
            f"{prepared / NAME}: expected the {task.kind} task {task.name}, found {manifest.kind} {manifest.task}"
        )
    files = tokenizer_files(model)
    tokenizer = load_tokenizer(model)
    _check_limits(task, tokenizer, model)
    require_pad_and_ids(tokenizer, model)
    require_head(task.kind, model)
    info = tokenizer_info(tokenizer)  # before it gets a mask token that the model does not have
    types = with_segments(tokenizer, model, pair=_of_pairs(task))
    mask = read_masked(tokenizer) if manifest.change and manifest.change.what == SHIFTED else None
    lengths = [task.max_length, task.stride] if _of_pairs(task) else [task.max_length]
    identity = sha256_text(
        canonical([manifest.hash, files, *lengths, transformers.__version__, tokenizers.__version__])
    )
    with new_folder(destination) as folder:
        splits: dict[str, EncodedSplit] = {}
        digests: dict[str, dict[str, str]] = {}
        for split, table in tables.items():
            about = (tokenizer, manifest.kind, task.max_length, f"{prepared / split}.parquet", mask, types)
            encoder = PairEncoder(*about, stride=task.stride) if _of_pairs(task) else Encoder(*about)
            fingerprint = sha256_text(f"{identity} {split}")[:16]
            splits[split], digests[split] = _write_split(encoder, table, folder / split, fingerprint, manifest.labels)
        findings = examine.encoded(task, model, prepared, splits)
        _write_manifest(task, manifest, info, files, splits, digests, findings, folder)
    for finding in findings:
        print(f"about the data: {finding.message}")


def _of_pairs(task: Task) -> bool:
    """Tell whether a row of the task has two texts."""
    return len(task.form.texts) > 1


def _write_split(
    encoder: Encoder, table: pa.Table, destination: Path, fingerprint: str, labels: Sequence[str]
) -> tuple[EncodedSplit, dict[str, str]]:
    """Encode a split into a folder; return what the manifest says of it, and a hash of each column."""
    encoder.documents = "document" in table.column_names
    cache = destination.with_name(f"{destination.name}.cache")
    dataset = _map(encoder, table, cache, fingerprint)
    dataset.save_to_disk(destination)
    lost = encoder.of_kind.cut_off(dataset, labels)
    written = EncodedSplit(rows=len(dataset), **encoder.counts, **lost), column_digests(dataset.data.table)
    del dataset
    cache.unlink()
    return written


def load_encoded(folder: Path) -> dict[str, Dataset]:
    """Open an encoded task.

    Parameters
    ----------
    folder
        As `encode` made it.

    Returns
    -------
    dict
        The dataset of each split that there is, memory-mapped: its columns stay on disk until they are used.

    Raises
    ------
    InputError
        If a file is missing or differs from the manifest.
    """
    manifest = EncodedManifest.read(folder)
    if lost := [split for split in manifest.splits if f"{split}/state.json" not in manifest.files]:
        raise InputError(f"{folder / NAME}: files: expected those of {lost[0]}; delete {folder} and run again")
    verify(folder, manifest.files)
    return {
        split: Dataset.load_from_disk(str(folder / split), keep_in_memory=False) for split in in_order(manifest.splits)
    }


def _write_manifest(
    task: Task,
    prepared: PreparedManifest,
    tokenizer: TokenizerInfo,
    model_files: Mapping[str, str],
    splits: dict[str, EncodedSplit],
    digests: Mapping[str, Any],
    findings: list[Finding],
    folder: Path,
) -> None:
    """State what was made of what."""
    content = {"kind": task.kind, "labels": prepared.labels, "max_length": task.max_length, "columns": digests}
    EncodedManifest(
        task=task.name,
        kind=task.kind,
        labels=prepared.labels,
        max_length=task.max_length,
        splits=splits,
        tokenizer=tokenizer,
        prepared=prepared.hash,
        change=prepared.change,
        findings=findings,
        model=sha256_text(canonical(model_files)),
        files=sha256_files((path for path in folder.rglob("*") if path.is_file()), folder),
        hash=sha256_text(canonical(content)),
    ).write(folder)


# --- the model's side


def tokenizer_files(model: Path) -> dict[str, str]:
    """Return the hashes of the files that the tokenizer is made of, checked against source.json where there is one."""
    if not model.is_dir():
        raise InputError(f"{model}: expected a folder in transformers' format")
    wanted = [
        path
        for path in model.iterdir()
        if path.is_file() and any(fnmatchcase(path.name, item) for item in _TOKENIZER_FILES)
    ]
    if (model / "source.json").is_file():
        recorded = read_json(model / "source.json").get("files", {})
        verify(model, {path.name: recorded[path.name] for path in wanted if path.name in recorded})
    return sha256_files(wanted, model)


def load_tokenizer(model: Path) -> PreTrainedTokenizerBase:
    """Load a fast tokenizer from a folder."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, use_fast=True, trust_remote_code=False)
        tokenizer("a")  # a template with a token that is not there fails only now
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a dozen kinds, plain Exception among them, and a panic in Rust is not even that
        raise InputError(f"{model}: the tokenizer cannot be loaded: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise InputError(f"{model}: {type(tokenizer).__name__}: expected a fast tokenizer (tokenizer.json)")
    tokenizer.truncation_side = "right"  # a word's first subword carries its label
    return tokenizer


def tokenizer_info(tokenizer: PreTrainedTokenizerBase) -> TokenizerInfo:
    """Return what the manifest says about a tokenizer."""
    info = {
        "class": type(tokenizer).__name__,
        "mask_token_id": tokenizer.mask_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "vocab_size": len(tokenizer),
    }
    return TokenizerInfo.model_validate(info)


def _first_line(error: BaseException) -> str:
    """Return the first line of a message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _check_limits(task: Task, tokenizer: PreTrainedTokenizerBase, model: Path) -> None:
    """Refuse inputs that are longer, and token ids that are larger, than the model's embeddings."""
    try:
        config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as above
        raise InputError(f"{model / 'config.json'}: cannot be loaded: {_first_line(error)}") from error
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0 and config.model_type in _OFFSET_POSITIONS:
        positions -= (config.pad_token_id or 0) + 1
    limit = min(tokenizer.model_max_length, positions if isinstance(positions, int) and positions > 0 else 10**30)
    if task.max_length > limit:
        raise InputError(
            f"task {task.name}: max_length: the model in {model} takes at most {limit} tokens, got {task.max_length}"
        )
    if task.max_length <= tokenizer.num_special_tokens_to_add(pair=_of_pairs(task)):
        raise InputError(
            f"task {task.name}: max_length: {task.max_length} tokens leave no room for text beside the special ones"
        )
    vocabulary = getattr(config, "vocab_size", None)
    if isinstance(vocabulary, int) and len(tokenizer) > vocabulary:
        raise InputError(
            f"{model}: the tokenizer has {len(tokenizer)} tokens, but the model embeddings for {vocabulary}"
        )


# --- columns on disk


def _map(encoder: Encoder, table: pa.Table, cache: Path, fingerprint: str) -> Dataset:
    """Encode a table batch by batch into a file; the fingerprint is given, since datasets would draw or pickle one."""
    return Dataset(table, fingerprint=fingerprint).map(
        encoder,
        batched=True,
        remove_columns=table.column_names,
        features=encoder.features,
        cache_file_name=str(cache),
        load_from_cache_file=False,
        new_fingerprint=fingerprint,
        desc=f"encode {cache.stem}",
    )


def column_digests(table: pa.Table) -> dict[str, str]:
    """Return a hash of each column's values, whatever chunks and files they are in."""
    digests = {}
    for name in table.column_names:
        values, lengths = hashlib.sha256(), hashlib.sha256()
        for chunk in table.column(name).chunks:
            if pa.types.is_list(chunk.type) or pa.types.is_large_list(chunk.type):
                lengths.update(pc.list_value_length(chunk).cast(pa.int64()).to_numpy().tobytes())
                chunk = chunk.flatten()
            if pa.types.is_string(chunk.type):
                lengths.update(pc.binary_length(chunk).cast(pa.int64()).to_numpy().tobytes())
                values.update("".join(chunk.to_pylist()).encode())
                continue
            values.update(chunk.to_numpy(zero_copy_only=False).tobytes())
        digests[name] = f"{table.schema.field(name).type} {lengths.hexdigest()} {values.hexdigest()}"
    return digests
