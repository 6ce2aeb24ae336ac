"""What `erc fuse` leaves behind, and a study's ladder of runs: each read and written as a whole.

Figures are kept as they came: nothing is computed, trained or drawn here.
"""

__all__ = ["ladder", "predictions", "run", "scored", "scores"]
