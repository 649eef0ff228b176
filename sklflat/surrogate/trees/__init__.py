"""Small trees that greedy growth does not find: a search on coarse questions, then alternation."""

from sklflat.surrogate.trees.estimators import AlternatingTreeClassifier, AlternatingTreeRegressor

__all__ = ["AlternatingTreeClassifier", "AlternatingTreeRegressor"]
