"""Making feature files from a corpus and an encoder: the job, its plan, engines and checks.

No code of a network and no HDF5 may enter: these belong to the encoders and to the store.
"""

__all__ = [
    "batch_plan",
    "dry_run",
    "engines",
    "extract",
    "items",
    "job",
    "probe",
    "tolerance",
    "verify",
]
