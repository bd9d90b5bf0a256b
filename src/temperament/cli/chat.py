"""``temperament chat``: one answer, or a session, in whatever is worn."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from temperament.cli.console import err, out, print_json, tell, working
from temperament.cli.options import MAX_SEED, Device, Dtype, Json, Model, Revision
from temperament.errors import TemperamentError

if TYPE_CHECKING:
    from temperament.language_model import LanguageModel
    from temperament.personas import Plan

HELP = (
    "/wear FILE[:STRENGTH] puts a persona on, /off takes all off, "
    "/compare answers the last question unworn and worn, /quit ends"
)


def command(
    model: Model = "smollm2-135m",
    wear: Annotated[
        list[str] | None,
        typer.Option(
            "--wear",
            help="Persona file and strength (default: its dial's, else 1); repeatable; below 0, where the file has it, "
            "the opposite pole. Example: --wear outgoing/plus.persona:0.8",
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt", help="Answer this and end; without it a session starts. Example: --prompt 'How was your day?'"
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="Longest answer, in tokens. Example: --max-tokens 80")
    ] = 128,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, max=MAX_SEED, help="Sample the answer with this seed; default: greedy. Example: --seed 7"
        ),
    ] = None,
    repetition_penalty: Annotated[
        float,
        typer.Option(
            "--repetition-penalty", min=1, help="1 is none; NPTI uses 1.15. Example: --repetition-penalty 1.15"
        ),
    ] = 1.1,
    dtype: Dtype = None,
    device: Device = None,
    revision: Revision = None,
    json_output: Json = False,
) -> None:
    """Ask a model that wears personas.

    One answer with --prompt; without it a session with /wear, /off and /compare.
    """
    from temperament.language_model import load
    from temperament.personas import Plan, read_plan

    if json_output and prompt is None:
        raise TemperamentError("--json prints one answer", "give the question with --prompt")
    if prompt is not None and not prompt.strip():
        raise TemperamentError("the question is empty", "give some text with --prompt")
    if max_tokens < 1:
        raise TemperamentError(f"--max-tokens {max_tokens}", "give 1 or more")
    plan = Plan()
    for spec in wear or []:
        plan = plan + read_plan(spec, tell)
    with working(f"loading {model}"):
        lm = load(model, dtype=dtype, device=device, revision=revision)
    if prompt is None:
        Session(lm, plan, Answering(max_tokens, seed, repetition_penalty)).run()
        return
    with lm.wear(plan), working("answering"):
        answer = lm.chat(prompt, max_tokens=max_tokens, seed=seed, repetition_penalty=repetition_penalty)
    if json_output:
        print_json({"model": lm.name, "worn": [[p.name, s] for p, s in plan.items], "prompt": prompt, "answer": answer})
    else:
        out.print(answer)


@dataclass(frozen=True)
class Answering:
    """How a session answers."""

    max_tokens: int
    seed: int | None
    repetition_penalty: float


class Session:
    """A dialogue at the terminal; the plan stays on between turns and is changed by commands."""

    def __init__(self, lm: LanguageModel, plan: Plan, how: Answering) -> None:
        from temperament.generate import Message

        self._lm, self._plan, self._how = lm, plan, how
        self._history: list[Message] = []
        self._worn = ExitStack()

    def run(self) -> None:
        """Read lines until /quit or the end of the input."""
        err.print(HELP, soft_wrap=True)
        with self._worn:
            self._put_on(self._plan)
            while True:
                err.print(f"[{self._plan}] > ", end="")
                try:
                    line = input().strip()
                except EOFError:
                    return
                if line in ("/quit", "/exit"):
                    return
                try:
                    self._handle(line)
                except TemperamentError as error:
                    err.print(f"error: {error}", soft_wrap=True)

    def _handle(self, line: str) -> None:
        from temperament.personas import Plan, read_plan

        word, _, rest = line.partition(" ")
        if word == "/wear" and rest.strip():
            self._put_on(self._plan + read_plan(rest.strip(), tell))
        elif word == "/off":
            self._put_on(Plan())
        elif word == "/compare":
            self._compare()
        elif word.startswith("/"):
            raise TemperamentError(f"unknown command {line!r}", HELP)
        elif line:
            self._answer(line)

    def _put_on(self, plan: Plan) -> None:
        """Change what is worn; if the new plan cannot be worn the old one stays on."""
        for persona, _ in plan.items:
            persona.check_model(self._lm)
        self._worn.close()
        self._worn.enter_context(self._lm.wear(plan))
        self._plan = plan

    def _answer(self, question: str) -> None:
        from temperament.generate import Message

        turns = [*self._history, Message("user", question)]
        answer = self._lm.chat(turns, **asdict(self._how))
        self._history = [*turns, Message("assistant", answer)]
        out.print(answer)

    def _compare(self) -> None:
        from temperament.personas import Plan

        questions = [message.content for message in self._history if message.role == "user"]
        if not questions:
            raise TemperamentError("there is no question to compare yet", "ask something first")
        plan = self._plan
        pairs = [("unworn", Plan())] + ([(str(plan), plan)] if plan.items else [])
        try:
            for label, shown in pairs:
                self._put_on(shown)
                answer = self._lm.chat(questions[-1], **asdict(self._how))
                out.print(f"{label}:\n{answer}\n")
        finally:
            self._put_on(plan)
