"""Importing other tools' files as feature files, and exporting feature files for them.

Files of strangers are read here and nowhere else; no code in them may ever run.
"""

from erc_features.interchange.export_features import Exported, export_features
from erc_features.interchange.import_features import Imported, import_features

__all__ = [
    "Exported",
    "Imported",
    "export_features",
    "import_features",
]
