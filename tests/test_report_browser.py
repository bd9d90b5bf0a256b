"""The report in a browser: figures that are drawn, texts that can be read, controls that work, no error."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from summaries import crowded_summary, made_summary, wide_summary

from temperament.report.page import render

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium executable was found to open the page with")

WIDTHS = (390, 1400)

#: Runs in the page after its own script and hands what it sees to the page around it.
PROBE = """{
const seen = element => element.getClientRects().length > 0;
const box = element => { const r = element.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
const name = location.hash.slice(1);
const report = {
  width: innerWidth, page: document.documentElement.scrollWidth,
  figures: [...document.querySelectorAll("svg")].filter(seen).map(svg => ({
    role: svg.getAttribute("role"), name: (svg.getAttribute("aria-labelledby") || "").split("-")[0], box: box(svg),
    marks: [...svg.querySelectorAll("path,circle,rect,line")].filter(m => !m.closest("clipPath")).map(box),
    texts: [...svg.querySelectorAll("text")].map(t => ({text: t.textContent, box: box(t)})),
  })),
};
const first = () => document.querySelector(".methods tbody tr").cells[0].dataset.sort;
const column = [...document.querySelectorAll(".methods th button")].find(b => b.textContent === "AUC");
report.order = [first()]; for (let i = 0; i < 2; i++) { column.click(); report.order.push(first()); }
report.last = document.querySelector(".methods tbody tr:last-child").cells[0].dataset.sort;
const picker = document.getElementById("method");
const shown = () => [...document.querySelectorAll(".pair")].filter(seen).map(p => p.dataset.method);
report.pairs = [shown()];
for (const name of ["neurons", ""]) {
  picker.value = name;
  picker.dispatchEvent(new Event("change"));
  report.pairs.push(shown());
}
const scroll = document.querySelector(".methods").parentNode;
scroll.scrollLeft = 200;
report.sticky = box(document.querySelector(".methods tbody th"))[0] - box(scroll)[0];
report.scroll = scroll.scrollLeft;
report.background = getComputedStyle(document.body).backgroundColor;
parent.postMessage([name, JSON.stringify(report)], "*");
}"""
RECEIVER = """<!doctype html><title>waiting</title><body style="margin:0"><script>
addEventListener("message", e => {
  const seen = document.createElement("pre");
  [seen.id, seen.textContent] = e.data;
  document.body.append(seen);
});
</script>"""


def look(folder: Path, pages: dict[str, tuple[str, int]], *, dark: bool) -> tuple[dict[str, dict[str, Any]], str]:
    """What the probe saw in each page at its width, and what the browser logged about pages.

    The pages stand in frames of one window, as a window cannot be narrower than 500 pixels.
    """
    assert BROWSER
    frames = [RECEIVER]
    for name, (html, width) in pages.items():
        assert html.count("</body>") == 1
        probed = html.replace("</body>", f"<script>{PROBE}</script></body>")
        (folder / f"{name}.html").write_text(probed, encoding="utf-8")
        frames.append(f'<iframe src="{name}.html#{name}" style="border:0;width:{width}px;height:1500px"></iframe>')
    (folder / "frame.html").write_text("\n".join(frames), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--window-size=1500,1600",
        "--enable-logging=stderr",
        "--v=0",
        "--virtual-time-budget=3000",
        "--dump-dom",
    ]
    command = [BROWSER, *options, (folder / "frame.html").as_uri()]
    done = subprocess.run(
        command, capture_output=True, timeout=120, env={**os.environ, "HOME": str(folder)}, check=False
    )
    log = done.stderr.decode(errors="replace")
    reports = {
        name: json.loads(unescape(text))
        for name, text in re.findall(r'<pre id="([^"]*)">(.*?)</pre>', done.stdout.decode(), re.S)
    }
    assert set(reports) == set(pages), log
    return reports, "\n".join(line for line in log.splitlines() if "CONSOLE" in line)


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


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, Any]], str]:
    """Every page at every width in one start of the browser, in the dark scheme."""
    made = {"made": made_summary(), "crowded": crowded_summary(), "few": wide_summary(2), "many": wide_summary(6)}
    pages = {f"{name}-{width}": (render(summary), width) for name, summary in made.items() for width in WIDTHS}
    return look(tmp_path_factory.mktemp("pages"), pages, dark=True)


def test_no_page_logs_an_error(seen: tuple[dict[str, dict[str, Any]], str]) -> None:
    assert seen[1] == ""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["made", "crowded", "few", "many"])
def test_figures_are_drawn_and_can_be_read(seen: tuple[dict[str, dict[str, Any]], str], name: str, width: int) -> None:
    report = seen[0][f"{name}-{width}"]
    assert report["width"] == width
    assert report["page"] <= width
    names = [figure["name"] for figure in report["figures"] if figure["role"] == "img"]
    assert names == ["frontier", "budgets", "layers", "layers", "drift", "drift", "drift"]
    check_figures(report)


@pytest.mark.parametrize("width", WIDTHS)
def test_sorting_picking_and_scrolling_work(seen: tuple[dict[str, dict[str, Any]], str], width: int) -> None:
    report = seen[0][f"made-{width}"]
    assert report["order"] == ["lora", "lora", "contrastive-wanda"]
    assert report["last"] == "contrastive-sparse"
    assert [sorted(set(pairs)) for pairs in report["pairs"][:2]] == [["lora"], ["neurons"]]
    assert len(set(report["pairs"][2])) == 10
    assert report["scroll"] == 200
    assert abs(report["sticky"]) < 1
    assert report["background"] == "rgb(19, 22, 26)"


def test_an_error_in_the_page_would_be_seen_and_nothing_is_fetched(tmp_path: Path) -> None:
    foreign = "</main><img src='https://example.invalid/x.png'><script>undefinedName()</script>"
    html = render(made_summary()).replace("</main>", foreign)
    reports, errors = look(tmp_path, {"broken": (html, 1400)}, dark=False)
    assert "undefinedName" in errors
    assert "Content Security Policy" in errors
    assert reports["broken"]["background"] == "rgb(251, 251, 249)"
