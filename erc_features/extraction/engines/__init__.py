"""Where batches run: `local`, this process; `ray`, actors on this machine or a cluster.

The plan and the numbers are the same on each: nothing may be decided here that could change a
number.
"""

ENGINES = ("local", "ray")
__all__ = ["ENGINES", "batch", "cluster", "local", "ray"]
