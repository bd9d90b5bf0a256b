"""Values as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from temperament.report.plain_words import described, pairs, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 3, "0.333"),
        (0.478442733904865, "0.478"),
        (2.0, "2"),
        (-0.0, "0"),
        (5.7e-9, "5.7e-09"),
        (123456.7, "123,457"),
        (106168320, "106,168,320"),
        ("0123456789abcdef" * 4, "0123456789ab"),
        ("extraversion", "extraversion"),
        (True, "yes"),
        (None, "none"),
        ([0.7, 0.25], "0.7, 0.25"),
        ([], "none"),
        ({"a": {"b": 1 / 3}, "sparsity": {"default": "0.2"}}, "a (b 0.333), sparsity 0.2"),
        ({"sparsity": {"default": "0.2", "mlp": "0.1"}}, "sparsity (default 0.2, mlp 0.1)"),
        ({"seed": 12345, "bytes": 20_000}, "seed 12345, bytes 20 kB"),
    ],
)
def test_values(value: Any, text: str) -> None:
    assert shown(value) == text


def test_a_mixture_says_what_it_prunes_and_its_parts_in_words() -> None:
    part = {"name": "outgoing", "pole": "plus", "kind": "mask", "method": {"name": "wanda", "parameters": {}}}
    rows = described(
        {
            "mask": {"form": "packed bits", "sparsity": {"default": "0.2"}, "checksum": "a" * 64},
            "pruned": 0.0612,
            "parts": [part, {**part, "name": "worried", "method": None}],
        }
    )
    assert rows["pruned"] == "6.1 % of the weights of all Linears"
    assert rows["mask"] == f"form packed bits, checksum {'a' * 12}"
    assert rows["parts"] == "outgoing (plus pole, mask by wanda); worried (plus pole, mask)"
    assert pairs({}) == ""
