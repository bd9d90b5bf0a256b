"""The report in a browser: figures that are drawn, texts that can be read, controls that work, no error."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from summaries import crowded_summary, made_summary, wide_summary

from temperament.report.page import render

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium executable was found to open the page with")

#: Runs in the page after its own script and hands what it sees to the page around it.
PROBE = """
const seen = element => element.getClientRects().length > 0;
const box = element => { const r = element.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
const report = {
  width: innerWidth, page: document.documentElement.scrollWidth,
  figures: [...document.querySelectorAll("svg")].filter(seen).map(svg => ({
    role: svg.getAttribute("role"), name: (svg.getAttribute("aria-labelledby") || "").split("-")[0], box: box(svg),
    marks: [...svg.querySelectorAll("path,circle,rect,line")].filter(m => !m.closest("clipPath")).map(box),
    texts: [...svg.querySelectorAll("text")].map(t => ({text: t.textContent, label: t.classList.contains("label"), box: box(t)})),
  })),
};
const first = () => document.querySelector(".methods tbody tr").cells[0].dataset.sort;
const column = [...document.querySelectorAll(".methods th button")].find(b => b.textContent === "AUC");
report.order = [first()]; for (let i = 0; i < 2; i++) { column.click(); report.order.push(first()); }
report.last = document.querySelector(".methods tbody tr:last-child").cells[0].dataset.sort;
const picker = document.getElementById("method");
const shown = () => [...document.querySelectorAll(".pair")].filter(seen).map(p => p.dataset.method);
report.pairs = [shown()];
for (const name of ["neurons", ""]) { picker.value = name; picker.dispatchEvent(new Event("change")); report.pairs.push(shown()); }
report.scroll = document.querySelector(".methods").parentNode; report.scroll.scrollLeft = 200;
report.sticky = document.querySelector(".methods tbody th").getBoundingClientRect().left - report.scroll.getBoundingClientRect().left;
report.scroll = report.scroll.scrollLeft;
report.background = getComputedStyle(document.body).backgroundColor;
parent.postMessage(JSON.stringify(report), "*");
"""
FRAME = """<!doctype html><title>waiting</title><body style="margin:0">
<script>addEventListener("message", e => {{ const p = document.createElement("pre"); p.textContent = e.data; document.body.append(p); }});</script>
<iframe src="page.html" style="border:0;width:{width}px;height:1500px"></iframe>"""


def look(folder: Path, html: str, width: int, *, dark: bool = False) -> tuple[dict[str, Any], str]:
    """What the probe saw at that width, and the browser's log. A frame, as a window cannot be narrower than 500 px."""
    assert BROWSER
    assert html.count("</body>") == 1
    (folder / "page.html").write_text(html.replace("</body>", f"<script>{PROBE}</script></body>"), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--window-size={max(width, 600)},1600",
        "--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000", "--dump-dom", (folder / "frame.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, timeout=90, env={**os.environ, "HOME": str(folder)}, check=False
    )
    found = re.search(r"<pre>(.*?)</pre>", done.stdout.decode(), re.S)
    log = done.stderr.decode(errors="replace")
    assert found, log
    told = found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")
    report: dict[str, Any] = json.loads(told)
    return report, "\n".join(line for line in log.splitlines() if "CONSOLE" in line)


def apart(a: list[float], b: list[float], slack: float) -> bool:
    return min(a[2], b[2]) - max(a[0], b[0]) <= slack or min(a[3], b[3]) - max(a[1], b[1]) <= slack


def check_figures(report: dict[str, Any]) -> None:
    named = [figure for figure in report["figures"] if figure["role"] == "img"]
    for figure in report["figures"]:
        left, top, right, bottom = figure["box"]
        assert right - left > 10, figure["name"]
        assert bottom - top > 10, figure["name"]
        assert any(m[2] > m[0] or m[3] > m[1] for m in figure["marks"]), figure["name"]
    for figure in named:
        left, top, right, bottom = figure["box"]
        assert len(figure["marks"]) > 10, figure["name"]
        for text in figure["texts"]:
            assert text["box"][3] - text["box"][1] > 9, text
            assert text["box"][0] >= left - 4, text
            assert text["box"][2] <= min(right + 4, report["width"]), text
            assert text["box"][1] >= top - 4, text
            assert text["box"][3] <= bottom + 4, text
        texts = figure["texts"]
        for index, text in enumerate(texts):
            for other in texts[index + 1 :]:
                assert apart(text["box"], other["box"], 2.5), (text, other)


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1400, False)])
def test_the_page_at_a_width(tmp_path: Path, width: int, dark: bool) -> None:
    report, errors = look(tmp_path, render(made_summary()), width, dark=dark)
    assert errors == ""
    assert report["width"] == width
    assert report["page"] <= width
    names = [figure["name"] for figure in report["figures"] if figure["role"] == "img"]
    assert names == ["frontier", "budgets", "layers", "layers", "drift", "drift", "drift"]
    check_figures(report)
    assert report["order"] == ["lora", "lora", "contrastive-wanda"]
    assert report["last"] == "contrastive-sparse"
    assert [sorted(set(pairs)) for pairs in report["pairs"][:2]] == [["lora"], ["neurons"]]
    assert len(set(report["pairs"][2])) == 10
    assert report["scroll"] == 200
    assert abs(report["sticky"]) < 1
    assert report["background"] == ("rgb(19, 22, 26)" if dark else "rgb(251, 251, 249)")


@pytest.mark.parametrize("make", [crowded_summary, lambda: wide_summary(2), lambda: wide_summary(6)])
@pytest.mark.parametrize("width", [390, 1400])
def test_labels_can_be_read_whatever_the_figures(
    tmp_path: Path, make: Callable[[], dict[str, Any]], width: int
) -> None:
    report, errors = look(tmp_path, render(make()), width)
    assert errors == ""
    assert report["page"] <= width
    check_figures(report)


def test_an_error_in_the_page_is_seen(tmp_path: Path) -> None:
    html = render(made_summary()).replace(
        "</main>", "</main><img src='https://example.invalid/x.png'><script>undefinedName()</script>"
    )
    _, errors = look(tmp_path, html, 1400)
    assert "undefinedName" in errors
    assert "Content Security Policy" in errors
