"""What a run records beyond scores: layers' and files' weights, and the map of embeddings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fusion_files import embeddings, make_corpus, write_features
from safetensors.numpy import load_file
from sklearn.decomposition import PCA

from erc_features.store import Status
from erc_fusion.config.config import FuseConfig, with_options
from erc_fusion.fuse import fuse
from erc_fusion.inputs.sources import find_sources
from erc_fusion.inputs.table import FeatureTable, load_table
from erc_fusion.model.heads import HEADS, load_head
from erc_fusion.model.heads.base import Head, HeadShape
from erc_fusion.model.layers import Stack, generator
from erc_fusion.training import train
from erc_fusion.training.checkpoint import Weights, load_weights, principal
from erc_fusion.training.learned_weights import weigh_files

FILES = {"text.t": (3, 6), "audio.a": (1, 4), "visual.v": (2, 5)}
WEIGHING = ("attention", "gated", "late")


def make_head(name: str, seeds: tuple[int, ...] = (0, 1)) -> Head:
    """Of width 8, with every weight random: some begin at 0 or 1."""
    head = load_head(name)(Stack(seeds), HeadShape(FILES, 8, 0.5)).eval()
    for place, parameter in enumerate(head.parameters()):
        for seed, values in zip(seeds, parameter.data, strict=True):
            values += 0.3 * torch.randn(values.shape, generator=generator(seed, f"w{place}"))
    return head


def rows(count: int = 12, seeds: int = 2) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Every combination of files, the first none."""
    source = generator(3, "rows")
    x = {s: torch.randn(count, *shape, generator=source) for s, shape in FILES.items()}
    present = torch.tensor([[n >> m & 1 for m in range(3)] for n in range(count)]) > 0
    every = {stem: values.expand(seeds, *values.shape) for stem, values in x.items()}
    return every, present.expand(seeds, -1, -1)


