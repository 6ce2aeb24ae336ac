"""A corpus and an encoder become a feature file: the job, its plan, its engines, and its checks.

No network's own code and no HDF5 may enter: encoders know the one, the store the other.
"""

__all__ = ["dry_run", "extract", "job", "probe", "verify"]
