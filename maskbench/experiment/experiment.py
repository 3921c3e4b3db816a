"""The experiment: tasks × models × strategies × regimes × train sizes × seeds, and how they are treated."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from maskbench.config.analysis import Analysis
from maskbench.config.block import ConfigBlock, Name, Seed
from maskbench.config.conditions import CLEAN, Condition, Cue
from maskbench.config.lexicons import Lexicon
from maskbench.config.limits import Limit, Regime, TrainSize
from maskbench.config.probes import Probes
from maskbench.config.resources import Resources
from maskbench.config.tasks import Task
from maskbench.config.training import TrainingPlan
from maskbench.config.tuning import Tune, is_tuned, rate_words, tuned
from maskbench.experiment.model import Model
from maskbench.experiment.presets import Preset
from maskbench.masks import Strategy

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

LONGEST_NAME = 40
"""Most characters of a name (`maskbench.config.block.Name`)."""

Item = TypeVar("Item")


class _OrDefault:
    """Let a block stand there empty (``training:`` with every key commented out): it has its defaults."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(
            lambda value: {} if value is None else value, handler(source)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [handler(schema), {"type": "null"}]}


def _pair(value: Any) -> Any:
    """Say in one error what a pair is."""
    if isinstance(value, list | tuple) and len(value) == 2 and value[0] != value[1]:
        return tuple(value)
    raise PydanticCustomError("pair", "expected the names of two different tasks, such as [sst2, conll2003]")


TaskPair = Annotated[tuple[Name, Name], BeforeValidator(_pair)]
"""Names of two different tasks."""


def _unique(items: list[Item]) -> list[Item]:
    """Refuse a list in which two entries have one name or value."""
    seen: set[Any] = set()
    for item in items:
        name = getattr(item, "name", item)
        if name in seen:
            raise PydanticCustomError("duplicate", "expected each entry once, found {name} twice", {"name": str(name)})
        seen.add(name)
    return items


def _by_pretraining_seed(models: list[Model]) -> list[Model]:
    """Put one model for each pretraining seed in the place of an entry."""
    return [member for model in models for member in model.expanded()]


def _with_twins(strategies: list[Strategy]) -> list[Strategy]:
    """Put the twins that a strategy asks for behind it."""
    return [member for strategy in strategies for member in strategy.expanded()]


def _alike_but_for_rate(strategies: list[Strategy]) -> tuple[str, str] | None:
    """Return the names of two strategies that differ in their own learning rate alone; None if there are none."""
    seen: dict[str, Strategy] = {}
    for strategy in strategies:
        rest = strategy.training.model_copy(update={"learning_rate": None})
        update: dict[str, Any] = {"name": "", "twins": [], "twin": None, "twin_of": None, "training": rest}
        other = seen.setdefault(strategy.model_copy(update=update).as_argument(), strategy)
        if other.training.learning_rate != strategy.training.learning_rate:
            return other.name, strategy.name
    return None


