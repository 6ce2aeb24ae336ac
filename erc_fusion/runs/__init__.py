"""What an `erc fuse` leaves behind, and the ladder of runs of a study, read and written whole.

Figures are kept as they came: nothing is computed, trained or drawn here.
"""

__all__ = ["ladder", "run"]
