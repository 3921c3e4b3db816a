"""The hooks of a mask strategy, and the register of the classes that implement them."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from maskbench.config.block import ConfigBlock

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor
    from torch.nn import Module, Parameter

    from maskbench.config.kinds import TaskKind
    from maskbench.masks.batch import Batch
    from maskbench.masks.draws import Draws
    from maskbench.masks.setting import Setting

Family = Literal["input", "attention", "parameter", "objective"]
FAMILIES: tuple[Family, ...] = ("input", "attention", "parameter", "objective")
"""The families, in the order in which they act."""
Need = Literal["a masked-LM head", "gold mentions", "labels of a set", "two texts"]
"""What a mask cannot work without: the weights of the model's masked-LM head, tags that mark entities, labels that
words can speak for, or rows of two texts."""


class Mask(ConfigBlock):
    """A mask: its parameters are the fields, its behaviour the hooks that it overrides.

    A subclass names its `kind` with a Literal default and stands in the module of that name in the folder of its
    family (masks/registry.py); docs/add-a-mask.md walks through one. What it learns before or while training it keeps
    in private attributes: a run works on its own copy.
    """

    family: ClassVar[Family]
    registry: ClassVar[dict[Family, dict[str, type[Mask]]]] = {name: {} for name in FAMILIES}
    """The classes that have been imported so far; masks/registry.py finds all of them."""

    stackable: ClassVar[bool] = False
    """Whether cells with such a mask can be trained in a stack with others, in one pass (docs/add-a-mask.md)."""

    kind: str
    apply: bool = True
    """false: do all the work but change nothing (a control: must be bit-identical to no mask)."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Enter the subclass in the registry under its `kind`."""
        super().__pydantic_init_subclass__(**kwargs)
        kind = cls.model_fields["kind"].default
        if isinstance(kind, str):
            known = Mask.registry[cls.family]
            if known.setdefault(kind, cls).__qualname__ != cls.__qualname__:
                raise TypeError(f"two {cls.family} masks are called {kind!r}")

    def needs(self) -> frozenset[Need]:
        """Return what the model and the task must have, checked before anything starts."""
        return frozenset()

    def lexicon(self) -> str | None:
        """Return the name of the lexicon that the mask chooses words from; None: it needs none."""
        return None

    def stacks(self) -> bool:
        """Tell whether a cell with this mask and its parameters can be trained in a stack; by default `stackable`."""
        return self.stackable

    def mixes(self, kind: TaskKind) -> bool:
        """Tell whether the mask blends embeddings with that of [MASK] (`Batch.mix`); fitting tests the model for it."""
        return False

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Prepare on the training split and the pretrained model, once, before the first update.

        Raises
        ------
        InputError
            If the data or the model cannot serve the mask.
        """

    def modules(self) -> Mapping[str, Module]:
        """Return modules that are trained with the task and belong to the mask, not to the model.

        One that has a `learning_rate` is trained at that peak, the others at the run's.
        """
        return {}

    def state(self) -> dict[str, Any]:
        """Return what changes during training (beside modules), so that a resumed run ends as if it had not stopped."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` returned."""

    def observe(self, loss: Tensor) -> None:
        """See the task loss (a scalar, in nats; NaN if there is no label) of each micro-batch, after its pass."""


class InputMask(Mask):
    """Replaces tokens of the training input: `where` says which ones, `replacement` what stands there instead."""

    family = "input"
    replacement: Literal["mask", "bert", "noise"] = "mask"
    """What hit tokens become: [MASK]; BERT's 80 % [MASK], 10 % random token, 10 % unchanged; or random tokens."""
    _vocabulary: Any = None
    """Token ids that random replacements are drawn from."""

    def fit(self, setting: Setting, rng: Draws) -> None:
        """Remember the tokens that random replacements are drawn from; a mask that overrides this calls it."""
        self._vocabulary = setting.vocabulary.to(setting.model.device)

    def where(self, batch: Batch, rng: Draws) -> Tensor:
        """Return (B, T) bool, True at the positions to be hit; what may not be masked is left out by the caller."""
        raise NotImplementedError

    def time(self, batch: Batch) -> int:
        """Return the pass whose draws say what stands at the hit places; a mask that keeps its draws overrides this."""
        return batch.epoch

    def corrupt(self, batch: Batch, rng: Draws) -> Batch:
        """Return the batch with the tokens of `where` replaced."""
        from maskbench.masks.replacement import replaced

        hit = self.where(batch, rng)
        return replaced(self.replacement, batch, hit, rng, self._vocabulary, self.time(batch))


