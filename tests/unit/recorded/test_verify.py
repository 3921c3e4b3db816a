"""Redone cells against the record: what is drawn, which rule holds, what differs; and which cells are run elsewhere."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise
from types import SimpleNamespace

import pandas as pd
import pytest

from maskbench.errors import InputError
from maskbench.experiment.experiment import Experiment
from maskbench.experiment.jobs import Jobs
from maskbench.experiment.layout import Layout
from maskbench.io.code import ROOT
from maskbench.recorded import card
from maskbench.recorded import study as recorded
from maskbench.recorded.card import batches
from maskbench.recorded.card import run as run_missing
from maskbench.recorded.groups import complete, groups_of, missing
from maskbench.recorded.verify import Noise, compare, drawn, same_machine, table
from maskbench.records.manifest import StudyManifest
from tests.helpers.run_folders import ENVIRONMENT
from tests.unit.analysis.test_verdicts import scores, study

RUN = "a.m.x.single.clean.n100.s1"
DONE = ("completed", "completed")


def test_a_draw_is_a_share_of_the_runs_and_depends_on_its_seed_alone():
    runs = [f"run-{number}" for number in range(200)]
    one = drawn(runs, 1, 5)
    assert len(one) == 10
    assert one == drawn(runs[::-1], 1, 5)
    assert set(one) != set(drawn(runs, 2, 5))
    assert set(drawn(runs, 1, 2.5)) < set(one)
    assert len(drawn(runs[:3], 1, 5)) == 1
    assert drawn(runs, 1, 100) == sorted(runs)
    counts = pd.Series([run for seed in range(400) for run in drawn(runs, seed, 5)]).value_counts()
    assert counts.between(5, 40).all()  # 20 are expected
    for share in (0, -1, 101):
        with pytest.raises(InputError, match="SHARE: expected per cent above 0 and at most 100"):
            drawn(runs, 1, share)
    with pytest.raises(InputError, match="expected a record with runs, found none"):
        drawn([], 1, 5)


@pytest.fixture(scope="module")
def noise():
    return Noise(SimpleNamespace(metrics=study(scores({"none": 0.0, "x": 2.0}, sd=0.0), tasks=("a",))))


def redone(noise, exact, **changes):
    """Compare the run with its own numbers, some of them changed; a change to ... takes a number away."""
    here = {**noise.values[RUN], **{("test", name): value for name, value in changes.items()}}
    return compare(RUN, exact, {key: value for key, value in here.items() if value is not ...}, DONE, noise)


def test_on_the_same_kind_of_machine_the_last_bit_counts(noise):
    score = noise.values[RUN]["test", "score"]
    same = redone(noise, exact=True)
    assert (same.compared, same.identical, same.beyond) == (3, 3, [])
    assert "bit-identical" in same.line
    other = redone(noise, exact=True, score=score + 1e-16 + 2e-16)
    assert [words.partition(":")[0] for words in other.beyond] == ["score (test)"]
    assert other.line.startswith("DIFFERS")


def test_on_another_kind_the_noise_of_the_seeds_counts(noise):
    score, sd = noise.values[RUN]["test", "score"], noise.sd(RUN, ("test", "score"))
    assert sd == pytest.approx(0.02, rel=0.5)
    near, far = (redone(noise, exact=False, score=score + factor * sd) for factor in (2.9, 3.1))
    assert (near.beyond, near.identical) == ([], 2)
    assert len(far.beyond) == 1
    # what is the same under every seed has no noise
    assert len(redone(noise, exact=False, majority_score=0.5000001).beyond) == 1


def test_what_is_missing_or_failed_differs_under_both_rules(noise):
    for exact in (True, False):
        assert redone(noise, exact, score=None).beyond
        assert redone(noise, exact, score=...).beyond == ["score (test): only in the record"]
        assert redone(noise, exact, ece=0.1).beyond == ["ece (test): only here"]
        here = noise.values[RUN]
        assert compare(RUN, exact, here, ("completed", "diverged"), noise).beyond == [
            "status: record completed, here diverged"
        ]


def test_one_seed_tells_no_noise():
    one = Noise(SimpleNamespace(metrics=study(scores({"none": 0.0, "x": 2.0}), seeds=1, tasks=("a",))))
    found = redone(one, exact=False, score=0.9)
    assert (found.unknown, found.beyond) == (1, [])
    assert "1 without noise to judge by" in found.line


def test_times_and_what_needs_other_runs_are_not_compared():
    def values(task, seed, size, place):
        return {"x": {"score": 0.8, "step_time": 1.0, "failed": 0.0, "machine": 1.0, "device": 1.0, "ece": 0.1}}

    found = Noise(SimpleNamespace(metrics=study(values, tasks=("a",))))
    assert {name for _, name in found.values[RUN]} == {"score", "accuracy", "majority_score", "ece"}


def test_the_table_names_what_differs_and_sums_up(noise):
    lines = table([redone(noise, exact=True), redone(noise, exact=False, score=9.0)])
    assert lines[0].endswith(RUN)
    assert lines[2].strip().startswith("score (test): record 0.")
    assert lines[-1] == "2 cells, 6 numbers (bit-identical: 1, within 3 SD: 1): 5 identical, 1 differ"


def manifest(**entry):
    """Return the manifest of a study of one run, as the machine of the made-up records would leave it."""
    about = {"run": RUN, "strategy": "x", "status": "completed", "error": None, "notes": [], "parameters_hash": "p"}
    about |= {"code": "c", "data": {"prepared": "p", "encoded": "e", "model": "m"}, "gpu_uuid": None, "probes": None}
    about |= {"timings": {"started": "2026-01-01", "wall_s": 1.0, "train_s": 1.0}}
    about |= ENVIRONMENT.model_dump(include={"device", "device_name", "precision", "attention", "threads"}) | entry
    packages = {"python": ENVIRONMENT.python, **ENVIRONMENT.packages}
    whole = {"packages_that_differ": {}, "first_start": "x", "last_start": "x", "wall_s": 1.0, "train_s": 1.0}
    shared = {name: version for name, version in packages.items() if name not in entry.get("packages", {})}
    return StudyManifest.model_validate(whole | {"packages": shared, "probed": 0, "probe_s": 0.0, "records": [about]})


@pytest.mark.parametrize(
    ("entry", "alike"),
    [
        ({}, True),
        ({"packages": {"torch": "2.13.0"}}, True),
        ({"packages": {"torch": "2.12.0"}}, False),
        ({"device_name": "AMD EPYC"}, False),
        ({"threads": 2}, False),
        ({"precision": "fp32"}, False),
    ],
)
def test_a_machine_is_of_the_same_kind_by_device_threads_and_packages(entry, alike):
    record = SimpleNamespace(environment=ENVIRONMENT)
    found = manifest(**entry)
    assert same_machine(found, found.records[0], record) == alike


def test_on_a_card_cells_may_share_other_stacks_so_that_the_noise_counts():
    card = {"device": "cuda", "device_name": "H100"}
    found = manifest(**card)
    record = SimpleNamespace(environment=ENVIRONMENT.model_copy(update=card))
    assert not same_machine(found, found.records[0], record)


# --- which cells are run elsewhere


@pytest.fixture(scope="module")
def jobs():
    """The jobs of two tasks, alone and one after the other, and of two seeds."""
    task = {"kind": "sequence-classification", "source": {"local": "x"}, "format": "csv", "files": {"train": "t.csv"}}
    return Jobs(
        Experiment.model_validate(
            {
                "study": "s",
                "tasks": [{"name": "one", **task}, {"name": "two", **task}],
                "models": [{"name": "m", "source": {"local": "m"}}],
                "strategies": ["none", "random"],
                "regimes": ["single", "sequential"],
                "seeds": [1, 2],
            }
        )
    )


def test_missing_groups_are_whole_and_begin_with_seeds_of_which_nothing_is_there(jobs):
    groups = groups_of(jobs)
    assert {len(cells) for cells in groups.values()} == {2}
    everything = missing(jobs, set())
    # all tasks of a seed before the next seed: what is cut off is of use
    assert [cells[0].seed for cells in everything] == sorted(cells[0].seed for cells in groups.values())
    assert {cell.run for cells in everything for cell in cells} == set(jobs.cells)
    half = "one.m.none.single.clean.full.s1"
    left = missing(jobs, {half})
    assert half not in {cell.run for cells in left for cell in cells}
    assert len(left) == len(everything) - 1  # the other cell of its group would run on another machine
    assert [cells[0].seed for cells in left[: len(groups) // 2]] == [2] * (len(groups) // 2)
    assert missing(jobs, set(jobs.cells)) == []


def test_a_group_counts_when_all_of_its_cells_are_finished(jobs):
    first, second, *_ = missing(jobs, set())
    runs = [cell.run for cell in (*first, *second)]
    assert complete([first, second], runs) == runs
    assert complete([first, second], runs[:3]) == runs[:2]


def test_a_call_of_some_cells_has_those_that_they_need_and_no_others(jobs):
    run = "two.m.random.after-one.clean.full.s1"
    some = Jobs(jobs.experiment, None, [run])
    assert set(some.cells) == {run, "one.m.random.single.clean.full.s1"}
    assert len(some.by_id) == 2
    with pytest.raises(InputError, match=r"^x\.y: expected a cell of the study s, found none$"):
        Jobs(jobs.experiment, None, ["x.y"])


def test_batches_grow_and_end_with_the_time():
    now = [0.0]
    groups = [[number] for number in range(100)]
    sizes = []
    for batch in batches(groups, lambda: 100.0 - now[0], lambda: now[0]):
        sizes.append(len(batch))
        now[0] += 5.0 * len(batch)
    assert sizes[:3] == [1, 2, 4]
    assert all(later <= 2 * size for size, later in pairwise(sizes))
    assert 90.0 <= now[0] <= 105.0
    assert sum(sizes) < 25


def test_batches_fill_the_machine_as_long_as_that_fits_into_the_time():
    now = [0.0]
    sizes = []
    for batch in batches([[number] for number in range(100)], lambda: 100.0 - now[0], lambda: now[0], at_once=6):
        sizes.append(len(batch))
        now[0] += 30.0 * -(-len(batch) // 6)
    assert sizes == [6, 6, 6, 1]  # whole rounds of 30 seconds, and at the end what a short time may be enough for


def test_what_an_earlier_call_left_teaches_no_wrong_time():
    """Groups that are all but finished take no time; the next ones are as long as their cells."""
    now, started = [0.0], []
    groups = [[number] * 10 for number in range(100)]
    left = dict.fromkeys(range(6), 1)  # of the first six groups nine cells were finished before
    for batch in batches(
        groups,
        lambda: 100.0 - now[0],
        lambda: now[0],
        at_once=6,
        to_do=lambda cells: left.get(cells[0], len(cells)),
    ):
        started.append(len(batch))
        now[0] += 0.5 * sum(left.get(cells[0], len(cells)) for cells in batch)
    # each of the later ones takes thirty seconds; by the time of the first one, twelve groups would have begun at once
    assert started[:4] == [6, 6, 6, 6]


def test_as_many_groups_at_once_as_their_jobs_have_slots(jobs, monkeypatch):
    monkeypatch.setattr(card, "capacity", lambda slots: 12)
    monkeypatch.setattr(card.os, "cpu_count", lambda: 16)
    of_jobs = {number: SimpleNamespace(run=str(number)) for number in range(8)}
    made = SimpleNamespace(job_of={str(number): f"job {number % 4}" for number in range(8)})
    call = SimpleNamespace(study=SimpleNamespace(experiment=jobs.experiment, jobs=made))
    threads = jobs.experiment.training.threads
    assert card._at_once(call, [list(of_jobs.values())]) == min(12, 16 // threads) // 4
    assert card._at_once(call, [[of_jobs[0]], [of_jobs[1]]]) == min(12, 16 // threads)


class Call:
    """Stands for calls of the pipeline in a folder: what they were asked for, and what came of it."""

    def __init__(self, jobs, study, answers):
        self.jobs, self.study, self.answers = jobs, study, answers
        self.layout, self.asked = Layout.of("s-card"), []

    def restrict(self, runs):
        return Jobs(self.jobs.experiment, None, sorted(runs))

    def inputs(self, jobs):
        return ["text"]

    def make(self, targets, *, seconds=None):
        self.asked.append(targets)
        return self.answers.pop(0)

    def finished(self, jobs):
        return []


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([False], "text and models of the study could not be made here in time; the lines above say why"),
        ([True, False], "no cell of the last groups could be run; the lines above and the logs say why"),
    ],
)
def test_a_call_that_cannot_run_says_so_at_once(jobs, answers, message, tmp_path):
    study = SimpleNamespace(experiment=jobs.experiment, jobs=jobs, runs=set(), finished=set(), layout=Layout.of("s"))
    call = Call(jobs, study, list(answers))
    with pytest.raises(InputError, match=message):
        run_missing(call, 10.0, tmp_path / "card.zip")
    assert len(call.asked) == len(answers)


def test_a_call_goes_with_the_process_that_made_it(tmp_path):
    code = (
        "import subprocess, sys\n"
        "from types import SimpleNamespace\n"
        "from pathlib import Path\n"
        "from maskbench.recorded import study\n"
        "real = subprocess.Popen\n"
        f"sleeping = [sys.executable, '-c', \"import time; open('{tmp_path}/up', 'w').close(); time.sleep(60)\"]\n"
        "study.subprocess.Popen = lambda command, **more: real(sleeping, **more)\n"
        "about = SimpleNamespace(file=Path('x.yaml'), layout=study.Layout.of('x'))\n"
        f"here = study.Elsewhere(about, 'x-card')\n"
        "here.make([])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not (tmp_path / "up").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    assert process.wait(20) == 143
    found = subprocess.run(["pgrep", "-f", f"{tmp_path}/up"], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_a_call_that_does_not_stop_is_ended_with_its_jobs(monkeypatch):
    monkeypatch.setattr(recorded, "STOPPING", 0.2)
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    began = time.monotonic()
    recorded._stop(process)
    assert process.returncode == -9
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("minutes", [0.0, -3.0, 0.75, float("nan"), float("inf")])
def test_minutes_that_leave_no_time_are_refused_before_anything_is_read(minutes, tmp_path):
    with pytest.raises(InputError, match=r"MINUTES: expected a number above 0\.75, which stopping takes, got"):
        run_missing(None, minutes, tmp_path / "card.zip")


@pytest.mark.parametrize(
    ("what", "arguments", "message"),
    [
        ("card", ["--arguments=--resources gpu=2 --config x=1"], "ARGS: --config cannot change the configuration here"),
        ("card", ["--arguments=--configfile=x.yaml"], "ARGS: --configfile=x.yaml cannot change the configuration here"),
        ("card", ["--file", "tests"], "FILE: tests: expected a file to write, found a folder"),
        ("merge", [], "FILE: expected the archive to merge, such as FILE=results/reference-card.zip, got nothing"),
        (
            "merge",
            ["--file", "x.zip", "--into", "../Mine"],
            "INTO: expected a name of small letters, digits and single",
        ),
        ("merge", ["--file", "x.zip", "--into", "quickstart-card"], "INTO: expected a name of small letters,"),
        ("merge", ["--file", "x.zip", "--into", "mine"], "x.zip: cannot be read: No such file or directory"),
    ],
)
def test_what_a_call_cannot_use_is_refused_before_it_begins(what, arguments, message):
    command = [sys.executable, "scripts/cells.py", what, "--study", "config.yaml", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert len(done.stderr.strip().splitlines()) == 1


def test_arguments_with_an_open_quote_are_refused_in_a_line():
    command = [sys.executable, "scripts/cells.py", "archive", "--study", "config.yaml", "--arguments", "it's"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "ARGS: expected arguments of Snakemake, got it's (No closing quotation)",
    )


def test_a_study_without_a_record_is_named(tmp_path):
    study = tmp_path / "study.yaml"
    study.write_text((ROOT / "config.yaml").read_text().replace("study: quickstart", "study: never-run"))
    command = [sys.executable, "scripts/cells.py", "verify", "--study", str(study), "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("never-run: expected a record with runs, found none; SEED draws from them")
