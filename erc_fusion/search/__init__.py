"""Many runs for one question: `tune`, `study`, and whether a head can fit its data at all.

Every choice is made on dev; nothing in here may look at test before it is made.
"""

__all__ = ["overfit", "study", "study_plan", "tune", "tune_space"]
