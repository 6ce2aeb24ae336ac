"""Where batches run: `local`, this process; `ray`, actors on this machine or a cluster.

The plan and the numbers are the same; only the place differs.
"""

ENGINES = ("local", "ray")
