"""lm-evaluation-harness with personas worn: the figures of our own scoring, and stock ones where those are right."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from expect import counted_passes, refused
from support import bits, mixed_contrast, same
from tiny import make_tiny
from wearing import bare, left_as_found

from temperament.cli.main import run
from temperament.errors import TemperamentError
from temperament.evaluation.score import score_responses
from temperament.models import LoadedModel, load_model
from temperament.models.dialogue import Encoded
from temperament.models.generation import generate_ids
from temperament.personas import Extraction, FewShotEdit, Persona, Plan, extract, read_plan
from temperament.wear import wear

os.environ["HF_DATASETS_OFFLINE"] = "1"
pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")

from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from temperament.harness import TemperamentLM

KINDS = ("nothing", "mask", "neurons", "prompt")
PROMPT = "You love company."

#: Contexts and continuations: empty, shared, one split at two places, several bytes long.
PAIRS = (
    ("What is it?", " a"),
    ("What is it?", " b"),
    ("What is it?", " a cat, I think"),
    ("What is", " it? a"),
    ("", "Nothing came before"),
    ("A much longer question than all of the others, and it ends here:", "1"),
)


@pytest.fixture(scope="module")
def personas(tiny_llama: LoadedModel, tiny_extraction: Extraction) -> dict[str, Persona | None]:
    found = extract(tiny_llama, mixed_contrast(), method="neurons", settings={"count": 5, "gamma": 2.0})
    prompt = Persona.from_prompt(PROMPT)
    return {"nothing": None, "mask": tiny_extraction.plus, "neurons": found.plus, "prompt": prompt}


@pytest.fixture(scope="module")
def files(personas: dict[str, Persona | None], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("personas")
    return {kind: persona.save(folder / f"{kind}.persona") for kind, persona in personas.items() if persona}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks from local files, one with choices and one with free answers."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = [
        {"question": "Which is the colour of grass?", "choices": ["green", "red"], "answer": 0},
        {"question": "Which one barks?", "choices": ["a cat", "a dog"], "answer": 1},
        {"question": "How many legs has a spider, by and large?", "choices": ["eight", "six"], "answer": 0},
    ]
    (folder / "rows.json").write_text("\n".join(json.dumps(row) for row in rows))
    shared = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "rows.json")}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "doc_to_text": "Question: {{question}}\nAnswer:",
    }
    choice = {
        "task": "tiny_choice",
        "output_type": "multiple_choice",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
    }
    free = {
        "task": "tiny_free",
        "output_type": "generate_until",
        "doc_to_target": "{{choices[answer]}}",
        "generation_kwargs": {"until": ["<|never|>"], "max_gen_toks": 6},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    for task in (choice, free):
        (folder / f"{task['task']}.yaml").write_text(json.dumps({**shared, **task}))  # JSON is YAML
    return folder


@pytest.fixture
def model(tiny_llama: LoadedModel) -> Iterator[LoadedModel]:
    """The shared model, which every test must leave as it was found."""
    with left_as_found(tiny_llama):
        yield tiny_llama
        gc.collect()


def requests(pairs: tuple[tuple[str, ...], ...], kind: str = "loglikelihood") -> list[Any]:
    return [Instance(kind, {}, pair, index) for index, pair in enumerate(pairs)]


def stock(lm: LoadedModel, **options: Any) -> Any:
    return HFLM(pretrained=lm.model, tokenizer=lm.tokenizer, **options)


def encoded(lm: LoadedModel, context: str, continuation: str, prompt: str = "") -> Encoded:
    """The tokens of the byte tokenizer, written out: BOS, a prompt and a blank line, the context; the continuation."""
    head = f"{prompt}\n\n" if prompt else ""
    ids = lm.tokenizer(f"{head}{context}").input_ids
    return Encoded((*ids, *lm.tokenizer(continuation, add_special_tokens=False).input_ids), len(ids))


def by_hand(lm: LoadedModel, item: Encoded) -> tuple[float, bool]:
    """One forward pass for one item, without padding or sharing."""
    ids = torch.tensor([item.ids])
    with torch.no_grad(), lm.responding(item.start - 1):
        shares = lm.model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)[0, item.start - 1 : -1]
    response = ids[0, item.start :]
    return float(shares.gather(1, response.unsqueeze(1)).sum()), bool((shares.argmax(-1) == response).all())


def evaluated(lm: Any, tasks: Path, *names: str, **options: Any) -> dict[str, Any]:
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    results: dict[str, Any] = simple_evaluate(
        model=lm, tasks=list(names), task_manager=manager, bootstrap_iters=0, **options
    )
    return results


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
@pytest.mark.parametrize("kind", KINDS)
def test_log_likelihoods_are_those_of_our_own_scoring(
    kind: str, batch_size: int | str, model: LoadedModel, personas: dict[str, Persona | None]
) -> None:
    items = [encoded(model, *pair, PROMPT if kind == "prompt" else "") for pair in PAIRS]
    with wear(model, personas[kind]):
        ours = [score.total for score in score_responses(model, items)]
        alone = [by_hand(model, item) for item in items]
    with TemperamentLM(model, personas[kind], batch_size=batch_size) as worn:
        found = worn.loglikelihood(requests(PAIRS), disable_tqdm=True)
    assert [total for total, _ in found] == pytest.approx(ours, abs=1e-4)
    assert [total for total, _ in found] == pytest.approx([total for total, _ in alone], abs=1e-4)
    assert [greedy for _, greedy in found] == [greedy for _, greedy in alone]


def test_a_likeliest_continuation_is_told(model: LoadedModel) -> None:
    """Random continuations are never the likeliest one, so one is written by the model itself."""
    context = "Go on:"
    with TemperamentLM(model) as plain:
        written = generate_ids(model, [model.tokenizer(context).input_ids], max_tokens=3)[0]
        head = list(model.tokenizer(context).input_ids)
        changed = [*written[:-1], (written[-1] + 1) % 256]
        asked = [((context, "x"), head, written), ((context, "y"), head, changed)]
        assert [greedy for _, greedy in plain._loglikelihood_tokens(asked, disable_tqdm=True)] == [True, False]


def test_unworn_and_masked_it_agrees_with_the_stock_model(
    model: LoadedModel, personas: dict[str, Persona | None]
) -> None:
    """Where no position has to be declared and no prompt is worn, lm-eval's own class is the reference.

    Its cache is off: with it, equal texts split at different places (two of ``PAIRS``) get each other's positions.
    """
    long = "".join(chr(97 + index % 26) for index in range(150))
    pairs = (*PAIRS, (long, " and its end"))
    rolling = requests(((long,), ("short",)), "loglikelihood_rolling")
    for kind in ("nothing", "mask"):
        with wear(model, personas[kind]):
            reference = stock(model, batch_size=2, max_length=64, logits_cache=False)
            expected = reference.loglikelihood(requests(pairs), disable_tqdm=True)
            windows = reference.loglikelihood_rolling(rolling, disable_tqdm=True)
        with TemperamentLM(model, personas[kind], batch_size=2, max_length=64) as worn:
            found = worn.loglikelihood(requests(pairs), disable_tqdm=True)
            assert worn.loglikelihood_rolling(rolling, disable_tqdm=True) == pytest.approx(windows, abs=1e-3)
        assert [total for total, _ in found] == pytest.approx([total for total, _ in expected], abs=1e-3)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in expected]


def test_strength_0_is_unworn_and_wearing_shows(
    model: LoadedModel, files: dict[str, Path], personas: dict[str, Persona | None]
) -> None:
    def answers(spec: str | None) -> list[tuple[float, bool]]:
        with TemperamentLM(model, spec) as worn:
            return list(worn.loglikelihood(requests(PAIRS), disable_tqdm=True))

    unworn = answers(None)
    assert answers("+".join(f"{file}:0" for file in files.values())) == unworn
    for kind, file in files.items():
        assert max(abs(a - b) for (a, _), (b, _) in zip(answers(str(file)), unworn, strict=True)) > 0.01, kind
    both = answers(f"{files['mask']}:0.5+{files['neurons']}:2")
    plan = 0.5 * _given(personas["mask"]) + 2.0 * _given(personas["neurons"])
    with wear(model, plan):
        ours = [score.total for score in score_responses(model, [encoded(model, *pair) for pair in PAIRS])]
    assert [total for total, _ in both] == pytest.approx(ours, abs=1e-4)


def _given(persona: Persona | None) -> Persona:
    assert persona is not None
    return persona


def test_it_is_off_when_closed_or_gone(
    model: LoadedModel, personas: dict[str, Persona | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bits(model.model)
    worn = TemperamentLM(model, personas["mask"])
    assert not same(bits(model.model), before)
    with refused("already"):
        TemperamentLM(model, personas["neurons"])
    worn.close()
    assert same(bits(model.model), before)
    worn.close()
    forgotten = TemperamentLM(model, personas["neurons"])
    assert not bare(model)
    del forgotten
    gc.collect()
    assert bare(model)
    monkeypatch.setattr("temperament.harness.TemperamentLM.tok_encode", lambda *_, **__: [0] * 600)
    with refused("600 of 512 tokens"):
        TemperamentLM(model, personas["prompt"])


def test_tasks_run_and_results_say_what_was_worn(
    model: LoadedModel, files: dict[str, Path], personas: dict[str, Persona | None], tasks: Path
) -> None:
    with TemperamentLM(model, f"{files['neurons']}:0.5", batch_size=2) as worn:
        results = evaluated(worn, tasks, "tiny_choice", "tiny_free")
    neurons = _given(personas["neurons"])
    assert results["config"]["worn"] == [
        {"name": neurons.name, "kind": "neurons", "pole": "plus", "strength": 0.5, "identity": neurons.edit.identity}
    ]
    assert results["config"]["model_fingerprint"] == model.fingerprint
    json.dumps(results["config"])
    choices = results["samples"]["tiny_choice"]
    with wear(model, neurons, 0.5):
        for sample in choices:
            context = f"Question: {sample['doc']['question']}\nAnswer:"
            items = [encoded(model, context, f" {choice}") for choice in sample["doc"]["choices"]]
            ours = [score.total for score in score_responses(model, items)]
            assert [float(answer[0]) for answer in sample["filtered_resps"]] == pytest.approx(ours, abs=1e-4)
    right = [max((0, 1), key=lambda at: sample["filtered_resps"][at][0]) == sample["target"] for sample in choices]
    assert results["results"]["tiny_choice"]["acc,none"] == pytest.approx(sum(right) / 3)
    assert answered(results) == written(model, 0.5 * neurons, lambda question: f"Question: {question}\nAnswer:")


def answered(results: dict[str, Any]) -> dict[str, str]:
    """What the model answered to each question of the task with free answers."""
    return {sample["doc"]["question"]: sample["resps"][0][0] for sample in results["samples"]["tiny_free"]}


def written(
    lm: LoadedModel, worn: Persona | Plan | None, context: Callable[[str], str], special: bool = True
) -> dict[str, str]:
    """The same by our own generation, one question at a time."""
    questions = ("Which is the colour of grass?", "Which one barks?", "How many legs has a spider, by and large?")
    with wear(lm, worn):
        prompts = [lm.tokenizer(context(question), add_special_tokens=special).input_ids for question in questions]
        answers = [generate_ids(lm, [ids], max_tokens=6)[0] for ids in prompts]
    return {
        question: str(lm.tokenizer.decode(ids, skip_special_tokens=True))
        for question, ids in zip(questions, answers, strict=True)
    }


def test_a_prompt_stands_before_plain_contexts(
    model: LoadedModel, personas: dict[str, Persona | None], tasks: Path
) -> None:
    """Also in a padded batch that generates, and before each window of a long text."""
    prompt = _given(personas["prompt"])
    with TemperamentLM(model, prompt, batch_size=3) as worn:
        results = evaluated(worn, tasks, "tiny_free")
    expected = written(model, None, lambda question: f"{PROMPT}\n\nQuestion: {question}\nAnswer:")
    assert answered(results) == expected
    assert expected != written(model, None, lambda question: f"Question: {question}\nAnswer:")

    text = "".join(chr(97 + index % 26) for index in range(60))
    with TemperamentLM(model, prompt, max_length=50) as worn:
        found = worn.loglikelihood_rolling(requests(((text,),), "loglikelihood_rolling"), disable_tqdm=True)
        assert worn.max_length == 50
    ids = model.tokenizer(text).input_ids  # with BOS, which lm-eval scores behind another one
    head = model.tokenizer(f"{PROMPT}\n\n", add_special_tokens=False).input_ids
    step = 50 - len(head)
    total, scored = 0.0, 0
    for begin in range(0, len(ids), step):
        window = ids[begin : begin + step]
        first = begin - 1 if begin + step <= len(ids) else len(ids) - step - 1  # the last window is filled up
        context = ids[max(0, first) : begin]
        lead = [model.tokenizer.bos_token_id] if not begin else []
        item = Encoded((*lead, *head, *context, *window), len(lead) + len(head) + len(context))
        assert len(item.ids) <= 51
        total, scored = total + by_hand(model, item)[0], scored + len(window)
    assert scored == len(ids)
    assert found == pytest.approx([total], abs=1e-3)


def test_a_long_context_never_loses_the_prompt(model: LoadedModel, personas: dict[str, Persona | None]) -> None:
    """A plain one loses its own beginning; one with a system message inside is refused."""
    context = "".join(chr(97 + index % 26) for index in range(80))
    with TemperamentLM(model, personas["prompt"], max_length=60) as worn:
        found = worn.loglikelihood(requests(((context, " yes"),)), disable_tqdm=True)
        head = model.tokenizer(f"{PROMPT}\n\n", add_special_tokens=False).input_ids
        ids = (*head, *model.tokenizer(context).input_ids[-(61 - 4 - len(head)) :], *b" yes")
        shown = model.tokenizer(" yes", add_special_tokens=False).input_ids
        item = Encoded((*ids[:-4], *shown), len(ids) - 4)
        assert len(item.ids) == 61
        assert found[0][0] == pytest.approx(by_hand(model, item)[0], abs=1e-4)
        templated = worn.apply_chat_template([{"role": "user", "content": context}])
        with refused("do not fit into 60"):
            worn.loglikelihood(requests(((templated, "yes"),)), disable_tqdm=True)
        with refused("do not fit into 60"):
            worn.tok_batch_encode([templated], left_truncate_len=50)
        with refused("do not fit into 60"):
            worn.loglikelihood(requests((("Short", "x" * 60),)), disable_tqdm=True)


@pytest.mark.parametrize("system_role", [True, False])
def test_a_prompt_is_the_system_message_of_a_template(system_role: bool, tmp_path: Path, tasks: Path) -> None:
    """Once, before another instruction, with or without a system role; never again before the rendered context."""
    folder = make_tiny(tmp_path / "model", "llama", chat_template=True if system_role else "no-system")
    lm: LoadedModel = load_model(str(folder), dtype="float32", device="cpu")
    persona = Persona.from_prompt(PROMPT)
    with TemperamentLM(lm, persona, batch_size=3) as worn:
        results = evaluated(worn, tasks, "tiny_choice", "tiny_free", apply_chat_template=True)
        both = worn.apply_chat_template(
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hm?"}]
        )
    opening = f"<|system|>{PROMPT}<|endoftext|><|user|>" if system_role else f"<|user|>{PROMPT}\n\n"
    context = results["samples"]["tiny_choice"][0]["arguments"][0][0]
    assert context.startswith(f"<|bos|>{opening}Question: ")
    closing = "Be brief.<|endoftext|><|user|>Hm?" if system_role else "Be brief.\n\nHm?"
    assert both.startswith(f"<|bos|><|{'system' if system_role else 'user'}|>{PROMPT}\n\n{closing}")
    for sample in results["samples"]["tiny_choice"]:
        items = []
        for context, choice in sample["arguments"]:
            ids = lm.tokenizer(context, add_special_tokens=False).input_ids
            items.append(Encoded((*ids, *lm.tokenizer(choice, add_special_tokens=False).input_ids), len(ids)))
        ours = [by_hand(lm, item)[0] for item in items]
        assert [float(answer[0]) for answer in sample["filtered_resps"]] == pytest.approx(ours, abs=1e-4)
    ending = "<|endoftext|><|assistant|>"
    assert answered(results) == written(
        lm, None, lambda question: f"<|bos|>{opening}Question: {question}\nAnswer:{ending}", special=False
    )


def test_an_opened_model_gives_no_warnings(model: LoadedModel, caplog: pytest.LogCaptureFixture) -> None:
    with TemperamentLM(model):
        assert not caplog.records
    stock(model)
    assert caplog.records  # which is what lm-eval's own class does


def test_a_template_that_drops_the_prompt_is_refused(tmp_path: Path) -> None:
    lm: LoadedModel = load_model(str(make_tiny(tmp_path / "model", "llama")), dtype="float32", device="cpu")
    lm.tokenizer.chat_template = "{% for message in messages %}{{ message.content | upper }}{% endfor %}"
    with TemperamentLM(lm, Persona.from_prompt(PROMPT)) as worn, refused("changes or drops"):
        worn.apply_chat_template([{"role": "user", "content": "Hm?"}])


def test_kept_contexts_and_answers_are_not_mixed_up(
    model: LoadedModel, personas: dict[str, Persona | None], tasks: Path, tmp_path: Path
) -> None:
    """lm-eval's caches know neither the model nor what it wears."""
    cache = str(tmp_path / "answers")
    with TemperamentLM(model, personas["mask"]) as worn:
        first = evaluated(worn, tasks, "tiny_choice", use_cache=cache)
        with counted_passes(model) as passes:
            again = evaluated(worn, tasks, "tiny_choice", use_cache=cache)
        assert not passes
        assert again["results"] == first["results"]
        plain = worn.tokenizer_name
    for other in (None, personas["neurons"], 0.5 * _given(personas["mask"])):
        with TemperamentLM(model, other) as worn, refused("another model or persona", "--use_cache"):
            evaluated(worn, tasks, "tiny_choice", use_cache=cache)
    with TemperamentLM(model, personas["prompt"]) as worn:
        assert worn.tokenizer_name != plain


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"batch_size": "many"}, ("batch_size 'many'",)),
        ({"batch_size": 0}, ("batch_size '0'",)),
        ({"max_length": "long"}, ("max_length 'long'",)),
        ({"trust_remote_code": True}, ("no argument 'trust_remote_code'", "pretrained")),
        ({"wear": "nowhere.persona:0.5"}, ("nowhere.persona",)),
        ({"wear": "+"}, ("no file name",)),
        ({"pretrained": "./nowhere"}, ("./nowhere",)),
        ({"dtype": "auto"}, ("unknown dtype 'auto'",)),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], parts: tuple[str, ...]) -> None:
    with refused(*parts):
        TemperamentLM(**arguments)


