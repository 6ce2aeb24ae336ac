"""What a model reads of a table: inputs standardised and clipped by train's statistics, and who
speaks.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from erc_features.errors import ErcError
from erc_fusion.inputs.table import FeatureTable
from erc_fusion.model.fusion import Split

CLAMP = 3.0
FREQUENT = 100  # utterances in train of a speaker that a model may know, like the friends of MELD
SPEAKERS = 32  # maximum number of those
LARGE = 2**29  # bytes of standardised rows
CACHED = 2**16  # numbers that are standardised at a time when they are taken: 256 KiB
CHUNK = 2048  # rows converted at a time: a float64 copy of a whole file takes four times its space


def is_large(table: FeatureTable, rows: int, limit: int | None = None) -> bool:
    """Whether that many rows are better standardised when they are taken. A float32 copy of float16
    embeddings is twice as large as they are, but training takes a quarter less time with it."""
    if table.streamed:
        return rows > 0
    return 4 * rows * sum(x[0].size for x in table.x.values()) > (LARGE if limit is None else limit)


def on_device(table: FeatureTable, device: torch.device | str) -> dict[str, Tensor]:
    """The features as they are stored; on a CPU they are not copied, nor if they are streamed and
    would take more than half of a GPU's free memory."""
    device = torch.device(device)
    if table.streamed and device.type == "cuda":
        size = sum(values.nbytes for values in table.x.values())
        if size > torch.cuda.mem_get_info(device)[0] // 2:
            device = torch.device("cpu")
    return {stem: torch.from_numpy(values).to(device) for stem, values in table.x.items()}


