"""Measures of the family *score*: how well the task is solved."""

from __future__ import annotations

from maskbench.config.measures.entry import Measure
from maskbench.config.measures.recipes import TEST, ratio

_SEEN = "Augenstein et al. (2017), Generalisation in Named Entity Recognition, Computer Speech & Language"
_SEQEVAL = (
    "Tjong Kim Sang & De Meulder (2003), Introduction to the CoNLL-2003 Shared Task; Nakayama (2018), seqeval, "
    "strict mode"
)
_SQUAD = "Rajpurkar et al. (2016), SQuAD: 100,000+ Questions for Machine Comprehension of Text; its evaluate-v1.1.py"

SCORE = (
    Measure(
        name="score",
        title="score",
        unit="fraction",
        better="higher",
        family="score",
        definition=(
            "The task's own score: accuracy for texts, entity F1 for tags, answer F1 for questions. Sum of hits over "
            "sum of weights in outcomes.parquet."
        ),
        split="each",
        made_of=ratio((TEST, 100.0)),
        shown=("profile", "comparisons", "dynamic"),
    ),
    Measure(
        name="majority_score",
        title="score of the majority class",
        unit="fraction",
        better="neither",
        family="score",
        definition=(
            "Score of always giving the most frequent training label; 0 for tagging, where it finds no entity; for "
            "questions that of giving the whole passage."
        ),
    ),
    Measure(
        name="accuracy",
        title="accuracy",
        unit="fraction",
        better="higher",
        family="score",
        definition="Share of texts whose class is right.",
        split="each",
        made_of=ratio((TEST, 100.0)),
    ),
    Measure(
        name="token_accuracy",
        title="token accuracy",
        unit="fraction",
        better="higher",
        family="score",
        definition="Share of words whose tag is right, O included.",
        split="each",
    ),
    Measure(
        name="mcc",
        title="Matthews correlation",
        unit="coefficient",
        better="higher",
        family="score",
        definition="Correlation of predicted and true classes; 0 is chance, whatever the balance of classes.",
        source="Gorodkin (2004), Comparing two K-category assignments by a K-category correlation coefficient",
        split="each",
    ),
    Measure(
        name="precision_micro",
        title="precision (micro)",
        unit="fraction",
        better="higher",
        family="score",
        definition="Precision over all predictions together.",
        split="each",
    ),
    Measure(
        name="recall_micro",
        title="recall (micro)",
        unit="fraction",
        better="higher",
        family="score",
        definition="Recall over all labels together.",
        split="each",
    ),
    Measure(
        name="f1_micro",
        title="F1 (micro)",
        unit="fraction",
        better="higher",
        family="score",
        definition="F1 over all classes together.",
        split="each",
    ),
    Measure(
        name="precision_macro",
        title="precision (macro)",
        unit="fraction",
        better="higher",
        family="score",
        definition="Mean precision of the classes.",
        split="each",
    ),
    Measure(
        name="recall_macro",
        title="recall (macro)",
        unit="fraction",
        better="higher",
        family="score",
        definition="Mean recall of the classes.",
        split="each",
    ),
    Measure(
        name="f1_macro",
        title="F1 (macro)",
        unit="fraction",
        better="higher",
        family="score",
        definition="Mean F1 of the classes.",
        split="each",
    ),
    Measure(
        name="precision_weighted",
        title="precision (weighted)",
        unit="fraction",
        better="higher",
        family="score",
        definition="Mean precision of the classes, weighted by their support.",
        split="each",
    ),
    Measure(
        name="recall_weighted",
        title="recall (weighted)",
        unit="fraction",
        better="higher",
        family="score",
        definition="Mean recall of the classes, weighted by their support.",
        split="each",
    ),
    Measure(
        name="f1_weighted",
        title="F1 (weighted)",
        unit="fraction",
        better="higher",
        family="score",
        definition="Mean F1 of the classes, weighted by their support.",
        split="each",
    ),
    Measure(
        name="entity_precision",
        title="entity precision",
        unit="fraction",
        better="higher",
        family="score",
        definition="Share of predicted entities whose span and type are both right.",
        source=_SEQEVAL,
        split="each",
    ),
    Measure(
        name="entity_recall",
        title="entity recall",
        unit="fraction",
        better="higher",
        family="score",
        definition="Share of true entities that are found with span and type.",
        source=_SEQEVAL,
        split="each",
    ),
    Measure(
        name="entity_f1",
        title="entity F1",
        unit="fraction",
        better="higher",
        family="score",
        definition="Harmonic mean of entity precision and entity recall.",
        source=_SEQEVAL,
        split="each",
        made_of=ratio((TEST, 100.0)),
    ),
    Measure(
        name="answer_f1",
        title="answer F1",
        unit="fraction",
        better="higher",
        family="score",
        definition=(
            "Mean over questions of the F1 of the answer's words and those of the right answer, as bags: in small "
            "letters, without punctuation and articles; of several right answers the one with the highest F1."
        ),
        source=_SQUAD,
        split="each",
        made_of=ratio((TEST, 100.0)),
    ),
    Measure(
        name="exact_match",
        title="exact match",
        unit="fraction",
        better="higher",
        family="score",
        definition=(
            "Share of questions whose answer has the words of a right answer in their order: in small letters, without "
            "punctuation and articles."
        ),
        source=_SQUAD,
        split="each",
        made_of=ratio(("test:exact", 100.0)),
    ),
    Measure(
        name="seen_f1",
        title="entity F1, mentions seen in training",
        unit="fraction",
        better="higher",
        family="score",
        definition=(
            "Entity F1 on the mentions whose text is a mention, of whatever type, of the run's training texts, too."
        ),
        source=_SEEN,
        made_of=ratio(("test:seen", 100.0)),
    ),
    Measure(
        name="unseen_f1",
        title="entity F1, unseen mentions",
        unit="fraction",
        better="higher",
        family="score",
        definition="Entity F1 on the mentions whose text is no mention of any type of the run's training texts.",
        source=_SEEN,
        made_of=ratio(("test:unseen", 100.0)),
    ),
    Measure(
        name="precision",
        title="precision",
        unit="fraction",
        better="higher",
        family="score",
        definition="Precision of one class (tagging: of one type of entity).",
        by="class",
        split="each",
    ),
    Measure(
        name="recall",
        title="recall",
        unit="fraction",
        better="higher",
        family="score",
        definition="Recall of one class (tagging: of one type of entity).",
        by="class",
        split="each",
    ),
    Measure(
        name="f1",
        title="F1",
        unit="fraction",
        better="higher",
        family="score",
        definition="F1 of one class (tagging: of one type of entity).",
        by="class",
        split="each",
    ),
    Measure(
        name="support",
        title="support",
        unit="examples",
        better="neither",
        family="score",
        definition="Number of texts, or entities, of one class.",
        by="class",
        split="each",
    ),
    Measure(
        name="confusion",
        title="confusion matrix",
        unit="count",
        better="neither",
        family="score",
        definition=(
            "`confusion:A>B`: how many texts of class A were given class B (tagging: words of an entity type, whether "
            "they begin a mention or not; O is none). Pairs that do not occur are left out. In the names of classes, a "
            "backslash stands before > and before a backslash."
        ),
        by="true class>predicted class",
    ),
    Measure(
        name="truncated",
        title="words cut off by max_length",
        unit="words",
        better="neither",
        family="score",
        definition=(
            "Words of the texts that were scored which stand behind max_length and which the model does not see; in "
            "tagging they count as O."
        ),
        split="each",
    ),
    Measure(
        name="loss",
        title="cross-entropy",
        unit="nats",
        better="lower",
        family="score",
        definition=(
            "Mean of −log p(true label) over texts, or over words with a prediction, in eval mode; for questions over "
            "the windows of their passages, half of the sum for start and end."
        ),
        split="each",
        made_of=ratio(("test:loss", 1.0)),
    ),
    Measure(
        name="labels_needed",
        title="number of labelled texts for one score",
        short="labels for one score",
        unit="labels",
        better="lower",
        family="score",
        definition=(
            "Train size at which the learning curve of a seed first has a fixed score, linear in log(train size) "
            "between sizes; the score is that of the contrast's second arm at the size that the contrast names, in the "
            "mean over its seeds. It stands in verdicts alone (docs/claims.md)."
        ),
        derived=True,
        of="curve",
        curve_of="score",
    ),
)
