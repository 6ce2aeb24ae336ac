"""`erc serve`: the answers are those of `erc predict`, whoever else asks at the same time."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from served import make_run, serving, write_media

from erc_features.preparation.live_dialogue import make_talk
from erc_features.utterance import Split, Utterance
from erc_fusion.predict import predict
from erc_fusion.serving.engine import Engine
from erc_fusion.serving.limits import Limits
from erc_fusion.serving.loaded import load_run
from erc_fusion.serving.schema import Answered, Card, Kept, Prediction

TEXTS = ["great lovely", "no hate", "the table is a text", "", "stupid", "happy happy yay no the a"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("served"), head="attention", context="gru")


@pytest.fixture(scope="module")
def loaded(run):
    return load_run(run, device="cpu")


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return write_media(tmp_path_factory.mktemp("media"))


@pytest.fixture(scope="module")
def server(loaded):
    with serving(loaded) as found:
        yield found
    assert not found.root.exists()


def lines(texts, **more):
    return [{"speaker": f"S{i % 2}", "text": text} | more for i, text in enumerate(texts)]


def probabilities(reply):
    assert reply.status == 200, reply.body
    Prediction.model_validate(reply.json)
    return np.array([[*each["probabilities"].values()] for each in reply.json["utterances"]])


def of_predict(run, talk):
    found = predict(run, talk, device="cpu")
    return found, np.array([[*row.probability.values()] for row in found.rows])


def test_media_and_texts_as_erc_predict_answers_them(run, server, media):
    said = [
        {"speaker": "Joey", "text": "great lovely", "clip": "video"},
        {"text": "no hate", "sound": "v", "picture": "../../p"},
        {"speaker": "Joey", "text": "the table"},
        {"clip": "v"},
    ]
    files = {"video": media["a.mp4"], "v": media["a.wav"], "../../p": media["a.png"]}
    reply = server.send(
        "/v1/predict",
        [("dialogue", "\n".join(map(json.dumps, said))), *files.items()],
    )
    clip = str(files["video"])
    talk = [
        Utterance(Split.NEW, 0, 0, "Joey", "great lovely", clip, clip),
        Utterance(Split.NEW, 0, 1, "", "no hate", str(files["../../p"]), str(files["v"])),
        Utterance(Split.NEW, 0, 2, "Joey", "the table"),
        Utterance(Split.NEW, 0, 3, "", "", "", str(files["v"])),
    ]  # fmt: skip
    found, wanted = of_predict(run, talk)
    assert np.array_equal(probabilities(reply), wanted)  # to the last bit
    for row, answer in zip(found.rows, reply.json["utterances"], strict=True):
        assert answer["missing"] == dict(row.without)
        assert answer["label"] == row.emotion and answer["agreement"] == row.agreement
    first, _, third, last = reply.json["utterances"]
    assert sum(first["weights"].values()) == pytest.approx(1, abs=1e-6)
    assert third["weights"]["text.tiny-bert"] == pytest.approx(1)
    assert set(third["missing"]) == {"audio.baseline", "visual.baseline"}
    assert last["missing"]["text.tiny-bert"] == "the text is blank"
    spread = first["spread"][first["label"]]
    assert spread["lowest"] <= first["probabilities"][first["label"]] <= spread["highest"]
    assert not server.left


def test_an_answer_does_not_depend_on_who_else_asks(run, loaded, server):
    asked = [lines(TEXTS[i:] + TEXTS[:i])[: 1 + i] for i in range(4, 6)] * 7
    wanted = {
        json.dumps(each): of_predict(
            run, make_talk([], [u["text"] for u in each], [u["speaker"] for u in each])
        )[1]
        for each in asked[:2]
    }

    def ask(each):
        return each, probabilities(server.post("/v1/predict", {"utterances": each}))

    with ThreadPoolExecutor(12) as clients:
        for each, found in clients.map(ask, asked):
            assert np.array_equal(found, wanted[json.dumps(each)])


def test_requests_are_encoded_together_where_no_bit_changes(loaded):
    """The tiny BERT from the first token on, so that the batches of several requests are one."""
    from erc_fusion.serving.encoding import Row, embed

    reader = next(r for r in loaded.readers if r.stem == "text.tiny-bert")

    def rows(count):
        return [Row(Utterance(Split.NEW, 0, n, x_text="great lovely yay")) for n in range(count)]

    assert embed([rows(3), rows(4)], replace(reader, shared=1.0)) == [7]
    assert sorted(embed([rows(3), rows(4)], replace(reader, shared=float("inf")))) == [3, 4]
    assert sorted(embed([rows(40), rows(40)], replace(reader, shared=1.0))) == [40, 40]
    assert not reader.encoder.tokenised  # no text is remembered


def test_what_was_measured_holds_for_other_texts(loaded):
    """Every batch that may have company has the same bits alone, whatever its company."""
    from erc_fusion.serving.encoding import Row, embed

    reader = next(r for r in loaded.readers if r.stem == "text.tiny-bert")
    random = np.random.default_rng(3)
    words = ["great", "lovely", "happy", "no", "hate", "the", "table"]

    def request():
        return [Row(Utterance(Split.NEW, 0, n, x_text=" ".join(random.choice(words, size))))
                for n, size in enumerate(random.integers(1, 14, int(random.integers(1, 9))))
                ]  # fmt: skip

    asked = [request() for _ in range(12)]
    embed(asked, reader)
    for rows in asked:
        alone = [Row(row.said) for row in rows]
        embed([alone], reader)
        for row, own in zip(rows, alone, strict=True):
            x = row.embedded[reader.stem].x
            assert x.tobytes() == own.embedded[reader.stem].x.tobytes()


def test_lines_several_dialogues_and_plain_form(run, server):
    said = [{"text": "company’s", "dialogue": 3}, {"text": "no hate"}, {"text": "a", "dialogue": 3}]
    body = "\n".join(map(json.dumps, said)).encode()
    reply = server.ask("POST", "/v1/predict", body, {"content-type": "application/x-ndjson"})
    answers = reply.json["utterances"]
    assert [(a["dialogue"], a["sequence"]) for a in answers] == [(3, 0), (0, 0), (3, 1)]
    assert answers[0]["text"] == "company's"
    alone = server.post("/v1/predict", {"utterances": [{"text": "no hate"}]})
    assert np.abs(probabilities(alone)[0] - probabilities(reply)[1]).max() < 1e-5


def test_a_dialogue_one_by_one_keeps_its_context(server, media):
    begun = server.ask("POST", "/v1/dialogues")
    assert begun.status == 201 and Kept.model_validate(begun.json).utterances == 0
    path = f"/v1/dialogues/{begun.json['id']}"
    said = [
        {"speaker": "A", "text": "great lovely yay no"},
        {"speaker": "B", "text": "the table is"},
    ]
    for each in said:
        last = server.post(f"{path}/utterances", each)
        Answered.model_validate(last.json)
    whole = server.post("/v1/predict", {"utterances": said})
    found = [*last.json["probabilities"].values()]
    assert np.abs(np.array(found) - probabilities(whole)[1]).max() < 1e-5
    assert last.json["sequence"] == 1
    heard = server.send(f"{path}/utterances", [("text", "no"), ("sound", media["a.wav"])])
    assert set(heard.json["missing"]) == {"visual.baseline"}
    assert server.ask("DELETE", path).status == 204
    assert server.post(f"{path}/utterances", said[0]).status == 404


def test_dialogues_are_bounded_and_expire(loaded):
    with serving(loaded, Limits(dialogues=2, utterances=2, idle=0.4)) as server:
        first, _ = (server.ask("POST", "/v1/dialogues").json["id"] for _ in range(2))
        refused = server.ask("POST", "/v1/dialogues")
        assert refused.status == 429 and int(refused.headers["retry-after"]) >= 1
        path = f"/v1/dialogues/{first}/utterances"
        assert [server.post(path, {"text": "no"}).status for _ in range(3)] == [200, 200, 409]
        import time

        time.sleep(0.5)
        assert server.post(path, {"text": "no"}).status == 404
        assert server.ask("POST", "/v1/dialogues").status == 201


def test_what_the_server_says_of_itself(run, server):
    card = server.ask("GET", "/v1/model").json
    Card.model_validate(card)
    assert card["labels"] == list(run.inputs["labels"])
    accuracy = run.metrics["test"]["accuracy"]
    assert card["figures"]["test"]["accuracy"] == {
        name: accuracy[name] for name in ("mean", "std", "low", "high")
    }
    assert card["files"]["text.tiny-bert"]["encoder"] == "tiny-bert"  # no path of this machine
    assert str(run.path) not in json.dumps(card)
    assert server.ask("GET", "/healthz").json == {"status": "ok"}
    assert server.ask("GET", "/readyz").status == 200
    said = server.ask("GET", "/metrics").body.decode()
    assert 'erc_requests_total{route="/v1/model",status="200"}' in said
    assert server.ask("GET", "/").status == 404  # its page is another part's


def test_the_sentences_are_those_of_the_documentation():
    from pathlib import Path

    from erc_fusion.serving.card import INTENDED_USE, LIMITS

    page = (Path(__file__).parents[3] / "docs/misuse.md").read_text()
    page = " ".join(page.replace("*", "").replace("`", "").split())
    for sentence in (*INTENDED_USE, *LIMITS):
        assert sentence in page


def test_openapi_has_an_example_of_every_body_and_the_examples_work(server):
    described = server.ask("GET", "/openapi.json").json
    assert {*described["paths"]} >= {"/v1/predict", "/v1/dialogues", "/v1/model", "/metrics"}
    body = described["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
    assert server.post("/v1/predict", body["application/json"]["example"]).status == 200
    lines = body["application/x-ndjson"]["example"].encode()
    assert server.ask("POST", "/v1/predict", lines, {"content-type": "text/plain"}).status == 200
    for path, methods in described["paths"].items():
        for method, said in methods.items():
            assert said["summary"] and said["description"], (path, method)


def test_a_token(loaded):
    with serving(loaded, token="0123456789abcdef") as server:
        assert server.ask("GET", "/healthz").status == 200
        for given in ({}, {"authorization": "Bearer 0123456789abcdeX"}, {"authorization": "x"}):
            reply = server.ask("GET", "/v1/model", headers=given)
            assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
        good = {"authorization": "Bearer 0123456789abcdef", "host": "example.org"}
        assert server.ask("GET", "/v1/model", headers=good).status == 200


def test_too_many_at_a_time_are_told_when_to_come_back(loaded, monkeypatch):
    import threading

    go, slow = threading.Event(), Engine._round

    def waiting(self, jobs):
        go.wait(10)
        slow(self, jobs)

    monkeypatch.setattr(Engine, "_round", waiting)
    with serving(loaded, Limits(waiting=2)) as server, ThreadPoolExecutor(2) as clients:
        ask = {"utterances": [{"text": "no"}]}
        inside = [clients.submit(server.post, "/v1/predict", ask) for _ in range(2)]
        for _ in range(200):
            if b"erc_requests_inside 2" in server.ask("GET", "/metrics").body:
                break
        reply = server.post("/v1/predict", ask)
        go.set()
        assert reply.status == 429 and 1 <= int(reply.headers["retry-after"]) <= 60
        assert [each.result().status for each in inside] == [200, 200]
        assert server.post("/v1/predict", ask).status == 200
