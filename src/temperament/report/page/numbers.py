"""How figures are written on the page, and what each measure is called."""

from __future__ import annotations

from dataclasses import dataclass

from temperament.report.summary import Figure

MISSING = "–"


@dataclass(frozen=True)
class Heading:
    """A measure's column: title, unit, decimals, and what no effect looks like (None: no such value)."""

    title: str
    unit: str
    digits: int
    neutral: float | None
    note: str


HEADINGS = {
    "separation": Heading(
        "Separation", "nats/token", 2, 0.0, "how far plus and minus pull the poles' statements apart"
    ),
    "auc": Heading("AUC", "0–1", 2, 0.5, "how well the change tells the two poles' statements apart"),
    "own_words": Heading(
        "Own words", "nats/token", 2, 0.0, "change of the worn pole's own statements; below 0 they become less likely"
    ),
    "transfer_separation": Heading(
        "Transfer separation", "nats/token", 2, 0.0, "separation on statements of another instrument"
    ),
    "transfer_auc": Heading("Transfer AUC", "0–1", 2, 0.5, "AUC on statements of another instrument"),
    "transfer_separation_question": Heading(
        "Transfer, other question", "nats/token", 2, 0.0, "transfer separation behind another question"
    ),
    "transfer_auc_question": Heading(
        "Transfer AUC, other question", "0–1", 2, 0.5, "transfer AUC behind another question"
    ),
    "items_separation": Heading(
        "Items separation", "nats/token", 2, 0.0, "separation on a questionnaire's items as sentences"
    ),
    "items_auc": Heading("Items AUC", "0–1", 2, 0.5, "AUC on a questionnaire's items as sentences"),
    "specificity": Heading(
        "Specificity", "nats/token", 2, None, "every pair worn against the statements of every other trait, signed"
    ),
    "generation": Heading("Generation", "local judge", 2, 0.0, "trait in freely written answers, plus minus minus"),
    "two_choice": Heading("Two-choice", "%", 0, 50.0, "share of fitting choices, two-sided"),
    "questionnaire": Heading("Questionnaire", "trait score", 2, None, "items scored by the options' log-probabilities"),
    "perplexity": Heading("Perplexity", "ratio", 2, 1.0, "cost on neutral text, worn to unworn, costlier pole"),
    "fluency": Heading("Fluency", "generated text", 2, None, "how readable what it writes is to the unworn model"),
    "capability": Heading("Capability", "accuracy", 2, None, "knowledge and common sense kept"),
    "hellaswag": Heading("HellaSwag", "points", 1, 0.0, "change of accuracy, the worse pole"),
    "mmlu": Heading("MMLU", "points", 1, 0.0, "change of accuracy, the worse pole"),
    "drift": Heading("Drift", "per turn", 2, None, "trait by turn of a dialogue"),
}


def heading(measure: str) -> Heading:
    """The heading of a measure; one that is not in the table is called by its name."""
    return HEADINGS.get(measure) or Heading(measure.replace("_", " ").capitalize(), "", 2, None, "")


def plain(value: float | None, digits: int = 2) -> str:
    """``0.60``, ``−0.15``, ``12,345``: a true minus, never a signed zero, no decimals where they say nothing."""
    if value is None:
        return MISSING
    text = f"{value:,.{0 if abs(value) >= 1000 else digits}f}"
    return text.lstrip("-") if not text.strip("-0.") else text.replace("-", "−")


def interval(figure: Figure | None, digits: int = 2) -> str:
    """``[0.40, 0.79]``, or nothing without an interval."""
    if figure is None or figure.low is None:
        return ""
    return f"[{plain(figure.low, digits)}, {plain(figure.high, digits)}]"


def spread(figures: list[Figure], digits: int = 2) -> str:
    """``−0.21 … 0.19``: the range of several values."""
    if not figures:
        return MISSING
    low, high = min(f.value for f in figures), max(f.value for f in figures)
    shown = plain(low, digits), plain(high, digits)
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} … {shown[1]}"


def ratio(value: float | None) -> str:
    """A perplexity ratio, ``× 1.09``."""
    return MISSING if value is None else f"× {plain(value, 0 if value >= 100 else 2)}"


def seconds(value: float | None) -> str:
    """``8.2 s``, ``3 min 20 s``, ``1 h 05 min``."""
    if value is None:
        return MISSING
    whole = round(value)
    if whole < 60:
        return f"{value:.1f} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def size(value: float | None) -> str:
    """Bytes as ``512 B``, ``20 kB``, ``0.82 MB``."""
    if value is None:
        return MISSING
    if value < 1000:
        return f"{value:.0f} B"
    return f"{value / 1e3:.0f} kB" if value < 1e5 else f"{value / 1e6:.2f} MB"
