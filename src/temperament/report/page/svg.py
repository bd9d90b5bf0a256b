"""Inline SVG: a drawing that escapes its texts, and axes with round ticks. Colours come from the page's classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

#: Mean width of a character in ems, on the wide side for the sans-serif faces of common systems.
EM = 0.63


def text_width(text: str, size: float) -> float:
    """Estimated width of a text in pixels."""
    return EM * size * len(text)


@dataclass(frozen=True)
class Scale:
    """Maps values of ``low … high`` to pixels of ``start … end``, linearly or by logarithm.

    With a ``bend`` it is linear around 0 and logarithmic far beyond that value (the inverse hyperbolic sine).
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    bend: float | None = None

    def __call__(self, value: float) -> float:
        low, high, here = map(self._bent, (self.low, self.high, value))
        return self.start + (self.end - self.start) * (here - low) / (high - low)

    def _bent(self, value: float) -> float:
        if self.bend:
            return math.asinh(value / self.bend)
        return math.log(value) if self.log else value

    def clamp(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def ticks(self, count: int) -> list[float]:
        """About ``count`` round values within the range."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
                marks = [step * 10.0**power for power in powers for step in steps]
                marks = [mark for mark in marks if self.low <= mark <= self.high * 1.0001]
                if len(marks) <= count:
                    break
            return marks
        if self.bend:
            return self._bent_ticks(count)
        raw = (self.high - self.low) / max(count, 1)
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [round(index * step, 10) for index in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _bent_ticks(self, count: int) -> list[float]:
        """0 and round values on both sides, the roundest first, as long as they stand apart."""
        room = abs(self.end - self.start) / (count + 2)
        powers = range(-3, math.ceil(math.log10(max(abs(self.low), abs(self.high), 1e-3))) + 1)
        sizes = [step * 10.0**power for step in (1, 5, 2) for power in sorted(powers, key=abs)]
        chosen: list[float] = []
        for mark in (0.0, *(sign * size for size in sizes for sign in (1, -1))):
            if self.low <= mark <= self.high and all(abs(self(mark) - self(other)) >= room for other in chosen):
                chosen.append(mark)
        return sorted(chosen)


def tick_text(ticks: Sequence[float]) -> list[str]:
    """The ticks with as many decimals as they need, alike."""
    digits = next(d for d in range(7) if d == 6 or all(abs(t - round(t, d)) < 1e-9 * max(1, abs(t)) for t in ticks))
    return [f"{tick:,.{digits}f}".replace("-", "−") for tick in ticks]


@dataclass
class Drawing:
    """An SVG of ``width`` × ``height`` pixels. ``name`` makes its ids unique on the page."""

    name: str
    width: float
    height: float
    title: str = ""
    desc: str = ""
    parts: list[Markup] = field(default_factory=list)

    def add(self, template: str, **values: object) -> None:
        """A piece of SVG; the values are escaped, numbers shortened."""
        shown = {key: f"{v:.2f}" if isinstance(v, float) else v for key, v in values.items()}
        self.parts.append(Markup(template).format(**shown))

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.add(
            '<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{kind}"/>',
            x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), kind=kind,
        )  # fmt: skip

    def rect(self, x: float, y: float, width: float, height: float, kind: str, radius: float = 0.0) -> None:
        self.add(
            '<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="{r}" class="{kind}"/>',
            x=float(x), y=float(y), w=float(max(width, 0.0)), h=float(max(height, 0.0)), r=float(radius), kind=kind,
        )  # fmt: skip

    def path(self, points: Sequence[tuple[float, float]], kind: str, *, closed: bool = False) -> None:
        data = "M" + " L".join(f"{x:.2f} {y:.2f}" for x, y in points) + (" Z" if closed else "")
        self.add('<path d="{data}" class="{kind}"/>', data=data, kind=kind)

    def text(self, x: float, y: float, text: str, kind: str = "tick", anchor: str = "start") -> None:
        self.add(
            '<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{text}</text>',
            x=float(x), y=float(y), kind=kind, anchor=anchor, text=text,
        )  # fmt: skip

    def marker(self, x: float, y: float, shape: str, kind: str, radius: float = 6.0, tip: str = "") -> None:
        """A circle, diamond, square or triangle of about the same area around (x, y)."""
        outline = {
            "diamond": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
            "square": [(-0.92, -0.92), (0.92, -0.92), (0.92, 0.92), (-0.92, 0.92)],
            "triangle": [(0, -1.3), (1.2, 0.85), (-1.2, 0.85)],
            "arrow": [(1.4, 0), (-0.7, -1.1), (-0.7, 1.1)],
        }.get(shape)
        if outline is None:
            self.add(
                '<circle cx="{x}" cy="{y}" r="{r}" class="mark {kind}"><title>{tip}</title></circle>',
                x=float(x), y=float(y), r=float(radius), kind=kind, tip=tip,
            )  # fmt: skip
            return
        data = "M" + " L".join(f"{x + radius * a:.2f} {y + radius * b:.2f}" for a, b in outline) + " Z"
        self.add('<path d="{data}" class="mark {kind}"><title>{tip}</title></path>', data=data, kind=kind, tip=tip)

    def clip(self, x: float, y: float, width: float, height: float) -> str:
        """Declare a clipping rectangle; returns the attribute value that uses it."""
        self.add(
            '<clipPath id="{name}-clip"><rect x="{x}" y="{y}" width="{w}" height="{h}"/></clipPath>',
            name=self.name, x=float(x), y=float(y), w=float(width), h=float(height),
        )  # fmt: skip
        return f"url(#{self.name}-clip)"

    def __html__(self) -> Markup:
        body = Markup("").join(self.parts)
        if not self.title:
            frame = '<svg viewBox="0 0 {w:g} {h:g}" width="{w:g}" height="{h:g}" aria-hidden="true">{body}</svg>'
            return Markup(frame).format(w=self.width, h=self.height, body=body)
        frame = (
            '<svg viewBox="0 0 {w:g} {h:g}" role="img" aria-labelledby="{name}-t {name}-d">'
            '<title id="{name}-t">{title}</title><desc id="{name}-d">{desc}</desc>{body}</svg>'
        )
        return Markup(frame).format(
            w=self.width, h=self.height, name=self.name, title=self.title, desc=self.desc, body=body
        )
