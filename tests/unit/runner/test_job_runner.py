"""Jobs of several cells on tiny models: what is trained and probed, what is left alone, and what is left behind."""

from __future__ import annotations

import gc
import json
import shutil
import signal

import pandas as pd
import pytest
from safetensors.torch import load_file
from transformers import PreTrainedModel

from maskbench.errors import InputError
from maskbench.experiment.finished import FORCED, NO_ALONG, NOT_KEPT, Keys, StudyState, void
from maskbench.experiment.forced import Forced
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.planned import Planned
from maskbench.models import pretrained
from maskbench.records.probe import ProbeRecord
from maskbench.records.run import Record
from maskbench.runner import job as runner
from tests.helpers import faults
from tests.helpers.faults import garble
from tests.helpers.models import same
from tests.helpers.studies import Study

TIMES = {"train_time", "step_time", "throughput", "fit_time", "wall_time", "peak_memory", "probe_time"}
JOB = "texts.tiny.single.clean.full.s1.0"
HOT = {"name": "hot", "training": {"learning_rate": 1e30, "max_grad_norm": 0.0}}  # diverges
THREE = ["none", "random", "span"]


def run_of(strategy: str, task: str = "texts", regime: str = "single", condition: str = "clean") -> str:
    return f"{task}.tiny.{strategy}.{regime}.{condition}.full.s1"


@pytest.fixture(autouse=True)
def _no_cards(monkeypatch):
    monkeypatch.setenv("MASKBENCH_GPUS", "")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished study of two strategies, in one job."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKBENCH_GPUS", "")
        study = Study(tmp_path_factory.mktemp("done") / "mine")
        study.run()
    return study


@pytest.fixture
def copied(done, tmp_path):
    """A copy of it that a test may change."""
    study = object.__new__(Study)
    study.layout = type(done.layout)(tmp_path / "mine")
    shutil.copytree(done.layout.folder, study.layout.folder)
    study.configure()
    return study


def numbers(study, run):
    """Everything that a run and its probes measured, times left out, and the weights if they are there."""
    record, probes = Record.read(study.layout.record(run)), ProbeRecord.read(study.layout.probe_record(run))
    metrics = [metric for metric in [*record.metrics, *probes.metrics] if metric.measure not in TIMES]
    weights = study.layout.model(run) / "model.safetensors"
    return (
        (record.status, record.history, metrics, record.notes, record.key, probes.key, probes.notes),
        pd.read_parquet(study.layout.predictions(run)),
        load_file(weights) if weights.exists() else {},
    )


def peak(study, run):
    """Peak memory of a run, in MiB."""
    (metric,) = (one for one in Record.read(study.layout.record(run)).metrics if one.measure == "peak_memory")
    return metric.value


def check_same(one, other):
    assert one[0] == other[0]
    pd.testing.assert_frame_equal(one[1], other[1], check_exact=True)
    assert same(one[2], other[2])


# --- what a job leaves


def test_a_job_leaves_records_logs_and_an_index_and_no_model(done):
    assert done.todo() == {}
    assert done.models() == set()
    index = json.loads(done.layout.index(JOB).read_text())
    assert [entry["run"] for entry in index["cells"]] == [run_of("none"), run_of("random")]
    keys = Keys(done.jobs, done.layout)
    for entry, cell in zip(index["cells"], done.jobs.by_id[JOB].cells, strict=True):
        assert entry["key"] == keys.training(cell) == Record.read(done.layout.record(cell.run)).key
        assert entry["probes"]["key"] == keys.probing(cell) == ProbeRecord.read(done.layout.probe_record(cell.run)).key
        for log in (done.layout.train_log(cell.run), done.layout.probe_log(cell.run)):
            lines = log.read_text().splitlines()
            assert lines[1] == f"run {cell.run}"
            assert lines[2].startswith("device ")
        assert "learning_rate" in done.layout.train_log(cell.run).read_text()
    assert not done.layout.models(JOB).exists()  # nobody needs its models