class AttentionMask(Mask):
    """Hides positions from the attention of the model."""

    family = "attention"
    at: Literal["train", "always"] = "train"
    """train: evaluation sees all; always: the mask is part of the model, and the record says so."""

    def attend(self, batch: Batch, rng: Draws) -> Tensor | None:
        """Return (B, 1, T, T) or (1, 1, T, T) bool, True where a query (row) may see a key (column); None: all.

        Padding, and what the model itself hides (GPT-2's future, ModernBERT's far tokens), is added by the caller;
        a query always sees itself, so no row is empty.
        """
        raise NotImplementedError


class ParameterMask(Mask):
    """Decides which of the model's parameters move in training."""

    family = "parameter"
    fixed: ClassVar[bool] = False
    """Whether `gate` lets the same weights move in every update; then the values of the others are kept only once."""

    def select(self, model: Module) -> Iterable[Parameter]:
        """Return the parameters that are frozen before training starts."""
        return ()

    def gate(self, gradients: Mapping[str, Tensor], step: int, rng: Draws) -> Mapping[str, Tensor] | None:
        """Change the (clipped) gradients in place, by parameter name, just before the optimiser's update `step`.

        Returns
        -------
        Mapping or None
            Tensors by parameter name, True where a weight may move in this update; the others keep every bit,
            whatever momentum and weight decay want. Parameters that are not named move freely. Numbers 1 and 0 of the
            parameters' type say the same and are several times faster on a CPU.
        """
        return None

    def regularisation(self, model: Module) -> Tensor | None:
        """Return a scalar that is added to the loss of each update; None: nothing."""
        return None

    def updated(self, model: Module, step: int) -> None:
        """Act just after update `step`, while the gradients are still there."""

    def finish(self, model: Module) -> None:
        """Turn the trained model into an ordinary one of its class again; called before it is scored."""

    def ordinary(self, model: Module) -> dict[str, Tensor]:
        """Return the state dict of what `finish` would make of the model, which stays as it is and is trained on.

        Its tensors are the model's own where there is nothing to be finished; otherwise a copy is finished, which a
        mask overrides where models cannot be copied.
        """
        if type(self).finish is ParameterMask.finish:
            return dict(model.state_dict())
        # together, since a mask may keep a handle on its model
        other, mask = deepcopy((model, self))
        mask.finish(other)
        return dict(other.state_dict())

    def notes(self) -> list[str]:
        """Return what the record of the run says of the mask, asked for once parameters are selected."""
        return []

    def ending(self, model: Module) -> list[str]:
        """Return what the record of the run says of the mask at the end of the training, before `finish`."""
        return []

    def held(self) -> int:
        """Return how many weights never move although their parameters are not frozen."""
        return 0


class Objective(Mask):
    """Adds a term (a penalty) to the task loss."""

    family = "objective"

    @property
    def realised_rate(self) -> float | None:
        """Share of the maskable positions that a mask of its own hit while training; None without one."""
        return None

    def penalty(self, model: Module, clean: Batch, masked: Batch) -> Tensor:
        """Return the penalty, a scalar tensor with gradients.

        Parameters
        ----------
        model
            The model in training mode.
        clean
            The batch as it is.
        masked
            The batch after the strategy's input mask (`clean` if it has none), which the task loss came from;
            its `hidden` are the last hidden states of that pass.
        """
        raise NotImplementedError

    def compute_twin(self) -> Self:
        """Return the objective of the compute twin: by default this one, all of its passes without its effect."""
        return self.model_copy(update={"apply": False})

    def combine(self, task: Tensor, penalty: Tensor, parts: int) -> Tensor:
        """Return the loss that is minimised, a scalar tensor.

        Parameters
        ----------
        task
            Scalar: the micro-batch's share of the update's task loss.
        penalty
            Scalar: what `penalty` returned.
        parts
            Number of micro-batches in the update: penalties are means over one, so they are averaged.
        """
        return task + penalty / parts
