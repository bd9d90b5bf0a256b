"""``temperament demo``: the main job from end to end on the embedded model."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from temperament.cli.console import out, print_json, progress_bar, progress_steps, working
from temperament.cli.options import Json, Model

QUESTION = "What do you enjoy most about your weekends?"
SPARSITY = "0.2"


def _step(steps: Callable[[str, int, int], None], name: str, label: str, done: int, total: int) -> None:
    steps(f"{name}: {label}", done, total)


def command(
    folder: Annotated[
        Path, typer.Option("--out", help="Folder for everything that is written. Example: --out demo")
    ] = Path("demo"),
    model: Model = "smollm2-135m",
    contrast: Annotated[
        str, typer.Option("--contrast", help="Built-in contrast. Example: --contrast extraversion")
    ] = "extraversion",
    json_output: Json = False,
) -> None:
    """Try every method on a built-in contrast.

    Both poles are extracted, worn and measured, and a figure is drawn.
    """
    from temperament.calibration import resolve_contrast
    from temperament.evaluation import Evaluation, evaluate
    from temperament.evaluation.bootstrap import Measured
    from temperament.language_model import load
    from temperament.methods import MASK_METHODS, NEURONS, SALIENCY
    from temperament.personas import Plan, extract
    from temperament.report.figures import methods_figure
    from temperament.report.tables import comparison_table, evaluation_table

    begin = time.perf_counter()
    texts, test = resolve_contrast(contrast, seed=42), resolve_contrast(contrast, split="test")
    with working(f"loading {model}"):
        lm = load(model)
    results: dict[str, Evaluation] = {}
    costs: dict[str, Measured] = {}
    methods = (SALIENCY, NEURONS, *reversed(MASK_METHODS))
    for method in methods:
        first = not results
        with progress_bar(f"{method.name}: extract") as bar:
            found = extract(
                lm,
                texts,
                method=method.name,
                sparsity=SPARSITY if method in MASK_METHODS else None,
                folder=folder / "signatures" / method.kind,
                progress=bar,
            )
        if first:
            plus, minus = found.plus, found.minus
            for persona in (plus, minus):
                persona.save(folder / f"{persona.pole}.persona")
        # plain masks of the two poles hardly differ, and neither do their random versions: one seed shows it
        random = "random-0" if method.name in ("wanda", "sparse") else "random"
        with progress_steps() as steps:
            results[method.name] = evaluate(
                lm,
                found.plus,
                found.minus,
                test,
                measures=("separation", "auc", "two_choice", "perplexity") if first else ("separation",),
                controls=("unworn", "random", "shuffled", "swapped", "prompt") if first else (random, "shuffled"),
                signatures=found.signatures,
                folder=folder / "evaluation",
                progress=partial(_step, steps, method.name),
            )
        if first:
            costs[method.name] = results[method.name].measures["perplexity"]
        else:
            cost = evaluate(
                lm,
                found.plus,
                found.minus,
                test,
                measures=("perplexity",),
                controls=(),
                folder=folder / "evaluation",
            )
            costs[method.name] = cost.measures["perplexity"]
    answers: dict[str, str] = {}
    for label, plan in (("unworn", Plan()), ("plus", Plan.of(plus)), ("minus", Plan.of(minus))):
        with working(f"answering, {label}"), lm.wear(plan):
            answers[label] = lm.chat(QUESTION, max_tokens=60)
    main = results[SALIENCY.name]
    title = f"{contrast} personas in {model}: separation by method"
    figure = methods_figure(results, costs, main.controls["prompt"]["separation"], folder / "separation.png", title)
    seconds = time.perf_counter() - begin
    if json_output:
        summary: dict[str, Any] = {name: result.as_json() for name, result in results.items()}
        print_json(
            {"methods": summary, "question": QUESTION, "answers": answers, "figure": str(figure), "seconds": seconds}
        )
        return
    out.print(evaluation_table(main))
    out.print()
    out.print(comparison_table(results, costs, "Separation of every method (nats/token) and its cost"))
    out.print(f"\n{QUESTION}", style="bold")
    for label, answer in answers.items():
        out.print(f"\n{label}", style="bold")
        out.print(answer)
    out.print(f"\nfigure: {figure}; personas, signatures and records: {folder}/; {seconds:.0f} s", soft_wrap=True)
