"""Figures printed in the papers, as far as they are at hand; whatever is not named here stays an empty cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PS = "PS (arXiv 2602.07164)"
NPTI = "NPTI (arXiv 2410.12327)"


@dataclass(frozen=True)
class Printed:
    """A row of a table: our name of the method, the paper's label, and the paper's figures by column."""

    method: str
    label: str
    figures: Mapping[str, float]


def _ps_4(method: str, label: str, power: float, wealth: float, hallucination: float) -> Printed:
    return Printed(method, label, {"power": power, "wealth": wealth, "hallucination": hallucination})


#: PS Table 4: accuracy in %, one-sided, Llama-2-13B.
PS_4: tuple[Printed, ...] = (
    _ps_4("prompt", "prompt", 41.0, 44.0, 58.5),
    _ps_4("few-shot", "RAG (few-shot)", 45.5, 50.5, 64.5),
    _ps_4("wanda", "wanda", 51.5, 54.5, 89.0),
    _ps_4("sparse", "sparse", 52.0, 58.5, 84.5),
    _ps_4("contrastive-wanda", "contrastive-wanda", 54.0, 66.0, 95.0),
    _ps_4("contrastive-sparse", "contrastive-sparse", 56.5, 64.5, 96.0),
    _ps_4("lora", "SFT (lora)", 64.0, 71.0, 97.5),
)
PS_4_MODEL = "Llama-2-13B"

#: What "always take the affirmative option" scores on the complete public test files, in %; not a figure of the paper.
AFFIRMATION_COMPLETE = {"power": 70.8, "wealth": 65.3, "hallucination": 100.0}

#: PS Table 6 (capability) and Table 8 (calibration size): the methods; no figures at hand.
PS_6 = tuple(Printed(row.method, row.label, {}) for row in PS_4)
PS_8 = (
    Printed("contrastive-wanda", "contrastive-wanda", {}),
    Printed("contrastive-sparse", "contrastive-sparse", {}),
)
PS_8_SIZES = (5, 10, 20, 50, 100)

#: NPTI Table 1: sum of both poles' judge means (2–10) over the five traits, Llama-3-8B-Instruct.
NPTI_1 = (
    Printed("prompt", "simple prompt", {"total": 8.39}),
    Printed("description", "P² (description)", {"total": 9.43}),
    Printed("heads", "PAS (heads)", {"total": 6.93}),
    Printed("lora", "SFT (lora)", {"total": 9.61}),
    Printed("neurons", "NPTI (neurons)", {"total": 9.43}),
)
NPTI_MODEL = "Llama-3-8B-Instruct"

#: NPTI Table 3: alignment error on the IPIP-NEO-300, total over traits, lower is better.
NPTI_3 = (
    Printed("few-shot", "few-shot", {"total": 5.96}),
    Printed("description", "P² (description)", {"total": 7.03}),
    Printed("heads", "PAS (heads)", {"total": 4.41}),
    Printed("neurons", "NPTI (neurons)", {"total": 3.50}),
)
