import numpy as np
import pandas as pd

from maskbench.kinds.score import Outcome, Score


class _Score(Score):
    measure = "pearson"
    sums = ("n", "x", "y", "xx", "yy", "xy")
    share = False
    nothing = "all answers are alike"

    def value(self, sums):
        n, x, y, xx, yy, xy = sums
        spread = np.sqrt(np.maximum(n * xx - x**2, 0) * np.maximum(n * yy - y**2, 0))
        return np.divide(n * xy - x * y, spread, out=np.zeros_like(spread), where=spread > 0)

    def defined(self, sums):
        return bool(sums[0] * sums[3] > sums[1] ** 2)

    def outcome(self, names, columns, reduced, labels):
        given, losses = (np.asarray(part, dtype=np.float64) for part in reduced)
        true = np.asarray(labels, dtype=np.float64)
        table = pd.DataFrame(
            {
                "example": np.asarray(columns["example"]),
                "n": 1.0,
                "x": given,
                "y": true,
                "xx": given**2,
                "yy": true**2,
                "xy": given * true,
                "nll": losses,
                "units": 1,
                "label": true,
                "prediction": given,
            }
        )
        return Outcome("regression", tuple(names), table)

    def padded(self, parts, labels):
        return [np.stack(part) for part in parts], np.array(labels)

    def measures(self, outcome):
        return {"pearson": outcome.score}

    def majority(self, train, test):
        return 0.0


PART = _Score()
