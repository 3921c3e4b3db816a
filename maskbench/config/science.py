"""Constants that are part of what a measure or a verdict means: with another value it would be another one.

What a user may choose is a key of the configuration or of claims.yaml. A stage's code hash counts those of these
constants that the stage uses, each by itself (io/code.py).
"""

from __future__ import annotations

# --- verdicts (docs/claims.md)

LEVEL = 0.05
"""Level of every test of a verdict: two-sided, after Holm's correction within a claim."""
CONFIDENCE = 1 - LEVEL
"""Coverage of the interval that belongs to such a test."""
EQUIVALENCE_CONFIDENCE = 1 - 2 * LEVEL
"""Coverage of the interval that two one-sided tests at `LEVEL` rest on (Schuirmann 1987)."""
POWER = 0.8
"""Probability with which a true effect is to be found, where a number of seeds is named."""
EFFECT_TO_FIND = 1.5
"""In multiples of δ, the effect for which a number of seeds is named. One of δ is found half the time however many
seeds there are, since the estimate must reach δ, too."""
SKEWNESS_FACTORS = {2: 20.0, 7: 8.0, 8: 5.0, 10: 4.0, 15: 2.5, 20: 2.0, 30: 1.5}
"""What the skewness of a sample is multiplied with, from so many seeds on: small samples of skewed differences look
less skewed than they are. Chosen by simulation (benchmarks/intervals.py), so that intervals of lognormal differences
cover in 93 %."""
MOST_REACH = 2.5
"""How many times as far as Student's an interval reaches at the most for the sake of skewness. Chosen by the same
simulation: with 2, lognormal differences of six seeds are covered in 91.5 %."""
NOTED_REACH = 1.5
"""How many times as far as Student's an interval reaches to one side where a verdict's note says so."""
SEEDS_FOR_SKEWNESS = 6
"""Fewer seeds tell nothing about skewness; and no verdict rests on them."""
INTERACTION_TAKEN_OFF = 0.5
"""Share of the interaction's mean square that is taken off that of the fine-tuning seeds, where pretraining recipes are
compared. With all of it (1) the variance of the fine-tuning seeds is without bias, but two to four degrees of freedom
tell it: intervals of ten pretraining and three fine-tuning seeds then cover in as little as 92 %; with none, in up to
99.6 %. With half of it they cover in 94.5 to 98 % (tests/unit/analysis/test_between_models.py)."""
FEW_TEXTS = 10
"""Below this many texts that differ, their number does not vary as the normal distribution does (Brown, Cai & DasGupta
2001)."""
OUTLYING = 5.0
"""Scaled median absolute deviations from the median beyond which a seed's difference is noted (Hampel 1974)."""
TRIMMED = 0.25
"""Share that the interquartile mean leaves out at either end (Agarwal et al. 2021, section 4)."""
CONFIRMING_SEEDS = 10
"""With fewer seeds, an exact sign-flip test cannot confirm a direction after Holm's correction of several tests."""

# --- measures (docs/measures.md)

LEAST_LEARNED = 0.05
"""Share of the way from the score of the majority class to 1 up to which a run learned nothing: measure `failed`. A
tagger that finds next to no entity has a score of .01 where the majority class has 0, and a classifier of 1,000 texts
is .01 above it by chance."""
WIDEST_STEP = 1.5
"""How much the number of updates may grow between the two evaluations between which the matched score is reached: a
straight line over more of a learning curve measures nothing (`matched_censored`)."""
ANSWER_TOKENS = 30
"""Most tokens of an answer that is looked for in a passage, as in BERT's published script for SQuAD."""
CALIBRATION_BINS = 15
"""Bins of equal width of the expected calibration error (Guo et al. 2017, section 2)."""
MASKED_LM_RATE = 0.15
"""Share of the tokens that the masked-LM probe masks, as in BERT's pretraining (Devlin et al. 2019, section 3.1)."""
PROBED_WORDS = 4
"""Number of words whose presence in a text is probed; after Conneau et al. (2018), sized for some hundred texts."""
PROBE_STRENGTH = 0.1
"""Inverse of the L2 penalty of linear probes: there are about as many features as texts."""
CONFLICT_EXAMPLES = 64
"""Training examples of each task on which the gradients of two tasks are compared."""

# --- plans (`make plan`), where no recorded study says better

ASSUMED_SD = {"points": 1.0, "nats": 0.03, "per cent": 5.0, "coefficient": 0.02}
"""SD of a seed's paired difference, mean over tasks, by unit. Mosbach et al. (2021) report SDs of about 1 point between
seeds of BERT-large, finetuned stably on small tasks; reruns found 0.7 to 2.2."""
PLANNED_EFFECTS = (1.0, 2.0, 5.0)
"""Effects in points for which a plan says the number of seeds, beside 1.5 δ."""
EVALUATIONS_TO_MATCH = 10
"""With at least this many evaluations of a run, the moment at which it reaches the matched score is mostly seen."""
