"""What a corpus holds, what is wrong with it, and what leaks between its splits.

It only looks: nothing here may change a corpus, and no encoder or feature file may enter.
"""

__all__ = ["doctor", "page", "tables"]
