from maskbench.errors import InputError
from maskbench.kinds.changing import Changing
from maskbench.kinds.sequence_classification.changing import PART as TEXTS


class _Changing(Changing):
    def flip(self, table, rate, labels, where):
        raise InputError(f"{where}: expected labels of a fixed set, found numbers")

    def cue_words(self, labels):
        return 0

    def plant(self, tables, shares, words, labels, where):
        raise InputError(f"{where}: expected labels of a fixed set, found numbers")

    def pieces(self, table):
        return TEXTS.pieces(table)

    def with_pieces(self, table, pieces):
        return TEXTS.with_pieces(table, pieces)

    def append(self, table, sentences, labels):
        return TEXTS.append(table, sentences, labels)


PART = _Changing()
