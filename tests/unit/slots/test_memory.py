"""How much memory a cell needs: what it allocates counts, what others left and what lies between updates does not."""

from __future__ import annotations

import math

import pytest
import torch

from maskbench.slots import memory as memory_module
from maskbench.slots.memory import Memory

MIB = 2**20
pytestmark = pytest.mark.skipif(
    math.isnan(memory_module._allocated("cpu")), reason="only glibc tells what is allocated"
)


def tensor(mib: float) -> torch.Tensor:
    """A tensor of some size, written to."""
    return torch.ones(int(mib * MIB / 4))


class Nothing(torch.nn.Module):
    """A model without weights."""


def cell(memory: Memory, updates: int = 3) -> float | None:
    """A cell of 20 MiB of weights, 40 of state and 100 of activations; others allocate in its updates, and between."""
    memory.begin()
    weight = torch.nn.Parameter(tensor(20))
    optimizer, kept = torch.optim.AdamW([weight]), []
    for update in range(updates):
        memory.enter(optimizer)
        activations = tensor(100)
        memory.note()
        del activations
        weight.grad = tensor(20)
        memory.note()
        kept += [tensor(30)] if update == 1 else []  # as a library does at its first call
        optimizer.step()
        optimizer.zero_grad()
        memory.leave(optimizer)
        kept.append(tensor(40))  # as an import does
    return memory.peak(Nothing())


def test_what_a_cell_allocates_at_once_counts_wherever_it_stands_in_its_job():
    memory = Memory("cpu")
    before = [tensor(5) for _ in range(20)]
    del before[::2]  # holes, which the process keeps
    assert [cell(memory), cell(memory), cell(Memory("cpu"))] == pytest.approx([160, 160, 160], abs=2)


def test_a_first_update_has_no_state_before_it():
    assert cell(Memory("cpu"), updates=1) == pytest.approx(120, abs=2)


def test_weights_in_a_mapped_file_count(tmp_path):
    from transformers import BertConfig, BertModel

    config = BertConfig(vocab_size=20_000, hidden_size=256, num_hidden_layers=1, num_attention_heads=4)
    BertModel(config).save_pretrained(tmp_path / "model")
    BertModel.from_pretrained(tmp_path / "model")
    memory = Memory("cpu")
    memory.begin()
    model = BertModel.from_pretrained(tmp_path / "model")
    optimizer = torch.optim.AdamW(model.parameters())
    memory.enter(optimizer)
    memory.note()
    memory.leave(optimizer)
    size = sum(weight.numel() for weight in model.parameters()) * 4 / MIB
    assert size > 20
    assert memory.peak(model) == pytest.approx(size, abs=2)


def test_without_an_update_or_without_glibc_there_is_no_number(monkeypatch):
    memory = Memory("cpu")
    memory.begin()
    assert memory.peak(Nothing()) is None
    monkeypatch.setattr(memory_module, "_allocated", lambda kind: float("nan"))
    assert cell(Memory("cpu")) is None