@dataclass(frozen=True)
class Standardised:
    """Some rows of a file, standardised when they are taken: folds share one copy of the file.

    Attributes:
        raw: (N, L, D) as stored, of the whole table, on the device, or, streamed, on the CPU.
        rows: (n,) int64, which of them these are; where `raw` is.
        ok: (n,) bool, which have an embedding.
        mean, scale: (L, D) float32, on the device.
        whole: whether all have one.
    """

    raw: Tensor
    rows: Tensor
    ok: Tensor
    mean: Tensor
    scale: Tensor
    whole: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, L, D)."""
        return (len(self.rows), *self.raw.shape[1:])

    def index_select(self, _: int, index: Tensor) -> Tensor:
        """(b, L, D) float32 of rows `index` (b,), with the bits of :meth:`Standardiser.apply`."""
        shape = (len(index), *self.raw.shape[1:])
        return self._take(index, torch.empty(shape, device=self.mean.device))

    def take(self, index: Tensor, into: Tensor) -> None:
        """Write rows `index` (S, b) to `into` (S, b, L, D) float32, which may be part of a tensor.

        On a CPU a few rows at a time, which stay in its cache from the first operation to the last.
        """
        if into.device.type != "cpu":
            into.copy_(self.index_select(0, index.flatten()).view_as(into))
            return
        few = max(1, CACHED // self.raw[0].numel())
        for own, place in zip(index, into, strict=True):
            for rows, part in zip(own.split(few), place.split(few), strict=True):
                self._take(rows, part)

    def _take(self, index: Tensor, into: Tensor) -> Tensor:
        into.copy_(self.raw.index_select(0, self.rows[index.to(self.rows.device)]))
        into.sub_(self.mean).div_(self.scale).clamp_(-CLAMP, CLAMP)
        return into if self.whole else into.masked_fill_(~self.ok[index][:, None, None], 0)


@dataclass(frozen=True)
class Standardiser:
    """Mean and scale of every file, layer and column, and known speakers; kept with a run.

    Attributes:
        mean, scale: stem -> (L, D) float32. Scale is 1 where a column is constant in train.
        speakers: the names that are frequent in train, numbered from 1; other names are 0.
        centre, unit: (T,) float64, mean and deviation in train of the numbers to predict.
    """

    mean: Mapping[str, np.ndarray]
    scale: Mapping[str, np.ndarray]
    speakers: tuple[str, ...] = ()
    centre: np.ndarray = field(default_factory=lambda: np.zeros(0))
    unit: np.ndarray = field(default_factory=lambda: np.ones(0))

    def apply(self, stem: str, x: np.ndarray, ok: np.ndarray) -> np.ndarray:
        """x (n, L, D), ok (n,) -> float32 (n, L, D) within ±3, zero where not ok.

        A column that is rarely not 0, like a hashed n-gram, has values of many deviations, and a
        network memorises those rows. On MELD's dev split, with n-grams: accuracy 0.554 within ±3,
        0.546 within ±6, 0.540 without.
        """
        out = np.empty(x.shape, dtype=np.float32)
        for start in range(0, len(x), CHUNK):
            part = slice(start, start + CHUNK)
            np.subtract(x[part], self.mean[stem], out=out[part], dtype=np.float32)
            out[part] /= self.scale[stem]
            np.clip(out[part], -CLAMP, CLAMP, out=out[part])
        out[~ok] = 0
        return out

    def split(
        self, table: FeatureTable, rows: np.ndarray, device: torch.device | str,
        raw: Mapping[str, Tensor] | None = None,
    ) -> Split:  # fmt: skip
        """Some rows of a table, ready for the model on `device`; whole dialogues in order.

        With `raw`, the table's files on the device, they are standardised when they are taken.
        """
        x: dict[str, Any] = {}
        for m, source in enumerate(table.sources):
            stem, ok = source.stem, table.present[rows, m]
            if raw is None:
                found = self.apply(stem, table.x[stem][rows], ok)
                x[stem] = torch.from_numpy(found).to(device)
            else:
                own = (ok, self.mean[stem], self.scale[stem])
                x[stem] = Standardised(
                    raw[stem],
                    torch.from_numpy(rows).to(raw[stem].device),
                    *(torch.from_numpy(each).to(device) for each in own),
                    whole=bool(ok.all()),
                )
        names = [*zip(table.split[rows].tolist(), table.dialogue[rows].tolist(), strict=True)]
        changes = [False, *(one != other for one, other in pairwise(names))][: len(rows)]
        dialogue = np.cumsum(changes, dtype=np.int64)
        known = {name: number for number, name in enumerate(self.speakers, start=1)}
        speaker = np.array([known.get(name, 0) for name in table.speaker[rows]], dtype=np.int64)
        party = _parties(dialogue, table.speaker[rows])
        columns = (table.present[rows], table.label[rows], dialogue, speaker, party)
        found = Split(x, *(torch.from_numpy(column).to(device) for column in columns))
        return replace(found, target=self._target(table, rows, device))

    def _target(
        self, table: FeatureTable, rows: np.ndarray, device: torch.device | str
    ) -> Tensor | None:
        """(n, K + T) float32, or None where the table has neither sets nor numbers."""
        parts = [] if table.sets is None else [table.sets[rows]]
        if table.numbers is not None:
            parts.append((table.numbers[rows] - self.centre) / self.unit)
        if not parts:
            return None
        return torch.from_numpy(np.concatenate(parts, -1)).float().to(device)

    def tensors(self) -> dict[str, Tensor]:
        """Mean and scale as `model.safetensors` keeps them: `input.<stem>.mean` and `.scale`, and,
        of numbers to predict, `target.mean` and `.scale`."""
        of_numbers = {
            f"target.{name}": torch.from_numpy(values)
            for name, values in (("mean", self.centre), ("scale", self.unit))
            if len(values)
        }
        return of_numbers | {
            f"input.{stem}.{name}": torch.from_numpy(values[stem])
            for name, values in (("mean", self.mean), ("scale", self.scale))
            for stem in values
        }


def fit_standardiser(table: FeatureTable, rows: np.ndarray) -> Standardiser:
    """Mean and scale over those of `rows` (train's) that are ok, computed in float64; speakers.

    A file without such rows gets mean 0 and scale 1. The speakers are those of at least 100 of
    `rows`, the most frequent first, at most 32.
    """
    mean, scale = {}, {}
    for m, source in enumerate(table.sources):
        ok = rows[table.present[rows, m]]
        mean[source.stem], scale[source.stem] = _moments(table.x[source.stem], ok)
    counts = Counter(name for name in table.speaker[rows].tolist() if name)
    order = sorted(counts, key=lambda name: (-counts[name], name))
    frequent = tuple(name for name in order if counts[name] >= FREQUENT)
    return Standardiser(mean, scale, frequent[:SPEAKERS], *_of_numbers(table, rows))


def from_tensors(tensors: Mapping[str, Tensor], speakers: Sequence[str] = ()) -> Standardiser:
    """The inverse of :meth:`Standardiser.tensors`; other tensors are ignored."""
    kept: dict[str, dict[str, np.ndarray]] = {"mean": {}, "scale": {}}
    for name, values in tensors.items():
        if name.startswith("input."):
            stem, _, which = name.removeprefix("input.").rpartition(".")
            kept[which][stem] = values.numpy()
    of_numbers = (tensors[f"target.{name}"].numpy() for name in kept if f"target.{name}" in tensors)
    return Standardiser(kept["mean"], kept["scale"], tuple(speakers), *of_numbers)


def _of_numbers(table: FeatureTable, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, deviation) over train's rows of each number to predict, (T,) float64.

    Raises:
        ErcError: a number is not known of any of them, or always the same.
    """
    truth = np.zeros((len(table), 0)) if table.numbers is None else table.numbers
    for name, values in zip(table.number_names, truth[rows].T, strict=True):
        known = values[~np.isnan(values)]
        if not len(known) or np.ptp(known) == 0:
            what = f"always {known[0]:g}" if len(known) else "never known"
            raise ErcError(f"--target {name}: it is {what} in train, so there is nothing to learn.")
    if not truth.shape[1]:
        return np.zeros(0), np.ones(0)
    return np.nanmean(truth[rows], 0), np.nanstd(truth[rows], 0)


def _parties(dialogue: np.ndarray, names: np.ndarray) -> np.ndarray:
    """(N,) int64: each dialogue's speakers, numbered as they first speak.

    Each utterance without a speaker's name has a party of its own.
    """
    party, met, last = np.empty(len(names), dtype=np.int64), {}, -1
    for row, (number, name) in enumerate(zip(dialogue.tolist(), names.tolist(), strict=True)):
        if number != last:
            met, last = {}, number
        party[row] = met.setdefault(name or row, len(met))
    return party


def _moments(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean, scale), each (L, D) float32."""
    count, shape = max(1, len(rows)), x.shape[1:]
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    mean, deviation = np.zeros(shape), np.zeros(shape)
    for part in chunks:  # few rows, all layers: x may be on the disk
        block = x[part]
        for layer in range(shape[0]):  # float64 is four times as large as float16
            mean[layer] += np.ascontiguousarray(block[:, layer]).sum(0, dtype=np.float64)
    mean /= count
    for part in chunks:
        block = x[part]
        for layer in range(shape[0]):
            deviation[layer] += np.square(block[:, layer].astype(np.float64) - mean[layer]).sum(0)
    deviation = np.sqrt(deviation / count)
    # Below float32's resolution a deviation is a rounding error, and must not be divided by.
    varies = deviation > 1e-6 * np.maximum(1e-3, np.abs(mean))
    return mean.astype(np.float32), np.where(varies, deviation, 1).astype(np.float32)
