"""Input mask that hits given words wherever they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, StringConstraints

from maskbench.errors import InputError
from maskbench.masks.base import InputMask
from maskbench.masks.batch import Batch

if TYPE_CHECKING:
    from torch import Tensor

    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting


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
    stackable: ClassVar[bool] = True
    cues: Annotated[list[Annotated[str, StringConstraints(min_length=1)]], Field(min_length=1)]
    """The planted words, which are hit."""
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
        """Return (B, T) bool: the tokens of all cues that stand in the texts as whole words."""
        from maskbench.masks.shared.words import runs

        return runs(batch.input_ids, batch.words, self._spelled)
