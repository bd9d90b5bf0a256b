"""``temperament lm-eval``: the command of lm-evaluation-harness, which then knows the model ``temperament``."""

from __future__ import annotations

import typer


def command(context: typer.Context) -> None:
    """Run lm-evaluation-harness on worn personas.

    It is unchanged; the model `temperament` is the one that wears personas.

    Example: temperament lm-eval --model temperament --model_args pretrained=smollm2-135m,wear=FILE:0.8 --tasks piqa
    """
    from temperament.harness import run_lm_eval

    try:
        run_lm_eval(context.args)
    except SystemExit as end:  # argparse ends the process itself
        raise typer.Exit(end.code if isinstance(end.code, int) else int(end.code is not None)) from None
