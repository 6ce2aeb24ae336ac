"""What Prometheus is told. No text, speaker or label of a request."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from erc_fusion.serving.engine import Round

_SIZES = (1, 2, 4, 8, 16, 32, 64)
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The figures of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "erc_requests", "Requests answered, by route and status.", ("route", "status"),
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "erc_request_seconds", "From the head of a request to its answer.", ("route",),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.rows = Counter("erc_utterances", "Utterances answered.", registry=registry)
        self.missing = Counter(
            "erc_missing", "Embeddings that an utterance had to do without.", ("file",),
            registry=registry,
        )  # fmt: skip
        self.batches = Histogram(
            "erc_batch_rows", "Rows of a batch of an encoder.", buckets=_SIZES, registry=registry
        )
        self.rounds = Histogram(
            "erc_round_requests", "Requests that were computed together.", buckets=_SIZES,
            registry=registry,
        )  # fmt: skip
        self.inside = Gauge("erc_requests_inside", "Requests at work now.", registry=registry)
        self.dialogues = Gauge("erc_dialogues", "Dialogues that are kept.", registry=registry)

    def round(self, done: Round) -> None:
        self.rows.inc(done.rows)
        self.rounds.observe(done.requests)
        for rows in done.batches:
            self.batches.observe(rows)

    def text(self) -> bytes:
        return generate_latest(self.registry)
