"""Masks that look at what the words are: keywords, names, related words, planted cues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, StringConstraints

from maskbench.config.block import Rate
from maskbench.errors import InputError
from maskbench.masks.base import Batch, InputMask, Need

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting

_PLACE = 1  # channel of draws; 0 is the budget's
_LONGEST = 1000.0  # products of sums of four such vectors are whole numbers that float32 holds


class Keyword(InputMask):
    """The words of each text that tell most about the label (or the text) are hit.

    References
    ----------
    Log-odds with a prior: Monroe, Colaresi & Quinn (2008), Fightin' Words, section 3.5.1 (there of two groups; here of
    each class against the rest).
    """

    kind: Literal["keyword"] = "keyword"
    rate: Rate = 0.15
    """Share of tokens that are hit."""
    statistic: Literal["log-odds", "tf-idf"] = "log-odds"
    """What a word tells, fitted on the training split: about the label (log-odds), or about its text (tf-idf)."""
    _scores: Any = None

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Score the words of the training split."""
        from maskbench.masks.words import WordScores

        super().fit(setting, rng)
        self._scores = WordScores.fit(setting, self.statistic)

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Spend the budget of `random` on the highest scores; words of equal score in random order."""
        import torch

        from maskbench.masks.budget import budget, first

        scores = self._scores.of(batch)
        above = scores.shape[1] - torch.searchsorted(scores.sort(1).values, scores, right=True)
        order = above + rng.uniform(batch, batch.words, channel=_PLACE)
        return first(batch, order, budget(batch, rng, self.rate))


class Entity(InputMask):
    """Whole mentions of names are hit, each with probability `rate`, drawn anew in every pass; labels stay.

    References
    ----------
    A strategy that the articles under test name; nothing published measures it. Near it: Ghaddar et al. (2021),
    Context-aware adversarial training for name regularity bias in named entity recognition (learned noise on mentions);
    Zhou et al. (2022), MELM (a masked LM that sees the labels generates other mentions, as more training text).
    """

    kind: Literal["entity"] = "entity"
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

        from maskbench.data.tags import parse

        if setting.kind != "token-classification":
            raise InputError(f"entity: by: gold: expected a token-classification task, found {setting.kind}")
        parsed = [parse(label) for label in setting.labels]
        types = sorted({entity for _, entity in parsed})  # that of O is empty, so it comes first
        if types[:1] != [""]:
            types.insert(0, "")
        device = setting.model.device
        self._types = torch.tensor([types.index(entity) for _, entity in parsed], device=device)
        self._begins = torch.tensor([prefix == "B" for prefix, _ in parsed], device=device)

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Draw once for each mention, at the address of its first word."""
        import torch

        from maskbench.masks.words import per_subword

        inside, begins = self._mentions(batch)
        place = torch.arange(batch.words.shape[1], device=batch.words.device)
        start = torch.where(begins, place, 0).cummax(1).values
        hit = inside & (rng.uniform(batch, start, channel=_PLACE) < self.rate)
        return per_subword(hit, batch.words)

    def _mentions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (B, T) bool in word space: words of mentions, and the first word of each."""
        import torch

        from maskbench.masks.words import per_word, starts

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


class Semantic(InputMask):
    """A random word of each text is hit together with those nearest in meaning, until the budget is spent.

    Nearness is the cosine between the pretrained model's input embeddings, averaged over a word's subwords.

    References
    ----------
    A strategy that the articles under test name; they give no source.
    """

    kind: Literal["semantic"] = "semantic"
    rate: Rate = 0.15
    """Share of tokens that are hit."""
    neighbours: Annotated[int, Field(ge=1, le=100)] = 2
    """Number of words that are hit with each random one."""
    _table: Any = None

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Copy the embeddings at θ₀ as whole numbers, so that sums do not depend on how a device groups them."""
        super().fit(setting, rng)
        table: Tensor = setting.model.get_input_embeddings().weight.detach().float()  # type: ignore[operator]
        self._table = (table * (_LONGEST / table.norm(dim=1).max())).round()

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Order words by the first group that they are in, and spend the budget of `random`."""
        import torch

        from maskbench.masks.budget import budget, first
        from maskbench.masks.words import ordinals, per_subword

        place = torch.arange(batch.words.shape[1], device=batch.words.device)[None]
        real = place <= ordinals(batch.words).amax(1, keepdim=True)
        drawn = torch.where(real, rng.uniform(batch, place, channel=_PLACE), torch.inf)
        rank = drawn.argsort(1).argsort(1).float()
        near = self._similarity(batch, real)
        time = rank
        for step in range(1, min(self.neighbours, place.shape[1]) + 1):
            value, neighbour = near.max(2)  # of equal ones the first
            # within a group the anchor comes first, then its neighbours by nearness
            turn = torch.where(real & (value > -torch.inf), rank + step / (self.neighbours + 1), torch.inf)
            time = time.scatter_reduce(1, neighbour, turn, "amin")
            near = near.scatter(2, neighbour[..., None], -torch.inf)
        return first(batch, per_subword(time, batch.words), budget(batch, rng, self.rate))

    def _similarity(self, batch: Batch, real: Tensor) -> Tensor:
        """Return (B, T, T) in word space: similarity of two words; -inf to itself and to what is no word."""
        import torch

        from maskbench.masks.words import ordinals

        rows, width = batch.words.shape
        slot = torch.arange(rows, device=batch.words.device)[:, None] * width + ordinals(batch.words)
        slot = torch.where(batch.maskable, slot, rows * width).flatten()
        tokens = self._table[batch.input_ids.flatten()]
        summed = tokens.new_zeros(rows * width + 1, tokens.shape[1]).index_add_(0, slot, tokens)
        words: Tensor = summed[:-1].view(rows, width, -1)
        with torch.autocast(words.device.type, enabled=False):
            near: Tensor = words @ words.transpose(1, 2)
        near /= near.diagonal(dim1=1, dim2=2).clamp(min=1)[:, None, :].sqrt()  # the anchor's length ranks nothing
        itself = torch.eye(near.shape[1], dtype=torch.bool, device=near.device)
        return near.masked_fill(itself | ~real[:, None, :], -torch.inf)


class OracleCue(InputMask):
    """Exactly the given words are hit wherever they stand as words: a control for planted cues.

    A cue may be several words, such as a Chinese one of two characters; they are hit where they follow each other.
    Where the training text has none of them (the clean twin of a condition with a cue) nothing is hit, and the record
    has the rate 0.

    References
    ----------
    A control of this project: if the cue is never seen in training, nothing can rely on it.
    """

    kind: Literal["oracle-cue"] = "oracle-cue"
    cues: Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1)]
    """The words."""
    _spelled: Any = None
    """Token ids of each cue, at the start of a text and behind a space."""

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Spell the cues.

        Raises
        ------
        InputError
            If the tokenizer does not know a cue, or spells one in more pieces than another: the number of mask tokens
            would then give away what they hide.
        """
        super().fit(setting, rng)
        tokenizer = setting.tokenizer
        found: set[tuple[int, ...]] = set()
        pieces: dict[str, list[int]] = {}
        for cue in self.cues:
            keys = {"add_special_tokens": False, "split_special_tokens": True}
            spelled = [tokenizer.encode(text, **keys) for text in (cue, f" {cue}")]
            if tokenizer.unk_token_id is not None and any(tokenizer.unk_token_id in ids for ids in spelled):
                raise InputError(f"oracle-cue: cues: {cue!r}: expected a word that the tokenizer can spell")
            found |= {tuple(ids) for ids in spelled if ids}
            pieces[cue] = [len(ids) for ids in spelled]
            if pieces[cue] != (first := pieces[self.cues[0]]):
                raise InputError(
                    f"oracle-cue: cues: expected words of equally many pieces, or their number gives the cue away; the "
                    f"tokenizer makes {first[0]} of {self.cues[0]!r} and {pieces[cue][0]} of {cue!r}"
                )
        self._spelled = sorted(found)

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Look the words up."""
        from maskbench.masks.words import runs

        return runs(batch.input_ids, batch.words, self._spelled)