def test_a_job_keeps_no_model_of_its_cells_in_memory(copied):
    shutil.rmtree(copied.layout.folder / "training")
    gc.collect()
    before = {id(one) for one in gc.get_objects() if issubclass(type(one), PreTrainedModel)}
    copied.run()
    gc.collect()
    assert not [one for one in gc.get_objects() if issubclass(type(one), PreTrainedModel) and id(one) not in before]


def test_a_job_reads_the_pretrained_model_once_for_all_its_cells(copied, monkeypatch):
    shutil.rmtree(copied.layout.folder / "training")
    read = []
    build = pretrained.build_model
    monkeypatch.setattr(pretrained, "build_model", lambda *args, **keys: read.append(args) or build(*args, **keys))
    copied.run()
    assert len(copied.trained()) == 2
    assert len(read) == 1


def test_a_second_run_touches_no_record_and_takes_no_slot(copied, monkeypatch):
    before = copied.trained(), copied.probed()
    monkeypatch.setattr(runner, "on_slot", None)
    copied.run()
    assert (copied.trained(), copied.probed()) == before


def test_a_line_for_the_terminal_when_each_cell_ends(copied, monkeypatch):
    shutil.rmtree(copied.layout.folder / "training")
    monkeypatch.setenv("MASKBENCH_CELLS", "2")
    monkeypatch.setenv("MASKBENCH_STARTED", "0")
    first, second = copied.run()
    assert first.startswith("cells: 1 of 2 done, 1 left, about ")
    assert second == "cells: 2 of 2 done, 0 left"


@pytest.mark.parametrize("regime", ["single", "joint"])
def test_the_numbers_of_a_cell_do_not_depend_on_its_neighbours(tmp_path, regime):
    """Alone, first and last of three: the same weights, predictions and metrics."""
    keys = {"keep_models": True, "regimes": ["single"]}
    if regime == "joint":
        keys |= {"tasks": ["texts", "names"], "regimes": ["single", "joint"]}
    name = {"single": JOB, "joint": "texts.tiny.with-names.clean.full.s1.0"}[regime]
    last = Study(tmp_path / "last", **keys, strategies=["none", "random", {"name": "mine", "input": "span"}])
    last.run(name)
    for other in (["none", {"name": "mine", "input": "span"}], ["none"], ["none", "random"]):
        study = object.__new__(Study)
        study.layout = type(last.layout)(tmp_path / "other")
        shutil.copytree(last.layout.folder, study.layout.folder, ignore=shutil.ignore_patterns("training", "jobs"))
        study.configure(**keys, strategies=other[::-1] if len(other) < 3 else other, baseline="none")
        study.run(name)
        for member in study.jobs.by_id[name].members:
            for cell in member:
                check_same(numbers(last, cell.run), numbers(study, cell.run))
                assert peak(last, cell.run) == pytest.approx(peak(study, cell.run), abs=2)
        shutil.rmtree(study.layout.folder)


# --- only what changed


def test_a_strategy_that_is_added_is_trained_alone(copied):
    before = copied.trained()
    copied.configure(strategies=THREE)
    assert copied.todo().keys() == {run_of("span")}
    copied.run()
    after = copied.trained()
    assert after.keys() - before.keys() == {run_of("span")}
    assert {run: after[run] for run in before} == before


def test_a_strategy_whose_parameters_changed_is_trained_alone(copied):
    before = copied.trained()
    copied.configure(strategies=["none", {"preset": "random", "input": {"kind": "random", "rate": 0.4}}])
    copied.run()
    after = copied.trained()
    assert after[run_of("none")] == before[run_of("none")]
    assert after[run_of("random")] != before[run_of("random")]
    assert copied.todo() == {}


