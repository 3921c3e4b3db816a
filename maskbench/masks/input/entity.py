"""Input mask that hits mentions of names as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from maskbench.channels import Channel
from maskbench.config.block import Rate
from maskbench.errors import InputError
from maskbench.kinds import traits
from maskbench.masks.base import InputMask, Need
from maskbench.masks.batch import Batch
from maskbench.masks.schedule import Scheduled

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


class Entity(Scheduled, InputMask):
    """Whole mentions of names are hit, each with probability `rate`, drawn anew in every pass; labels stay.

    References
    ----------
    A strategy that the articles under test name; nothing published measures it. Near it: Ghaddar et al. (2021),
    Context-aware adversarial training for name regularity bias in named entity recognition (learned noise on mentions);
    Zhou et al. (2022), MELM (a masked LM that sees the labels generates other mentions, as more training text).
    """

    kind: Literal["entity"] = "entity"
    stackable: ClassVar[bool] = True
    rate: Rate = 0.15
    """Probability that a mention is hit; the share of tokens follows from the text."""
    by: Literal["gold", "capitals"] = "gold"
    """What a mention is: a tagged entity of the training split, or a run of capitalised words inside a sentence."""
    _types: Any = None
    """(L,) number of each label's entity type, 0 for O."""
    _begins: Any = None
    """(L,) bool: labels that begin a mention."""

    def needs(self) -> frozenset[Need]:
        """Ask for gold mentions, which tagging alone has."""
        return frozenset({"gold mentions"}) if self.by == "gold" else frozenset()

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Read the tags, or make sure that there are capitals.

        Raises
        ------
        InputError
            If the task has no mentions: it is no tagging task (gold), or its text is all lower-case (capitals).
        """
        super().fit(setting, rng)
        if self.by == "gold":
            self._read_tags(setting)
        elif not _any_capital(setting):
            raise InputError(
                "entity: by: capitals: expected capitals in the training text, found none inside a sentence"
            )

    def _read_tags(self, setting: Setting) -> None:
        import torch

        kind = traits.of(setting.kind)
        if not kind.mentions:
            wanted = " or ".join(traits.with_mentions())
            raise InputError(f"entity: by: gold: expected a {wanted} task, found {setting.kind}")
        types, begins = kind.types(setting.labels)
        device = setting.model.device
        self._types, self._begins = torch.tensor(types, device=device), torch.tensor(begins, device=device)

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool: one draw for each mention, at its first word's address, decides for all its tokens."""
        import torch

        from maskbench.masks.shared.words import per_subword

        inside, begins = self._mentions(batch)
        place = torch.arange(batch.words.shape[1], device=batch.words.device)
        start = torch.where(begins, place, 0).cummax(1).values
        hit = inside & (rng.uniform(batch, start, channel=Channel.PLACE) < self.rate_at(batch))
        return per_subword(hit, batch.words)

    def _mentions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (B, T) bool in word space: words of mentions, and the first word of each."""
        import torch

        from maskbench.masks.shared.words import per_word, starts

        if self.by == "capitals":
            assert batch.capitals is not None
            types, begins = per_word(batch.capitals.long(), batch.words).clamp(max=1), None
        else:
            assert batch.labels is not None
            first = torch.where(starts(batch.words), batch.labels, 0)
            types = per_word(torch.where(starts(batch.words), self._types[first], 0), batch.words)
            begins = per_word((starts(batch.words) & self._begins[first]).long(), batch.words).bool()
        changes = types != torch.nn.functional.pad(types, (1, 0))[:, :-1]
        return types > 0, (types > 0) & (changes if begins is None else changes | begins)


def _any_capital(setting: Setting) -> bool:
    """Tell whether any word of the training split looks like a name."""
    import pyarrow.compute as pc

    column = setting.train.select_columns(["capitals"]).with_format("arrow")[:]["capitals"]
    return bool(pc.any(pc.list_flatten(column)).as_py())
