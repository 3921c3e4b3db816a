"""Probes on models that were trained on text of which the truth is known: over the settings of a dial, what is measured
is in the dial's order, and within a band that is stated. There are five; both ends and the middle at every change."""

from __future__ import annotations

import shutil
from functools import cache

import pytest
from scipy.stats import spearmanr
from transformers import AutoModel, AutoTokenizer

from maskbench.config.conditions import Condition
from maskbench.config.probes import Attributions
from maskbench.config.sources import SyntheticSource
from maskbench.config.tasks import Task
from maskbench.data.conditions import plant
from maskbench.data.encode import encode
from maskbench.data.out_of_domain import prepare_sets
from maskbench.data.prepare import prepare
from maskbench.data.sources import fetch_task
from maskbench.data.synthetic import FILLER, SECOND, TELLING
from maskbench.probes import attributions, fit, input  # the family of probes
from maskbench.probes.sources import Sources
from maskbench.probes.subject import Subject, Wanted
from maskbench.probes.trained import score
from maskbench.slots.device import choose
from maskbench.training import conflict
from maskbench.training.joint import JointRun
from maskbench.training.run import Inputs, run_cell
from tests.helpers.models import make_cell, make_model
from tests.helpers.probed_runs import CUES, settings

WORDS = [*FILLER, *SECOND, *(word for theme in TELLING.values() for word in theme), *CUES]


class Truth:
    """Synthetic tasks, made once, and a tiny model that knows their words and nothing else."""

    def __init__(self, folder):
        self.folder = folder
        self.model = make_model(folder / "model", more=WORDS)
        self.task = cache(self._task)
        self.train = cache(self._train)

    def _task(self, written="clean", **dials):
        """Return the folders of a task under a condition: prepared and encoded."""
        name = "-".join([written.replace(":", "-"), *(f"{key}-{value}" for key, value in dials.items())])
        keys = {"synthetic": "classification", "train": 400, "validation": 20, "test": 200} | dials
        source = SyntheticSource.model_validate(keys).model_dump()
        task = Task.model_validate({"name": "a", "kind": "sequence-classification", "source": source, "max_length": 32})
        base = self.folder / name
        fetch_task(task, base / "source", base / "cache")
        prepare(task, base / "source", base / "clean")
        condition, made = Condition.model_validate(written), base / "clean"
        if condition.kind != "clean":
            made = base / condition.name
            plant(condition, CUES, base / "clean", made)
        encode(task, made, self.model, base / "encoded")
        return made, base / "encoded"

    def _train(self, written="clean", epochs=6, **dials):
        """Train a run under a condition; returns its cell, folder and record."""
        training = {"epochs": epochs, "learning_rate": 5e-3, "batch_size": 32, "selection": "last"}
        cell = make_cell(task="a", condition=written, training=training)
        folder = self.folder / "runs" / "-".join(map(str, (cell.condition.name, epochs, *dials.values())))
        inputs = Inputs(self.task(written, **dials)[1], self.model, folder / "work", folder / "model")
        record, outcome = run_cell(cell, inputs, choose(cell.training), code="c", command="x")
        assert record.status == "completed", record.error
        outcome.table.to_parquet(folder / "predictions.parquet", index=False)
        record.write(folder / "metrics.json")
        return cell, folder, record

    def elsewhere(self, dial):
        """Return the encoded sets of other texts on a share of which (the dial) telling words say something else."""
        source = {"synthetic": "classification", "train": 400, "validation": 20, "test": 200}
        other = source | {"train": 20, "seed": 1}
        sets = [{"name": f"against-{100 * share:.0f}", "source": other | {"conflict": share}} for share in dial]
        keys = {"name": "a", "kind": "sequence-classification", "source": source, "max_length": 32}
        task = Task.model_validate(keys | {"out_of_domain": sets})
        base = self.folder / "elsewhere" / str(len(sets))
        fetch_task(task, base / "source", base / "cache")
        prepare_sets(task, base / "source", self.task()[0], base / "made")
        encode(task, base / "made", self.model, base / "encoded")
        return base / "encoded"

    def subject(self, written, *, epochs, dials, **more):
        """Return a trained run as probes see it."""
        cell, folder, _ = self.train(written, epochs, **dials)
        made, encoded = self.task(written, **dials)
        sources = Sources(
            run=folder,
            pretrained=self.model,
            reference=folder,
            clean=self.task(**dials)[1],
            encoded=encoded,
            prepared=made,
            **more,
        )
        return Subject(cell, sources, settings(examples=200), choose(cell.training))

    def encoder(self):
        """Return a folder with the encoder of a run that has learned the clean task, as a pretrained model."""
        folder = self.folder / "encoder"
        shutil.copytree(self.model, folder)
        AutoModel.from_pretrained(self.train(train=1600)[1] / "model", add_pooling_layer=False).save_pretrained(folder)
        return folder


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return Truth(tmp_path_factory.mktemp("truth"))