def test_the_cell_whose_mask_code_changed_is_trained_alone(copied, monkeypatch):
    before = copied.trained(), copied.probed()
    original = Jobs.code_of
    monkeypatch.setattr(
        Jobs, "code_of", lambda self, cell: "changed" if cell.strategy.name == "random" else original(self, cell)
    )
    assert {run: (todo.train, todo.why) for run, todo in copied.todo().items()} == {run_of("random"): (True, None)}
    copied.run()
    after = copied.trained(), copied.probed()
    for times, earlier in zip(after, before, strict=True):
        assert times[run_of("none")] == earlier[run_of("none")]
        assert times[run_of("random")] != earlier[run_of("random")]
    assert Record.read(copied.layout.record(run_of("random"))).code == "changed"


def test_a_task_whose_text_changed_is_trained_again(copied):
    manifest = copied.layout.encoded("texts", "tiny", "clean")
    about = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(about | {"hash": "0" * 64}))
    assert {run: todo.train for run, todo in copied.todo().items()} == {run_of("none"): True, run_of("random"): True}


@pytest.mark.parametrize("file", ["record", "predictions", "probe_record", "outcomes"])
def test_a_file_that_is_gone_or_garbled_is_made_again(copied, file):
    before = numbers(copied, run_of("none"))
    path = getattr(copied.layout, file)(run_of("none"))
    if file in ("record", "probe_record"):
        path.write_bytes(path.read_bytes()[:-200])
    else:
        path.unlink()
    assert copied.todo().keys() == {run_of("none")}
    copied.run()
    check_same(before, numbers(copied, run_of("none")))


# --- stale probes


def test_another_probe_trains_again_where_no_model_was_kept_and_says_so(copied):
    before = numbers(copied, run_of("none"))
    copied.configure(probes={"measure": ["calibration"]})
    plan = Planned.of(copied.jobs, copied.layout, copied.jobs.by_id, ())
    assert plan.cells == 2
    assert plan.lines == (
        f"2 finished runs are trained again: {NOT_KEPT}",
        "of 2 cells, 2 to train, 2 to probe, in 1 job",
    )
    copied.run()
    assert copied.todo() == {}
    assert copied.models() == set()
    assert NOT_KEPT in copied.layout.train_log(run_of("none")).read_text()
    assert before[0][:2] == numbers(copied, run_of("none"))[0][:2]


def test_another_probe_trains_nothing_where_models_were_kept(tmp_path):
    study = Study(tmp_path / "mine", keep_models=True)
    study.run()
    before = study.trained()
    assert study.models() == {run_of("none"), run_of("random")}
    study.configure(keep_models=True, probes={"measure": ["calibration"]})
    plan = Planned.of(study.jobs, study.layout, study.jobs.by_id, ())
    assert (plan.cells, plan.lines) == (0, ("of 2 cells, 0 to train, 2 to probe, in 1 job",))
    study.run()
    assert study.trained() == before
    assert study.todo() == {}
    # the weights at each evaluation are not there
    study.configure(keep_models=True, probes={"measure": ["trajectory"]})
    assert {todo.why for todo in study.todo().values()} == {NO_ALONG}
    study.run()
    assert study.todo() == {}


def test_a_reference_that_was_made_of_other_code_is_measured_against_again(copied):
    manifest = copied.layout.reference("texts", "tiny")
    about = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(about | {"timings": {"started": "later", "wall_s": 1.0}}))
    assert copied.todo() == {}  # made again, of the same
    manifest.write_text(json.dumps(about | {"code": "d"}))
    assert {run: (todo.why, len(todo.probe)) for run, todo in copied.todo().items()} == {
        run_of("none"): (NOT_KEPT, 1),
        run_of("random"): (NOT_KEPT, 1),
    }


# --- cells that fail


def test_a_cell_that_diverges_is_recorded_and_the_next_one_is_trained(tmp_path):
    study = Study(tmp_path / "mine", strategies=["none", HOT, "random"], probes={"measure": ["calibration"]})
    study.run()
    found = {
        strategy: Record.read(study.layout.record(run_of(strategy))).status for strategy in ("none", "hot", "random")
    }
    assert found == {"none": "completed", "hot": "diverged", "random": "completed"}
    assert ProbeRecord.read(study.layout.probe_record(run_of("hot"))).status == "not probed"
    assert study.todo() == {}  # it is a result, and is not tried again


