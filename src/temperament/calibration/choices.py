"""Two-choice items from statements, and which option of an item is the affirmative one."""

from __future__ import annotations

import re

from temperament.calibration.contrast import Choice, Contrast

_AFFIRMATIVE = re.compile(
    r"(?:yes|yeah|yep|agree|absolutely|certainly|definitely|sure|surely|of course|indeed|correct|true|gladly|totally|"
    r"no doubt|without (?:a )?doubt|by all means|i (?:agree|accept|think so)|"
    r"i (?:do|am|have|can|will|would)(?=\s*(?:[.,;:!]|$)))\b"
)
_NEGATIVE = re.compile(
    r"(?:no(?! doubt)|nope|never|not|none|nothing|negative|false|incorrect|disagree|"
    r"that(?: \w+)? is (?:not|incorrect|wrong|false|untrue)|that's (?:not|incorrect|wrong|false|untrue)|"
    r"(?:certainly|absolutely|definitely|of course|surely) not|i (?:cannot|can't|won't|disagree|decline|refuse|reject)|"
    r"i(?:'m|'d|'ll| am| do| have| can| will| would)(?:n't|(?: \w+){0,2} (?:not|never|no|decline|refuse|reject)))\b"
)


def affirmative_option(choice: Choice) -> int | None:
    """The option (0 or 1) that says yes, or None where that cannot be told from the words.

    An option is told by how it begins. When only one of the two is recognised, the other is its opposite.
    """
    polarity = [_polarity(option) for option in choice.options]
    if polarity[0] == polarity[1]:
        return None
    if 1 in polarity:
        return polarity.index(1)
    return 1 - polarity.index(-1)


def _polarity(option: str) -> int:
    text = option.strip().lower().replace("’", "'")
    if _NEGATIVE.match(text):
        return -1
    return 1 if _AFFIRMATIVE.match(text) else 0


def two_choice_items(contrast: Contrast) -> tuple[Choice, ...]:
    """The contrast's own two-choice items, else each statement as a yes/no question.

    Statements of the plus pole match Yes and those of the minus pole match No, so a fixed answering habit
    scores 50 % when the poles are equally large.
    """
    if contrast.choices:
        return contrast.choices
    return tuple(
        Choice(
            prompt=f'Does this sentence describe you? "{example.response}"',
            options=("Yes", "No"),
            matching=matching,
            group=example.group,
            split=example.split,
        )
        for pole, matching in ((contrast.plus, 0), (contrast.minus, 1))
        for example in pole
    )