def test_a_plan_as_it_is_written(files: dict[str, Path], tmp_path: Path) -> None:
    mask, neurons = files["mask"], files["neurons"]
    plan = read_plan(f"{mask}:0.5+{neurons}:-1+{neurons}")
    assert [strength for _, strength in plan.items] == [0.5, -1, 1]
    assert [persona.kind for persona, _ in plan.items] == ["mask", "neurons", "neurons"]
    odd = tmp_path / "a+b:3"
    odd.write_bytes(mask.read_bytes())
    assert [strength for _, strength in read_plan(str(odd)).items] == [1]
    assert [strength for _, strength in read_plan(f"{odd}:0.25").items] == [0.25]
    assert [strength for _, strength in read_plan(f"{mask}:0.5+{neurons}").items] == [0.5, 1]
    with refused("'strong'", "is not a number"):
        read_plan(f"{mask}:strong")
    with refused("strength 2.0 of the mask persona"):
        read_plan(f"{mask}:2")


def test_mistakes_on_the_command_line(
    tiny_folders: dict[str, Path],
    files: dict[str, Path],
    tasks: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A damaged persona, another model's and an unknown task: one line, exit code 2."""
    # not the thousands of tasks that lm-eval brings, which take it a while to list
    monkeypatch.setattr("lm_eval.tasks.TaskManager", partial(TaskManager, include_defaults=False))

    def failing(model: str, wear: Path, task: str = "tiny_choice") -> str:
        arguments = ["--model", "temperament", "--model_args", f"pretrained={model},wear={wear}", "--tasks", task]
        assert run(["lm-eval", *arguments, "--include_path", str(tasks), "--device", "cpu"]) == 2
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return captured.err.splitlines()[-1]

    llama, qwen = str(tiny_folders["llama"]), str(tiny_folders["qwen2"])
    samples = Persona("samples", "plus", FewShotEdit((("What is it?", "A cat."),), 1, "bm25"))
    assert "'samples' is a few-shot persona" in failing(llama, samples.save(tasks / "samples.persona"))
    damaged = tasks / "damaged.persona"
    damaged.write_bytes(files["mask"].read_bytes()[:-1])
    assert failing(llama, damaged).startswith(f"error: persona file '{damaged}'")
    assert "whose weights are not those of" in failing(qwen, files["mask"])
    assert failing(llama, files["mask"], "no_such_task") == (
        "error: Tasks not found: no_such_task; see temperament lm-eval --help"
    )
    assert run(["lm-eval", "--model", "nosuch", "--tasks", "tiny_choice", "--include_path", str(tasks)]) == 2
    assert "'nosuch'" in capfd.readouterr().err.splitlines()[-1]


def test_help_is_that_of_lm_eval(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lm-eval", "--help"]) == 0
    assert "usage: lm-eval" in capsys.readouterr().out
    assert run(["lm-eval", "run", "--no-such-option"]) == 2


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "temperament.harness")
    monkeypatch.setitem(sys.modules, "lm_eval.api.registry", None)
    with pytest.raises(TemperamentError, match=r"pip install 'temperament\[lm-eval\]'"):
        import temperament.harness  # noqa: F401


#: The command, without the thousands of tasks that lm-eval brings, which take it a while to list.
COMMAND = """
from functools import partial
import lm_eval.tasks
lm_eval.tasks.TaskManager = partial(lm_eval.tasks.TaskManager, include_defaults=False)
from temperament.cli.main import main
main()
"""


@pytest.mark.slow
def test_the_command_as_a_process(
    tiny_folders: dict[str, Path], files: dict[str, Path], tasks: Path, tmp_path: Path
) -> None:
    """From arguments to the table on stdout and the file of results."""
    arguments = f"pretrained={tiny_folders['llama']},wear={files['mask']}:0.5+{files['neurons']},dtype=float32"
    command = [sys.executable, "-c", COMMAND, "lm-eval", "--model", "temperament", "--model_args", arguments]
    command += ["--tasks", "tiny_choice,tiny_free", "--include_path", str(tasks), "--output_path", str(tmp_path)]
    command += ["--batch_size", "auto:1", "--apply_chat_template", "--log_samples"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tiny_choice" in done.stdout
    assert "Metric" in done.stdout, "the table has its heads"
    (file,) = tmp_path.rglob("results_*.json")
    config = json.loads(file.read_text())["config"]
    assert config["model"] == "temperament"
    assert config["model_args"]["wear"] == f"{files['mask']}:0.5+{files['neurons']}"
    assert [(item["kind"], item["strength"]) for item in config["worn"]] == [("mask", 0.5), ("neurons", 1)]