@pytest.mark.parametrize(
    "error", [InputError("texts: expected something else"), OSError(28, "No space left on device")]
)
def test_a_cell_that_cannot_be_trained_stops_no_other_and_ends_the_job_with_its_line(tmp_path, monkeypatch, error):
    study = Study(tmp_path / "mine", strategies=THREE)
    original = runner.Runner.inputs

    def inputs(self, cell, shelf):
        if cell.strategy.name == "random":
            raise error
        return original(self, cell, shelf)

    with monkeypatch.context() as patch:
        patch.setattr(runner.Runner, "inputs", inputs)
        with pytest.raises(InputError) as raised:
            study.run()
    (line,) = str(raised.value).splitlines()
    said = str(error) if isinstance(error, InputError) else "No space left on device; nothing half-written is left"
    assert line.startswith(said)
    assert line.endswith(f"(run {run_of('random')}, {study.layout.train_log(run_of('random'))})")
    assert said in study.layout.train_log(run_of("random")).read_text()
    assert study.todo().keys() == {run_of("random")}
    assert not study.layout.index(JOB).exists()
    before = study.trained()
    study.run()
    assert {run: study.trained()[run] for run in before} == before
    assert study.todo() == {}


def test_text_that_is_garbled_is_named_once_for_each_cell(tmp_path):
    study = Study(tmp_path / "mine")
    (arrow,) = study.layout.encoded("texts", "tiny", "clean").parent.glob("train/*.arrow")
    garble(arrow)
    with pytest.raises(InputError) as raised:
        study.run()
    assert str(raised.value).count(str(arrow)) == 2
    assert study.trained() == {}


# --- jobs that are killed


@pytest.fixture
def three(tmp_path):
    return Study(tmp_path / "mine", strategies=THREE)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASKBENCH_GPUS", "")
        study = Study(tmp_path_factory.mktemp("undisturbed") / "mine", strategies=THREE)
        study.run()
    return study


def check_as_undisturbed(study, undisturbed):
    assert study.todo() == {}
    for strategy in THREE:
        one, other = numbers(study, run_of(strategy)), numbers(undisturbed, run_of(strategy))
        notes = [note for note in one[0][3] if not note.startswith("went on after update ")]
        check_same(((*one[0][:3], notes, *one[0][4:]), *one[1:]), other)


def test_a_job_that_is_killed_between_two_cells_goes_on_with_the_second(three, undisturbed, tmp_path, injected):
    log = tmp_path / "log"
    assert faults.job(three.arguments(JOB), log, killed_before=run_of("random")) == -signal.SIGKILL
    before = three.trained()
    assert before.keys() == {run_of("none")}
    assert faults.job(three.arguments(JOB), log) == 0, log.read_text()
    assert three.trained()[run_of("none")] == before[run_of("none")]
    check_as_undisturbed(three, undisturbed)
    injected("SIGKILL of a job between two of its cells")


@pytest.mark.parametrize(("how", "status"), [("killed", -signal.SIGKILL), ("terminated", 128 + signal.SIGTERM)])
def test_a_job_that_ends_in_a_cell_goes_on_from_its_checkpoint(three, undisturbed, tmp_path, injected, how, status):
    log = tmp_path / "log"
    assert faults.job(three.arguments(JOB), log, **{f"{how}_in_step_of": (run_of("random"), 8)}) == status
    before = three.trained()
    assert before.keys() == {run_of("none")}
    assert not three.layout.index(JOB).exists()
    assert faults.job(three.arguments(JOB), log) == 0, log.read_text()
    assert three.trained()[run_of("none")] == before[run_of("none")]
    assert "continues from checkpoint-" in three.layout.train_log(run_of("random")).read_text()
    check_as_undisturbed(three, undisturbed)
    injected(f"{'SIGKILL' if how == 'killed' else 'SIGTERM'} of a job in the middle of its cells")


# --- jobs that a call forces


