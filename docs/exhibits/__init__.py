"""The exhibits: mistakes that articles on masking make in their code, beside the right way, with the damage measured.

`python docs/exhibits/make.py` runs all of them and writes docs/exhibits.md.
"""

from docs.exhibits import (
    answers_in_sight,
    consistency_alone,
    empty_row,
    half_precision,
    ids_as_mask,
    infinity_in_integers,
    masked_evaluation,
    multiplicative,
    no_padding_mask,
    no_seeds,
    no_test_split,
    o_dominates,
    selected_on_test,
    specials_only,
    with_replacement,
)
from docs.exhibits.exhibit import Exhibit

MISTAKES = (
    "masking only [CLS]/[SEP] (the test is inverted), or raw strings so that nothing is masked; no rate, no generator",
    "−∞ written into an int64 attention mask; token ids used as the attention mask; the padding mask dropped",
    "the random mask also applied at evaluation",
    "the consistency loss *replacing* the task loss, without a stop-gradient (a constant H minimises it)",
    "the multiplicative attention mask (leaks); −1e9 in fp16 (overflows); a fully masked row (uniform, or NaN)",
    "mask positions drawn with replacement over [CLS], [SEP] and [PAD]; targets 0/1 instead of token ids; inputs never "
    "masked",
    "NER with 2 labels and token accuracy, which the O class dominates",
    "the test split used for model selection; a CSV loader with no test split; no seeds",
)
"""The list of mistakes that nothing here may repeat; each has an exhibit."""

EXHIBITS: tuple[Exhibit, ...] = tuple(
    module.EXHIBIT
    for module in (
        specials_only,
        infinity_in_integers,
        ids_as_mask,
        no_padding_mask,
        masked_evaluation,
        consistency_alone,
        multiplicative,
        half_precision,
        empty_row,
        with_replacement,
        answers_in_sight,
        o_dominates,
        selected_on_test,
        no_test_split,
        no_seeds,
    )
)
