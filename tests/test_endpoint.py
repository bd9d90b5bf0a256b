"""The client of an OpenAI-compatible endpoint: answers, repetition, missing answers, errors, the cache and the bill."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from expect import refused
from served import Reply, failed, last, said, serve

from temperament.endpoint import Answer, Endpoint, Prices, Settings

KEY = "TEMPERAMENT_TEST_KEY"


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def echo(request: dict[str, Any]) -> Any:
    return said(f"you said {last(request)}")


def opened(url: str, **options: Any) -> Endpoint:
    return Endpoint(url, "judge-1", **{"key_variable": KEY, "retries": 2, "timeout": 5.0, **options})


def test_answers_come_in_order_with_their_bill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-secret")
    seen: list[tuple[int, int]] = []
    with serve(echo) as served, opened(served.url, prices=Prices(2.0, 50.0)) as endpoint:
        answers = endpoint.ask_all([user(str(n)) for n in range(9)], lambda *step: seen.append(step))
        assert [answer.text for answer in answers] == [f"you said {n}" for n in range(9)]
        usage = endpoint.usage
    assert (usage.requests, usage.answers, usage.missing) == (9, 9, 0)
    assert (usage.prompt_tokens, usage.completion_tokens) == (90, 18)
    assert usage.cost == pytest.approx((90 * 2 + 18 * 50) / 1e6)
    assert seen[0] == (0, 9)
    assert seen[-1] == (9, 9)
    assert served.paths == ["/v1/chat/completions"] * 9
    assert set(served.keys) == {"Bearer sk-secret"}
    first = served.requests[0]
    assert (first["model"], first["temperature"], first["seed"], first["max_tokens"]) == ("judge-1", 0.0, 0, 512)


@pytest.mark.parametrize(
    ("prices", "tokens"), [(Prices(), (10, 2)), (Prices(1.0, None), (10, 2)), (Prices(1.0, 1.0), None)]
)
def test_an_unknown_price_or_count_makes_the_cost_unknown(prices: Prices, tokens: tuple[int, int] | None) -> None:
    with serve(lambda _: said("yes", tokens=tokens)) as served, opened(served.url, prices=prices) as endpoint:
        endpoint.ask(user("?"))
        assert endpoint.usage.cost is None
        assert "cost unknown" in str(endpoint.usage)
        assert endpoint.usage.uncounted == (tokens is None)


def test_equal_dialogues_are_asked_once() -> None:
    steps: list[tuple[int, int]] = []
    with serve(echo) as served, opened(served.url) as endpoint:
        answers = endpoint.ask_all([user("a"), user("b"), user("a")], lambda *step: steps.append(step))
    assert [answer.text for answer in answers] == ["you said a", "you said b", "you said a"]
    assert len(served.requests) == 2
    assert steps == [(0, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_failures_are_repeated_until_they_succeed(status: int) -> None:
    replies = [failed(status, "busy"), failed(status, "busy"), said("at last")]
    with serve(lambda _: replies.pop(0)) as served, opened(served.url) as endpoint:
        assert endpoint.ask(user("?")).text == "at last"
        assert (endpoint.usage.requests, endpoint.usage.answers) == (3, 1)


def slow(_: dict[str, Any]) -> Any:
    time.sleep(0.4)
    return said("too late")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda _: failed(500, "out of memory"), "out of memory"),
        (lambda _: failed(429, "slow down"), "slow down"),
        (lambda _: failed(400, "the context is too long"), "the context is too long"),
        (lambda _: None, "Connection error"),
        (lambda _: (200, "<html>welcome</html>"), "not a chat completion"),
        (lambda _: (200, {"choices": []}), "not a chat completion"),
        (lambda _: (200, {"choices": [{"message": {"content": 7}}]}), "not a chat completion"),
        (lambda _: (200, {"error": {"message": "upstream gone"}}), "upstream gone"),
        (lambda _: said(""), "empty answer"),
        (lambda _: said(None), "empty answer"),
        (lambda _: said(None, refusal="I would rather not"), "refused: I would rather not"),
        (lambda _: said("half a", finish="content_filter"), "content filter"),
        (lambda _: said("<think>well, let me see", finish="length"), "cut off"),
        (slow, "timed out"),
    ],
)
def test_every_failure_is_a_missing_answer_with_a_reason(reply: Reply, reason: str) -> None:
    def one_bad(request: dict[str, Any]) -> Any:
        return reply(request) if last(request) == "bad" else said("fine")

    with serve(one_bad) as served, opened(served.url, retries=1, timeout=0.15) as endpoint:
        answers = endpoint.ask_all([user("good"), user("bad"), user("also good")])
        assert [answer.text for answer in answers] == ["fine", None, "fine"]
        assert reason in str(answers[1].reason)
        assert endpoint.usage.missing == 1


@pytest.mark.parametrize(
    ("reply", "parts"),
    [
        (lambda _: failed(401, "bad key sk-secret"), ("wants another key", "(key)", KEY)),
        (lambda _: failed(404, "no such route"), ("no chat completions", "/v1")),
        (lambda _: failed(404, "model judge-1 not found", code="model_not_found"), ("has no model 'judge-1'",)),
        (lambda _: failed(400, "judge-1 is not a valid model ID"), ("has no model 'judge-1'",)),
        (lambda _: (200, "<html>welcome</html>"), ("OpenAI-compatible", "/v1")),
        (lambda _: failed(402, "no credit"), ("wants payment",)),
        (lambda _: failed(429, "quota used up", code="insufficient_quota"), ("wants payment",)),
        (lambda _: failed(400, "'temperature' does not support 0.0"), ("refuses the settings",)),
        (lambda _: None, ("cannot be reached",)),
    ],
)
def test_what_no_later_request_mends_raises_at_the_first(
    reply: Reply, parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY, "sk-secret")
    with serve(reply) as served, opened(served.url, retries=0) as endpoint:
        with refused(*parts) as _:
            endpoint.ask_all([user(str(n)) for n in range(20)])
        assert len(served.requests) == 1


def test_the_key_is_not_repeated_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-secret")
    reply = failed(500, "bad key sk-secret")
    with serve(lambda _: reply) as served, opened(served.url, retries=0) as endpoint, refused("bad key (key)"):
        endpoint.ask(user("?"))


def test_a_server_that_answers_nothing_is_an_error_and_one_that_answers_some_is_not() -> None:
    with serve(lambda _: failed(500, "down")) as served, opened(served.url, retries=0) as endpoint:
        with refused("answered none of 3 requests", "down", "check the server"):
            endpoint.ask_all([user(text) for text in "abca"])
        assert len(served.requests) == 3
    one = lambda request: said("yes") if last(request) == "b" else failed(500, "down")  # noqa: E731
    with serve(one) as served, opened(served.url, retries=0) as endpoint:
        assert [answer.text for answer in endpoint.ask_all([user(text) for text in "abc"])] == [None, "yes", None]


def test_no_server_and_no_url_and_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(echo) as served:
        gone = served.url
    with opened(gone, retries=0) as endpoint, refused("cannot be reached"):
        endpoint.ask(user("?"))
    with refused("is no endpoint"):
        opened("localhost:8000")
    for url in ("http://[::1/v1", "http://localhost:99999/v1", "http://:8000/v1"):
        with refused("is no endpoint"):
            opened(url)
    with refused("concurrency 0"):
        opened(gone, concurrency=0)
    for timeout in (0.0, float("nan"), float("inf")):
        with refused(f"timeout {timeout}"):
            opened(gone, timeout=timeout)
    monkeypatch.setitem(sys.modules, "openai", None)
    with refused("openai package", "pip install 'temperament[endpoint]'"):
        opened(gone)


def test_a_key_refused_later_stops_the_run_and_keeps_the_answers(tmp_path: Path) -> None:
    def until(request: dict[str, Any]) -> Any:
        return said("fine") if last(request) in "012" else failed(401, "expired")

    cache = tmp_path / "answers.jsonl"
    with serve(until) as served, opened(served.url, cache=cache, concurrency=1) as endpoint, refused("expired"):
        endpoint.ask_all([user(str(n)) for n in range(6)])
    assert len(cache.read_text().splitlines()) == 3


def test_a_model_that_wants_the_other_name_of_the_limit_gets_it() -> None:
    def newer(request: dict[str, Any]) -> Any:
        if "max_tokens" in request:
            return failed(400, "Unsupported parameter: use 'max_completion_tokens' instead")
        return said(str(request["max_completion_tokens"]))

    with serve(newer) as served, opened(served.url, settings=Settings(max_tokens=7)) as endpoint:
        assert [answer.text for answer in endpoint.ask_all([user("a"), user("b")])] == ["7", "7"]
        assert len(served.requests) == 3


def test_settings_left_to_the_endpoint_are_not_sent() -> None:
    with serve(echo) as served, opened(served.url, settings=Settings(temperature=None, seed=None)) as endpoint:
        endpoint.ask(user("?"))
    assert not {"temperature", "seed"} & set(served.requests[0])


def test_thoughts_are_no_part_of_the_answer_and_a_cut_is_told() -> None:
    replies = [said("<think>4 or 5?</think>\n5"), said("and so", finish="length")]
    with serve(lambda _: replies.pop(0)) as served, opened(served.url) as endpoint:
        assert endpoint.ask(user("a")) == Answer("5", None, 10, 2)
        assert endpoint.ask(user("b")) == Answer("and so", None, 10, 2, cut=True)


def test_an_interrupted_run_repeats_nothing(tmp_path: Path) -> None:
    cache = tmp_path / "folder" / "answers.jsonl"
    dialogues = [user(str(n)) for n in range(8)]
    with serve(echo) as served, opened(served.url, cache=cache) as endpoint:
        endpoint.ask_all(dialogues[:5])
    with serve(echo) as served, opened(served.url, cache=cache) as endpoint:  # another port: the URL does not matter
        answers = endpoint.ask_all(dialogues)
        assert [answer.text for answer in answers] == [f"you said {n}" for n in range(8)]
        assert [answer.cached for answer in answers] == [True] * 5 + [False] * 3
        assert (endpoint.usage.requests, endpoint.usage.cached) == (3, 5)
        assert endpoint.usage.prompt_tokens == 30
    for options in ({"settings": Settings(seed=1)}, {"settings": Settings(max_tokens=3)}):
        with serve(echo) as served, opened(served.url, cache=cache, **options) as endpoint:
            endpoint.ask(dialogues[0])
            assert len(served.requests) == 1


def test_nothing_more_is_sent_once_a_run_is_interrupted(tmp_path: Path) -> None:
    """Requests on their way to a slow server would otherwise time out and be sent again, at the caller's cost."""
    go_on = threading.Event()

    def slow_behind_the_first(request: dict[str, Any]) -> Any:
        if last(request) not in "01":
            go_on.wait(10)
        return said("fine")

    def stop(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    cache = tmp_path / "answers.jsonl"
    with serve(slow_behind_the_first) as served:
        with (
            pytest.raises(KeyboardInterrupt),
            opened(served.url, cache=cache, retries=3, timeout=1.5, concurrency=2) as endpoint,
        ):
            endpoint.ask_all([user(str(n)) for n in range(8)], stop)
        sent = len(served.requests)
        assert sent <= 4  # the first, and two at a time
        time.sleep(1.5)  # longer than the rest of their time
        assert len(served.requests) == sent
        go_on.set()
    assert len(cache.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "reply",
    [
        lambda _: said(None, refusal="no \ud83d"),
        lambda _: said("half \ud83d a face"),
        lambda _: failed(400, "bad \ud83d"),
        lambda _: (200, {"error": {"message": "bad \ud83d"}}),
    ],
)
def test_half_a_surrogate_pair_can_be_written_down(reply: Reply) -> None:
    def then(request: dict[str, Any]) -> Any:
        return said("fine") if last(request) == "0" else reply(request)

    with serve(then) as served, opened(served.url, retries=0) as endpoint:
        found = endpoint.ask_all([user("0"), user("1")])[1]
    assert f"{found.text} {found.reason}".encode()
    assert "?" in f"{found.text} {found.reason}"


def test_failures_are_not_kept_but_refusals_are(tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    replies = [said("proof"), failed(500, "down"), said(None, refusal="no")]
    with serve(lambda _: replies.pop(0)) as served, opened(served.url, cache=cache, retries=0) as endpoint:
        for text in ("a", "b", "c"):
            endpoint.ask(user(text))
    with serve(echo) as served, opened(served.url, cache=cache) as endpoint:
        answers = endpoint.ask_all([user(text) for text in ("a", "b", "c")])
        assert [answer.text for answer in answers] == ["proof", "you said b", None]
        assert answers[2].reason == "refused: no"
        assert endpoint.usage.missing == 1
        assert len(served.requests) == 1


def test_a_damaged_cache_loses_only_what_is_damaged(tmp_path: Path) -> None:
    cache = tmp_path / "answers.jsonl"
    with serve(echo) as served, opened(served.url, cache=cache) as endpoint:
        endpoint.ask_all([user(str(n)) for n in range(4)])
    lines = cache.read_text().splitlines()
    cache.write_text("\n".join([lines[0], "{not json", '{"key": "k", "answer": {"text": 3}}', lines[2], lines[3][:20]]))
    with serve(echo) as served, opened(served.url, cache=cache) as endpoint:
        assert [answer.text for answer in endpoint.ask_all([user(str(n)) for n in range(4)])] == [
            f"you said {n}" for n in range(4)
        ]
        assert len(served.requests) == 2
    assert len([json.loads(line) for line in cache.read_text().splitlines()]) == 4


def test_no_more_requests_at_a_time_than_allowed() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def counting(_: dict[str, Any]) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return said("ok")

    with serve(counting) as served, opened(served.url, concurrency=3) as endpoint:
        endpoint.ask_all([user(str(n)) for n in range(10)])
    assert most == 3
