"""Other tools' files: what people have becomes feature files, and feature files become theirs."""

from erc_features.interchange.export_features import Exported, export_features
from erc_features.interchange.import_features import Imported, import_features
from erc_features.interchange.imported import ENCODER, must_have_encoder

__all__ = [
    "ENCODER",
    "Exported",
    "Imported",
    "export_features",
    "import_features",
    "must_have_encoder",
]