def over(*settings):
    """Let a test go over the ends and the middle of a dial, and where there is time over all its settings."""
    few = settings[:: len(settings) // 2]
    return pytest.mark.parametrize("dial", [few, pytest.param(settings, marks=pytest.mark.long)], ids=["few", "all"])


def measured(rows, name):
    return next(row.value for row in rows if row.measure == name)


def test_gradient_cosine_falls_with_the_share_of_texts_that_two_tasks_disagree_on(truth):
    """Heads are equal at the start, and the encoder tells the classes apart: the tasks pull it the same way where they
    mostly agree (cosine above 0.8) and opposite ways where they mostly do not (below -0.8)."""
    encoder, dial, found = truth.encoder(), [0.0, 0.3, 0.5, 0.7, 1.0], []
    for share in dial:
        cells = [make_cell(task=one, other=other, regime="joint") for one, other in (("a", "b"), ("b", "a"))]
        tasks = [truth.task()[1], truth.task(conflict=share)[1] if share else truth.task()[1]]
        inputs = [Inputs(task, encoder, truth.folder / f"joint-{share}") for task in tasks]
        run = JointRun(cells, inputs, choose(cells[0].training), 1)
        run.prepare(AutoTokenizer.from_pretrained(encoder))
        found.append(conflict.cosines(run.pair.models, run.conflict.heads, run.conflict.batches)["all"])
    assert spearmanr(dial, found).statistic == pytest.approx(-1)
    assert found[0] == pytest.approx(1, abs=1e-3)
    assert found[1] > 0.8
    assert found[3] < -0.8
    assert found[4] == pytest.approx(-1, abs=1e-3)


@over(0.0, 0.05, 0.1, 0.2, 0.3)
def test_the_gap_between_train_and_test_falls_by_the_share_of_flipped_labels(truth, dial):
    """A model that learned the rule and not the noise is wrong on just the flipped training labels: within 8 points."""
    found = []
    for share in dial:
        _, _, record = truth.train(f"label-noise:{share}" if share else "clean", train=1600)
        found.append(measured(record.metrics, "score_gap"))
    assert spearmanr(dial, found).statistic == pytest.approx(-1)
    assert found == pytest.approx([-100 * share for share in dial], abs=8)


@over(0.0, 0.3, 0.5, 0.7, 1.0)
def test_the_drop_out_of_domain_rises_with_how_many_telling_words_say_something_else_there(truth, dial):
    """A feature that holds in training and on a share of the texts from elsewhere does not: a model that learned it
    loses that share, within 12 points; the test split is as it was, and the measure of all sets is their mean."""
    subject = truth.subject("clean", epochs=6, dials={}, elsewhere=truth.elsewhere(dial))
    rows = list(input.out_of_domain(subject))
    found = [measured(rows, f"ood_drop:against-{100 * share:.0f}") for share in dial]
    assert spearmanr(dial, found).statistic == pytest.approx(1)
    assert found == pytest.approx([100 * share for share in dial], abs=12)
    assert measured(rows, "ood_drop") == pytest.approx(sum(found) / len(found))
    assert measured(rows, "ood_score") == pytest.approx(score(subject.predictions) - measured(rows, "ood_drop") / 100)


@pytest.mark.parametrize("dial", [(0.5, 1)])
def test_a_cue_that_decides_has_the_highest_attribution(truth, dial):
    """The cue is the first word: first of nine words in nearly all texts if it was always right, and in few if it was
    right by chance; the words that decide are also those without which the answer is lost."""
    dials, found = {"train": 1600, "noise": 0.3}, []
    for rate in dial:
        made, encoded = truth.task(f"cue:{rate}", **dials)
        subject = truth.subject(f"cue:{rate}", epochs=5, dials=dials, cue=encoded, cue_words=made)
        rows = subject.rows(encoded, "aligned")[:60]
        answers = subject.probing.answers(subject.outcome(Wanted("aligned", rows)))
        words = attributions.of_words(subject.own, rows, answers, Attributions(steps=8))
        found.append(sum(int(values.argmax()) == 0 for values in words) / len(words))
    assert found[0] < 0.4
    assert found[-1] > 0.8  # 0.92 with AVX-512


def test_an_answer_is_lost_without_the_words_that_have_the_highest_attributions(truth):
    """One word of eight tells the label, and two are taken away: the answer is then a guess; of two words that are
    drawn at random one is the telling one in a quarter of the texts."""
    subject = truth.subject("clean", epochs=6, dials={})
    subject.settings = settings(examples=200, attributions={"steps": 8, "texts": 60})
    found = {row.measure: row.value for row in attributions.attributions(subject)}
    assert found["comprehensiveness"] > 0.3
    assert abs(found["comprehensiveness_random"]) < 0.2
    assert found["faithfulness"] == pytest.approx(found["comprehensiveness"] - found["comprehensiveness_random"])
    assert len(subject.attributed) == 60
    assert {len(text.words) for text in subject.attributed} == {8}


@over(160, 320, 480, 800, 1600)
def test_memorisation_falls_with_the_number_of_texts_that_the_same_updates_go_over(truth, dial):
    """Of few texts, every flipped label is learned by heart (above 0.8); of many, only the rule (below 0.15)."""
    found = []
    for texts in dial:
        epochs, dials = 6 * 1600 // texts, {"train": texts}
        twin = truth.train("clean", epochs, **dials)[1]
        rows = fit.memorisation(truth.subject("label-noise:0.3", epochs=epochs, dials=dials, twin=twin))
        found.append(measured(rows, "noise_memorisation"))
    assert spearmanr(dial, found).statistic == pytest.approx(-1)
    assert found[0] > 0.8
    assert abs(found[-1]) < 0.15


@over(0.5, 0.6, 0.7, 0.8, 1)
def test_reliance_rises_with_how_often_the_cue_was_right(truth, dial):
    """Telling words are right in 70 % of the training texts: a cue that is right by chance is worth next to nothing,
    one that is as good as they are decides some texts, and one that is always right decides nearly all."""
    dials, found = {"train": 1600, "noise": 0.3}, []
    for rate in dial:
        made, encoded = truth.task(f"cue:{rate}", **dials)
        subject = truth.subject(f"cue:{rate}", epochs=5, dials=dials, cue=encoded, cue_words=made)
        found.append(measured(input.cue(subject), "cue_reliance"))
    assert spearmanr(dial, found).statistic == pytest.approx(1)
    assert abs(found[0]) < 10
    # 81.5 with AVX-512 and 86 with AVX2: sums in another order train another model
    assert 25 < found[len(found) // 2] < 90
    assert found[-1] > 90
