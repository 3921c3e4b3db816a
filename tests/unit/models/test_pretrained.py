"""Pretrained models are read once, and every run has one of its own."""

from __future__ import annotations

import torch

from maskbench.config.kinds import TASK_KINDS
from maskbench.models import pretrained
from maskbench.models.loading import build_model
from tests.helpers.models import make_model

KIND = next(iter(TASK_KINDS))


def asked(seed: int = 3, **changes: object) -> dict[str, object]:
    """Return what a model depends on beside its folder."""
    return {"kind": KIND, "labels": ["a", "b"], "seed": seed, "dropout": None, "attention": "eager"} | changes


def test_each_fresh_model_is_as_if_it_had_been_read_from_the_files(tmp_path):
    folder, models = make_model(tmp_path / "model"), pretrained.Pretrained()
    read = build_model(folder, **asked())
    state = torch.get_rng_state()
    for _ in range(2):
        torch.manual_seed(99)
        fresh = models.fresh(folder, **asked())
        assert torch.equal(torch.get_rng_state(), state)
        for (name, old), (other, new) in zip(read.named_parameters(), fresh.named_parameters(), strict=True):
            assert name == other
            assert torch.equal(old, new)
            assert getattr(old, "fresh", False) == getattr(new, "fresh", False)
        assert any(getattr(new, "fresh", False) for new in fresh.parameters())
        with torch.no_grad():
            for new in fresh.parameters():
                new.add_(1)  # the next one must not see it


def test_a_model_is_read_from_its_files_once_for_each_head(tmp_path, monkeypatch):
    folder, models, read = make_model(tmp_path / "model", head=True), pretrained.Pretrained(), []

    def counted(*args, **keys):
        read.append(keys)
        return build_model(*args, **keys)

    monkeypatch.setattr(pretrained, "build_model", counted)
    fresh = models.fresh(folder, **asked())
    models.fresh(folder, **asked())
    models.untrained(folder, **asked())
    assert len(read) == 1
    models.fresh(folder, **asked(seed=4))
    models.fresh(folder, **asked(dropout=0.2))
    assert len(read) == 3
    assert models.masked_lm_head(folder, fresh) is models.masked_lm_head(folder, fresh)