def test_a_forced_job_trains_its_finished_cells_again_and_only_once(three, undisturbed, tmp_path, injected):
    log, known = tmp_path / "log", Forced(three.layout)
    three.run()
    before = three.trained(), three.probed()
    plan = Planned.of(three.jobs, three.layout, [JOB], (), forced={JOB})
    assert plan.lines == (
        f"3 finished runs are trained again: {FORCED}",
        "of 3 cells, 3 to train, 3 to probe, in 1 job",
    )
    made = {three.layout.encoded("texts", "tiny", "clean")}  # as --forceall has it
    assert Planned.of(three.jobs, three.layout, [JOB], made, forced={JOB}).lines == plan.lines
    assert FORCED not in Planned.of(three.jobs, three.layout, [JOB], made).lines[0]
    known.replace([JOB])
    run = run_of("random")
    assert faults.job(three.arguments(JOB), log, killed_in_step_of=(run, 8)) == -signal.SIGKILL
    assert JOB not in known
    (first,) = three.trained()
    assert three.trained()[first] > before[0][first]
    once = three.trained()[first]
    assert faults.job(three.arguments(JOB), log) == 0, log.read_text()
    assert three.trained()[first] == once  # a job that is started again goes on
    assert "continues from checkpoint-" in three.layout.train_log(run).read_text()
    for now, then in zip((three.trained(), three.probed()), before, strict=True):
        assert all(now[name] > then[name] for name in then)
    check_as_undisturbed(three, undisturbed)
    injected("SIGKILL of a job that was forced to train finished cells again")


# --- who needs the models of whom

AFTER, FIRST = "texts.tiny.after-names.clean.full.s1.0", "names.tiny.single.clean.full.s1.0"


def test_models_are_there_while_others_need_them_and_go_with_the_last_one(tmp_path):
    keys = {"tasks": ["texts", "names"], "regimes": ["single", "sequential"], "strategies": ["none"]}
    keys["conditions"] = ["clean", "label-noise:0.3"]
    keys["probes"] = {"measure": ["memorisation", "forgetting"]}
    study = Study(tmp_path / "mine", **keys)
    study.run(FIRST)
    first = run_of("none", "names")
    assert study.models() == {first}
    lent = json.loads(study.layout.models(FIRST).read_text())["keys"]
    assert lent == {first: Record.read(study.layout.record(first)).key}
    study.run(AFTER)
    assert study.models() == {first}  # its twin with flipped labels is not finished
    study.run(FIRST.replace("clean", "noise-30"))
    assert study.models() == set()
    study.run()
    assert study.models() == set()
    assert study.todo() == {}
    values = {
        metric.measure: metric.value
        for metric in ProbeRecord.read(study.layout.probe_record(run_of("none", "names", condition="noise-30"))).metrics
    }
    assert values["noise_memorisation"] is not None

    # the second task changes: the first one is finished, but its model is gone
    study.configure(**keys)
    before = study.trained()
    shutil.rmtree(study.layout.record(run_of("none", regime="after-names")).parent)
    left = {run: (todo.train, todo.why, len(todo.probe)) for run, todo in study.todo().items()}
    assert left == {first: (True, NOT_KEPT, 0), run_of("none", regime="after-names"): (True, None, 1)}
    study.run(FIRST, AFTER)
    after = study.trained()
    assert {run for run in after if after[run] != before[run]} == set(left)
    assert study.models() == set()
    assert study.todo() == {}


def test_a_model_stays_for_a_forced_job_that_has_not_begun(tmp_path):
    keys = {"tasks": ["texts", "names"], "regimes": ["single", "sequential"], "strategies": ["none"]}
    study = Study(tmp_path / "mine", **keys, probes={"measure": []})
    study.run(FIRST, AFTER)
    before = study.trained()
    assert study.models() == set()
    Forced(study.layout).replace([FIRST, AFTER])
    study.run(FIRST)
    assert study.models() == {run_of("none", "names")}
    study.run(AFTER)
    assert study.models() == set()
    assert all(study.trained()[run] > before[run] for run in before)


