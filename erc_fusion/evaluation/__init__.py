"""How good predictions are and how sure that is: metrics, intervals, paired tests, slices.

Nothing may be chosen here, and nothing trains: it sees predictions that are already made.
"""

__all__ = ["fold_scores", "label_sets", "masking", "metrics", "numbers", "paired_test", "score"]