class Experiment(ConfigBlock):
    """Everything that a study is made of."""

    study: Name
    """Name of the folder in results/."""
    question: str = "Does masking reduce interference when a pretrained language model is fine-tuned?"
    """What the report answers, in one sentence."""
    tasks: Annotated[list[Annotated[Task, Preset("tasks")]], Field(min_length=1), AfterValidator(_unique)]
    """Tasks: names of presets, `{preset: name, ...}` with changes, or full definitions (docs/data.md)."""
    models: Annotated[
        list[Annotated[Model, Preset("models")]],
        Field(min_length=1),
        AfterValidator(_by_pretraining_seed),
        AfterValidator(_unique),
    ]
    """Pretrained models: names of presets, or full definitions."""
    strategies: Annotated[
        list[Annotated[Strategy, Preset("strategies")]],
        Field(min_length=1),
        AfterValidator(_with_twins),
        AfterValidator(_unique),
    ]
    """Mask strategies: names of presets, or `{name, input, attention, parameter, objective, twins}` (docs/masks.md)."""
    lexicons: Annotated[list[Annotated[Lexicon, Preset("lexicons")]], AfterValidator(_unique)] = []
    """Lists of words of your own that masks may choose from (`words` of a mask); presets need not stand here."""
    baseline: Name = "none"
    """The strategy that the others are compared with."""
    regimes: Annotated[list[Regime], Field(min_length=1), AfterValidator(_unique)] = ["single"]
    """Training regimes: `single` trains on one task; `sequential` continues from its model on a second task, in both
    orders; `joint` trains one encoder with two heads on two tasks at once."""
    pairs: Annotated[list[TaskPair], Field(min_length=1)] | None = None
    """Pairs of tasks for `sequential` and `joint`, such as [[sst2, conll2003]]; null: every two tasks."""
    conditions: Annotated[list[Condition], Field(min_length=1), AfterValidator(_unique)] = [CLEAN]
    """What the training data have gone through, in the regime `single`: `clean`, `cue:0.95` (a planted word agrees with
    the label at this rate), `label-noise:0.3` (this share of the labels is flipped)."""
    cue: Annotated[Cue, _OrDefault()] = Field(default_factory=Cue)
    """The words that the conditions `cue:RATE` plant."""
    train_sizes: Annotated[list[TrainSize], Field(min_length=1), AfterValidator(_unique)] = ["full"]
    """Numbers of training examples (a seeded subset, nested over sizes), or `full`."""
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_unique)]
    """One run of every cell for each; a seed fixes initialisation, order, subset and dropout for all strategies."""
    limits: list[Limit] = []
    """Which cells of the full product are run: those in `of` only if they are in `only`, too, so that a larger study
    has each strategy only where a claim asks for it. Each limit is `{of: {...}, only: {...}}`."""
    training: Annotated[TrainingPlan, _OrDefault()] = Field(default_factory=TrainingPlan)
    """Hyperparameters, shared by all cells."""
    tune: Tune | None = None
    """How every strategy gets a learning rate of its own, with equal budgets (docs/tuning.md); null: strategies are
    compared at the shared rate alone, and at those that presets and strategies set for themselves."""
    probes: Annotated[Probes, _OrDefault()] = Field(default_factory=Probes)
    """What is measured on every trained model."""
    analysis: Annotated[Analysis, _OrDefault()] = Field(default_factory=Analysis)
    """How strategies are compared, and how sure intervals are."""
    claims: Annotated[str, Field(min_length=1)] | None = None
    """File of the claims that are put to the test (docs/claims.md), relative to the folder that snakemake runs in;
    null: the claims.yaml of maskbench."""
    resources: Annotated[Resources, _OrDefault()] = Field(default_factory=Resources)
    """What a training job asks for."""
    keep_models: bool = False
    """Keep every trained model as a folder that `transformers.pipeline` loads."""
    cache: str | None = None
    """Folder for downloads, shared by studies; null: MASKBENCH_CACHE, or ~/.cache/maskbench."""

    @model_validator(mode="after")
    def _baseline_is_a_strategy(self) -> Self:
        names = [strategy.name for strategy in self.strategies]
        if self.baseline not in names:
            raise ValueError(f"baseline is {self.baseline!r}, which is not among the strategies {', '.join(names)}")
        return self

    @model_validator(mode="after")
    def _names_leave_room_for_tuning(self) -> Self:
        for strategy in self.strategies:
            if is_tuned(strategy.name):
                raise ValueError(f"strategies: {strategy.name}: names that end in -tuned are given by tune")
            longest = max((len(name) for name in self.names_in_tuning(strategy)), default=0)
            if longest > LONGEST_NAME:
                room = len(strategy.name) - longest + LONGEST_NAME
                raise ValueError(
                    f"strategies: {strategy.name}: with tune, expected a name of at most {room} characters, since the "
                    f"learning rate stands behind it; got {len(strategy.name)}"
                )
        return self

    @model_validator(mode="after")
    def _tuning_has_seeds_of_its_own(self) -> Self:
        both = sorted(set(self.seeds) & set(self.tune.seeds)) if self.tune else []
        if both:
            raise ValueError(
                "tune.seeds: expected seeds that the study does not have, since no seed that a rate was chosen by is "
                f"used again; got {', '.join(map(str, both))} in both"
            )
        return self

    @model_validator(mode="after")
    def _strategies_about_a_rate_keep_it(self) -> Self:
        if self.tune is None:
            return self
        names, multiples = [strategy.name for strategy in self.strategies], self.tune.multiples
        for pattern in self.tune.strategies or ():
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(f"tune.strategies: {pattern} is not among the strategies {', '.join(names)}")
        for name, multiple in multiples.items():
            for own in (name, multiple.of):
                if own not in names:
                    raise ValueError(f"tune.multiples: {own} is not among the strategies {', '.join(names)}")
            if multiple.of in multiples:
                raise ValueError(
                    f"tune.multiples: {name}: expected a strategy that is tuned, got {multiple.of}, which is a multiple"
                )
            if name == self.baseline:
                raise ValueError(f"tune.multiples: expected strategies but the baseline, got {name}")
            for model in self.models:
                if model.takes(name) and not model.takes(multiple.of):
                    raise ValueError(f"tune.multiples: {name}: model {model.recipe} is not trained with {multiple.of}")
            if not self.tune.takes(multiple.of):
                raise ValueError(f"tune.multiples: {name}: expected {multiple.of} among tune.strategies, too")
        tuned_by_grid = [item for item in self.strategies if self.tune.takes(item.name) and item.name not in multiples]
        if alike := _alike_but_for_rate(tuned_by_grid):
            one, other = alike
            raise ValueError(
                f"tune: {one} and {other} differ in their learning rate alone, and tuning would make them one; "
                f"expected one of them in tune.multiples, such as {{{other}: {{of: {one}, times: 10}}}}"
            )
        return self

    @model_validator(mode="after")
    def _models_name_strategies(self) -> Self:
        names = [strategy.name for strategy in self.strategies]
        for model in self.models:
            for name in model.strategies or []:
                if name not in names:
                    known = ", ".join(names)
                    raise ValueError(f"model {model.recipe} names the strategy {name!r}, which is not among {known}")
            if not model.takes(self.baseline):
                raise ValueError(f"model {model.recipe}: expected the baseline {self.baseline} among its strategies")
        return self

    @model_validator(mode="after")
    def _regimes_have_what_they_need(self) -> Self:
        names = [task.name for task in self.tasks]
        for pair in self.pairs or []:
            for name in pair:
                if name not in names:
                    raise ValueError(f"pairs names the task {name!r}, which is not among the tasks {', '.join(names)}")
        several = [regime for regime in self.regimes if regime != "single"]
        if several and "single" not in self.regimes:
            raise ValueError(f"regimes: {several[0]} is compared with single; expected single in the list, too")
        if several and len(names) < 2:
            raise ValueError(f"regimes: {several[0]} takes two tasks; expected a second task")
        return self

    @model_validator(mode="after")
    def _conditions_have_their_clean_twin(self) -> Self:
        if CLEAN not in self.conditions:
            raise ValueError("conditions: each is compared with clean; expected clean in the list, too")
        return self

    def names_in_tuning(self, strategy: Strategy) -> list[str]:
        """Return the names that a strategy has at the rates of the grid, and at the chosen one; none without `tune`."""
        if self.tune is None or not self.tune.takes(strategy.name):
            return []
        tried = [f"{strategy.name}-at-{rate_words(rate)}" for rate in self.tune.learning_rates]
        return [*tried, tuned(strategy.name)]

    @property
    def arms(self) -> list[Strategy]:
        """All strategies that are trained: with `tune`, behind those of the list once more those that are tuned."""
        if self.tune is None:
            return self.strategies
        again = [
            item.model_copy(update={"name": tuned(item.name), "twin_of": item.twin_of and tuned(item.twin_of)})
            for item in self.strategies
            if self.tune.takes(item.name)
        ]
        return [*self.strategies, *again]

    @property
    def task_pairs(self) -> list[tuple[str, str]]:
        """The unordered pairs of tasks, each in the order of the list of tasks."""
        names = [task.name for task in self.tasks]
        wanted = self.pairs if self.pairs is not None else list(combinations(names, 2))
        return list(dict.fromkeys(tuple(sorted(pair, key=names.index)) for pair in wanted))  # type: ignore[misc]