def test_a_changed_first_task_changes_what_goes_on_from_it(tmp_path):
    keys = {
        "tasks": ["texts", "names"],
        "regimes": ["single", "sequential"],
        "strategies": ["none"],
        "probes": {"measure": []},
    }
    study = Study(tmp_path / "mine", **keys)
    study.run()
    manifest = study.layout.encoded("names", "tiny", "clean")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"hash": "0" * 64}))
    assert study.todo().keys() == {
        run_of("none", "names"),
        run_of("none", "names", "after-texts"),
        run_of("none", regime="after-names"),
        run_of("none"),  # its model is needed by the sequential training on names
    }
    assert StudyState(Keys(study.jobs, study.layout)).trained(study.jobs.cells[run_of("none")])


def test_a_run_whose_first_task_failed_needs_no_model(tmp_path):
    keys = {
        "tasks": ["texts", "names"],
        "regimes": ["single", "sequential"],
        "strategies": ["none", HOT],
        "probes": {"measure": []},
    }
    study = Study(tmp_path / "mine", **keys)
    study.run(FIRST, AFTER)
    after = Record.read(study.layout.record(run_of("hot", regime="after-names")))
    assert (after.status, after.error) == ("crashed", f"the run {run_of('hot', 'names')} that it starts from diverged")
    assert AFTER not in study.todo()
    assert study.models() == set()


# --- what Snakemake cannot see


def test_indexes_of_records_that_are_gone_and_markers_of_models_that_are_gone_are_void(tmp_path):
    keys = {"tasks": ["texts", "names"], "regimes": ["single", "sequential"], "strategies": ["none"]}
    study = Study(tmp_path / "mine", **keys, keep_models=True)
    study.run()
    assert list(void(study.jobs, study.layout)) == []
    study.layout.probe_record(run_of("none")).unlink()
    shutil.rmtree(study.layout.model(run_of("none", "names")))
    assert list(void(study.jobs, study.layout)) == [study.layout.index(JOB), study.layout.models(FIRST)]


def test_a_record_that_was_damaged_is_noticed_and_its_cell_alone_is_trained_again(copied):
    """Whether or not its metrics are made again; a record that is only newer, as after a copy, is as good as before."""
    one, other = (copied.layout.record(run_of(name)) for name in ("none", "random"))
    before = copied.trained()
    for path in (one, copied.layout.probe_record(run_of("none"))):
        path.write_bytes(path.read_bytes())
    assert list(void(copied.jobs, copied.layout)) == []
    other.write_bytes(other.read_bytes()[:-200])
    assert list(void(copied.jobs, copied.layout)) == [copied.layout.index(JOB)]
    copied.layout.index(JOB).unlink()
    before[run_of("none")] = copied.trained()[run_of("none")]
    copied.run()
    assert {run for run, time in copied.trained().items() if time != before[run]} == {run_of("random")}
    assert list(void(copied.jobs, copied.layout)) == []
    assert copied.todo() == {}


def test_what_rests_on_files_that_are_made_in_the_same_call_counts_as_changed(copied):
    made = {copied.layout.encoded("texts", "tiny", "clean")}
    assert Planned.of(copied.jobs, copied.layout, copied.jobs.by_id, made).cells == 2
    assert Planned.of(copied.jobs, copied.layout, copied.jobs.by_id, ()).cells == 0
    assert Planned.of(copied.jobs, copied.layout, (), ()).lines == ()


def test_the_line_about_progress_needs_no_recorded_cell(tmp_path, monkeypatch):
    """The first cell of a study may fail before the folder of runs is there."""
    from maskbench.experiment.layout import Layout
    from maskbench.runner.logs import progress

    monkeypatch.setenv("MASKBENCH_CELLS", "2")
    monkeypatch.setenv("MASKBENCH_STARTED", "0")
    assert progress(Layout(tmp_path)).startswith("cells: 0 of 2 done, 2 left")