def projected(head: Head, x: dict, present: torch.Tensor, seed: int, row: int) -> np.ndarray:
    """(M, E) float64: the layers mixed, projected, and zero where absent."""
    own = {n: p[seed].detach().double().numpy() for n, p in head.project.named_parameters()}
    found = []
    for m, stem in enumerate(FILES):
        values = x[stem][seed, row].double().numpy()
        mix = softmax(own.get(f"files.{m}.mix.weight", np.zeros(1)))
        linear = own[f"files.{m}.linear.weight"], own[f"files.{m}.linear.bias"][0]
        found.append((mix @ values @ linear[0] + linear[1]) * present[seed, row, m].item())
    return np.array(found)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def normal(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(
        x.var(-1, keepdims=True) + 1e-5
    ) * weight + bias


def test_attention_is_what_the_queries_take_of_each_file() -> None:
    head, (x, present) = make_head("attention"), rows()
    with torch.no_grad():
        given = head.weigh(x, present)
    for seed in range(2):
        own = {n: p[seed].detach().double().numpy() for n, p in head.named_parameters()}
        norms = [(own[f"norms.{n}.weight"], own[f"norms.{n}.bias"]) for n in range(3)]
        for row in range(12):
            here = present[seed, row].numpy()
            tokens = normal(projected(head, x, present, seed, row), *norms[0])[here]
            if not len(tokens):
                continue
            before = normal(tokens, *norms[1])
            query, out = (
                (own[f"among.{n}.weight"], own[f"among.{n}.bias"]) for n in ("query", "out")
            )
            q = (before @ query[0] + query[1]).reshape(-1, 4, 2)
            k = (before @ own["among.key.weight"]).reshape(-1, 4, 2)
            v = (before @ own["among.value.weight"]).reshape(-1, 4, 2)
            mixed = np.zeros_like(q)
            for h in range(4):
                for t in range(len(tokens)):
                    mixed[t, h] = softmax(k[:, h] @ q[t, h] / np.sqrt(2)) @ v[:, h]
            tokens = tokens + mixed.reshape(-1, 8) @ out[0] + out[1]
            scores = normal(tokens, *norms[2]) @ own["read.query.weight"]  # (tokens, 4)
            expected = np.mean([softmax(scores[:, h]) for h in range(4)], axis=0)
            np.testing.assert_allclose(given[seed, row].numpy()[here], expected, atol=2e-6)


def test_gated_is_the_mean_gate_and_late_the_share() -> None:
    x, present = rows()
    gated, late = make_head("gated"), make_head("late")
    with torch.no_grad():
        gates, shares = gated.weigh(x, present), late.weigh(x, present)
    for seed in range(2):
        weight, bias = (p[seed].detach().double().numpy() for p in gated.gates.parameters())
        learned = late.weight[seed].detach().double().numpy()
        for row in (1, 2, 3, 4, 5, 6, 7, 9):
            here = present[seed, row].numpy()
            z = projected(gated, x, present, seed, row).reshape(-1) @ weight + bias[0]
            expected = (1 / (1 + np.exp(-z))).reshape(3, 8).mean(-1)
            np.testing.assert_allclose(gates[seed, row], expected * here, atol=2e-6)
            np.testing.assert_allclose(
                shares[seed, row].numpy()[here], softmax(learned[here]), atol=1e-6
            )


@pytest.mark.parametrize("name", HEADS)
def test_files_sum_to_one_absent_ones_have_nothing_and_seeds_stay_apart(name: str) -> None:
    head, (x, present) = make_head(name), rows()
    with torch.no_grad():
        given = head.weigh(x, present)
        if name not in WEIGHING:
            assert given is None
            return
        assert given.shape == present.shape
        assert torch.all(given[~present] == 0) and torch.all(given[present] > 0)
        if name != "gated":
            expected = present.any(-1).float()
            torch.testing.assert_close(given.sum(-1), expected, atol=1e-6, rtol=0)
        second = {stem: values[1:] for stem, values in x.items()}
        alone = make_head(name, (1,)).weigh(second, present[1:])
    assert torch.equal(alone[0], given[1])


@pytest.mark.parametrize("shape", [(40, 7), (5, 12), (3, 3)])
def test_principal_components_are_sklearns_with_a_sign(shape: tuple[int, int]) -> None:
    source = np.random.default_rng(0)
    x = (source.normal(size=(2, *shape)) * np.linspace(3, 1, shape[1]) + 5).astype(np.float32)
    found = principal(x)
    assert found.shape == (2, shape[0], 2) and found.dtype == np.float32
    for seed in range(2):
        theirs = PCA(2, svd_solver="full").fit(x[seed].astype(np.float64))
        axes = theirs.components_
        signs = np.sign(axes[[0, 1], np.abs(axes).argmax(1)])
        expected = theirs.transform(x[seed]) * signs
        np.testing.assert_allclose(found[seed], expected, atol=1e-5)
        assert np.array_equal(principal(x[seed : seed + 1])[0], found[seed])


def test_principal_components_of_next_to_nothing() -> None:
    assert not principal(np.ones((2, 2, 5), np.float32)).any()
    assert not principal(np.ones((1, 6, 5), np.float32)).any()  # collapsed: no axis, no NaN
    line = np.arange(4, dtype=np.float32).reshape(1, 4, 1)
    np.testing.assert_allclose(principal(line)[0], [[-1.5, 0], [-0.5, 0], [0.5, 0], [1.5, 0]])
    assert principal(np.zeros((3, 0, 5), np.float32)).shape == (3, 0, 2)


def write_corpus(root: Path) -> None:
    """Text of three layers, audio that every fifth row lacks, visual that test has not at all."""
    corpus = make_corpus((24, 10, 10))
    here = root / "features" / "tiny"
    count, test = len(corpus.rows), np.array(corpus.rows.split) == "test"
    write_features(here, "text.t", corpus, embeddings(corpus, 3, 8))
    fifth = np.where(np.arange(count) % 5 == 0, Status.MISSING, Status.OK)
    write_features(here, "audio.a", corpus, embeddings(corpus, 1, 6, seed=2), status=fifth)
    unseen = np.where(test, Status.FAILED, Status.OK)
    write_features(here, "visual.v", corpus, embeddings(corpus, 1, 5, seed=3), status=unseen)


def run_of(root: Path, head: str, **options: object) -> tuple[dict, Weights, FeatureTable, dict]:
    """(metrics, weights, table, saved tensors) of a run."""
    small = {"width": 16, "epochs": 2, "batch_size": 64, "lr": 0.02, "seeds": (0, 1)}
    places = {"features": str(root / "features"), "runs": str(root / "runs"), "device": "cpu"}
    config = with_options(FuseConfig(), corpus="tiny", head=head, **places, **(small | options))
    run = fuse(config).run
    table = load_table(find_sources(root / "features" / "tiny", run.config["modalities"]))
    return run.metrics, load_weights(run), table, load_file(run.path / "model.safetensors")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("weighed")
    write_corpus(root)
    return root


@pytest.mark.parametrize(("head", "place"), [("attention", "head"), ("triplet", "head.fuse")])
def test_a_runs_layers_are_the_softmax_of_what_it_saved(root: Path, head: str, place: str) -> None:
    metrics, _, _, saved = run_of(root, head)
    weight = saved[f"model.{place}.project.files.0.mix.weight"].astype(np.float64)  # (S, L)
    shares = np.array([softmax(seed) for seed in weight])
    assert set(metrics["layers"]) == {"text.t"}
    found = metrics["layers"]["text.t"]
    np.testing.assert_allclose(found["weight"], shares.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["std"], shares.std(0, ddof=1), atol=1e-6)
    assert sum(found["weight"]) == pytest.approx(1) and np.ptp(found["weight"]) > 1e-3
    if head == "triplet":
        assert metrics["weighing"] is None


@pytest.mark.parametrize("context", ["none", "gru"])
def test_a_runs_weighing_is_over_the_rows_that_have_the_file(
    root: Path, context: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, weights, table, _ = run_of(root, "attention", context=context)
    rows = table.rows("test")
    given = weights.weigh(table, rows)
    assert given.shape == (2, len(rows), 3) and not given[:, ~table.present[rows]].any()
    stems = [source.stem for source in table.sources]
    assert set(metrics["weighing"]) == {"text.t", "audio.a"}  # test has no picture
    for stem in metrics["weighing"]:
        m = stems.index(stem)
        of_seeds = [given[seed][table.present[rows, m], m].mean() for seed in range(2)]
        found = metrics["weighing"][stem]
        assert found["mean"] == pytest.approx(np.mean(of_seeds), abs=1e-6)
        assert found["std"] == pytest.approx(np.std(of_seeds, ddof=1), abs=1e-6)
    monkeypatch.setattr("erc_fusion.training.checkpoint.PREDICT_ROWS", 7)
    np.testing.assert_allclose(weights.weigh(table, rows), given, atol=1e-6)
    assert train.PREDICT_ROWS == 512


def test_without_test_it_is_of_dev_and_one_seed_deviates_by_nothing(root: Path) -> None:
    _, weights, table, _ = run_of(root, "gated")
    keep = np.flatnonzero(np.array(table.split) != "test")
    fewer = replace(
        table,
        x={stem: values[keep] for stem, values in table.x.items()},
        **{
            name: getattr(table, name)[keep]
            for name in ("key", "split", "dialogue", "sequence", "speaker", "text", "label",
                         "present")
        },
    )  # fmt: skip
    found = weigh_files(weights, fewer)
    assert found is not None and set(found) == set(FILES)
    one, *_ = run_of(root, "late")
    assert one["weighing"]["text.t"]["std"] > 0
    alone, *_ = run_of(root, "late", seeds=(1,))
    assert alone["weighing"]["text.t"]["std"] == 0 and alone["layers"]["text.t"]["std"] == [0] * 3


def test_a_runs_map_is_of_its_embeddings(root: Path) -> None:
    _, weights, table, _ = run_of(root, "triplet")
    rows = table.rows("dev")
    split = weights.standardiser.split(table, rows, "cpu")
    embedding = train.predict(weights.model, split).embedding.numpy()
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=-1), 1, atol=1e-5)
    found = weights.predict(table, rows).pca
    for seed in range(2):
        centred = embedding[seed] - embedding[seed].mean(0, dtype=np.float64)
        left, size, _ = np.linalg.svd(centred, full_matrices=False)
        np.testing.assert_allclose(np.abs(found[seed]), np.abs(left * size)[:, :2], atol=1e-5)
