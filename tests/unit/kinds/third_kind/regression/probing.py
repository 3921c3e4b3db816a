import numpy as np

from maskbench.kinds.probing import Probing


class _Probing(Probing):
    without = frozenset({"calibration", "memorisation", "seen-mentions", "distractor", "perturbation", "cue"})

    def confidences(self, outcome):
        raise NotImplementedError

    def flipped(self, before, after, labels):
        raise NotImplementedError

    def given(self, prediction, flip, labels):
        raise NotImplementedError

    def changed(self, before, after, clean, shifted):
        raise NotImplementedError

    def groups(self, labels, words, sets):
        raise NotImplementedError

    def constant(self, table):
        return "the model gives one number for all test texts" if np.ptp(table["prediction"]) == 0 else None


PART = _Probing()
