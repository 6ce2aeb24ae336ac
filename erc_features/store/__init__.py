"""The feature store, the only room that imports h5py: format, writer, reader, inspection.

`layout.py` specifies the format. It knows rows and arrays; no corpus, media or encoder may enter.
"""

from erc_features.store.create import Shape, expected_size
from erc_features.store.file import FeatureFile, list_features, nothing_open
from erc_features.store.imported import IMPORTED, must_have_encoder
from erc_features.store.layout import (
    FORMAT,
    FORMAT_VERSION,
    PARTIAL,
    SUFFIX,
    Provenance,
    Rows,
    Status,
)
from erc_features.store.probe import Probe, read_probe
from erc_features.store.writer import FeatureWriter, open_writer

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "IMPORTED",
    "PARTIAL",
    "SUFFIX",
    "FeatureFile",
    "FeatureWriter",
    "Probe",
    "Provenance",
    "Rows",
    "Shape",
    "Status",
    "expected_size",
    "inspect",
    "list_features",
    "must_have_encoder",
    "nothing_open",
    "open_writer",
    "read_probe",
]
