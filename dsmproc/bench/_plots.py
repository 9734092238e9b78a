"""Bars and curves as SVG, by hand: small files, and no package to install."""

from __future__ import annotations

import html
import math

COLOURS = (
    *("#b9b4a7", "#8d877a", "#5f594d"),  # the ancestors
    *("#4c8bb8", "#9cc3dd", "#d99a4e", "#c3563f", "#3f7d4e"),
    *("#8a6bb1", "#c9a227", "#5aa7a0", "#a8577e", "#6d8f3c"),
)
FONT = 'font-family="sans-serif" font-size="12"'


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT}>{html.escape(words)}</text>'
    )


def _page(width: float, height: float, parts: list[str]) -> str:
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{inside}\n</svg>\n'
    )


def _legend(names: list[str], colours: tuple[str, ...], left: float, top: float) -> list[str]:
    parts, x = [], left
    for number, name in enumerate(names):
        parts.append(
            f'<rect x="{x}" y="{top - 10}" width="10" height="10" fill="{colours[number]}"/>'
        )
        parts.append(_text(x + 14, top, name, "start"))
        x += 24 + 7 * len(name)
    return parts


def bars(title: str, groups: list[str], series: dict[str, list[float | None]]) -> str:
    """Groups of bars on a logarithmic scale around 1, each with its value above."""
    width, height, left, top = max(1040, 160 * len(groups) + 60), 360, 40, 60
    values = [v for line in series.values() for v in line if v]
    low = min(-1.0, math.log2(min(values, default=1)))
    high = max(1.0, math.log2(max(values, default=1)))
    middle = height - 40 + low * (height - top - 60) / (high - low)
    unit = (height - top - 60) / (high - low)
    parts = [_text(width / 2, 20, title), *_legend(list(series), COLOURS, left, 44)]
    wide = (width - left) / max(len(groups), 1)
    bar = (wide - 16) / max(len(series), 1)
    for g, group in enumerate(groups):
        parts.append(_text(left + wide * (g + 0.5), height - 8, group))
        for s, line in enumerate(series.values()):
            value = line[g]
            if not value:
                continue
            x, tall = left + wide * g + bar * s, math.log2(value) * unit
            parts.append(
                f'<rect x="{x:.1f}" y="{middle - max(tall, 0):.1f}" width="{bar - 1:.1f}"'
                f' height="{max(abs(tall), 0.8):.1f}" fill="{COLOURS[s]}">'
                f"<title>{html.escape(f'{group}, {list(series)[s]}: {value:.2f}')}</title></rect>"
            )
    for power in range(math.ceil(low), math.floor(high) + 1):
        y = middle - power * unit
        parts.append(f'<path d="M{left} {y:.1f}H{width}" stroke="#0002"/>')
        parts.append(_text(left - 4, y + 4, f"{2.0**power:g}", "end"))
    return _page(width, height, parts)


def curves(title: str, xs: list[int], series: dict[str, list[float | None]], axis: str) -> str:
    """Lines over `xs`, which are spread by their logarithm; y begins at 0."""
    width, height, left, top = 560, 340, 50, 60
    most = max((v for line in series.values() for v in line if v), default=1) * 1.1
    parts = [_text(width / 2, 20, title), *_legend(list(series), COLOURS[3:], left, 44)]
    span = math.log(xs[-1] / xs[0]) or 1

    def place(x: int, y: float) -> tuple[float, float]:
        at = left + 10 + (width - left - 40) * math.log(x / xs[0]) / span
        return at, height - 40 - (height - top - 40) * y / most

    for x in xs:
        parts.append(_text(place(x, 0)[0], height - 22, str(x)))
    parts.append(_text(width / 2, height - 6, axis))
    step = 10 ** math.floor(math.log10(most / 2)) if most > 0 else 1
    for tick in range(int(most / step) + 1):
        if most / step > 6 and tick % 2:
            continue
        y = place(xs[0], tick * step)[1]
        parts.append(f'<path d="M{left} {y:.1f}H{width}" stroke="#0002"/>')
        parts.append(_text(left - 4, y + 4, f"{tick * step:g}", "end"))
    for s, line in enumerate(series.values()):
        points = [place(x, y) for x, y in zip(xs, line, strict=True) if y is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        colour = COLOURS[3 + s]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return _page(width, height, parts)
