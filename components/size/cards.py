"""A candidate as a card: how accurate it is, and how much of each limit it takes.

Built as HTML with real text, as components/pictures is.
"""

import html
from collections.abc import Sequence

import streamlit as st

from components import choices, pictures
from vitquant import budget, catalog, charts, latency, wording
from vitquant.budget import DISK, FITS, LATENCY, MEMORY, TOO_MUCH, UNKNOWN, Budget, Judged
from vitquant.candidates import Candidate

_SIGNS = {FITS: ("✓", "fits"), UNKNOWN: ("?", "not known"), TOO_MUCH: ("✗", "does not fit")}
_TITLES = {DISK: "disk", MEMORY: "memory", LATENCY: "one picture"}

_CSS = """
<style>
.st-key-budget-answer p:first-child > strong:first-child { font-size: 1.3rem; }
.vq-cards { container-type: inline-size; display: flex; flex-direction: column; gap: .6rem; }
.vq-card { display: grid; grid-template-columns: minmax(10rem, 1.25fr) repeat(4, minmax(0, 1fr));
  gap: .4rem 1.4rem; border: 1px solid rgba(128,128,128,.28); border-radius: .6rem; padding: .7rem .9rem; }
.vq-card-name { display: grid; grid-template-columns: auto 1fr; column-gap: .55rem; align-content: center; }
.vq-card-sign { grid-row: span 3; font-size: 1.35rem; font-weight: 800; line-height: 1.5rem; width: 1.1rem; }
.vq-card-variant { font-size: 1.02rem; line-height: 1.5rem; }
.vq-card-model { font-size: .85rem; line-height: 1.25; overflow-wrap: anywhere; }
.vq-card-tags { font-size: .75rem; opacity: .78; line-height: 1.3; }
.vq-cell { display: flex; flex-direction: column; gap: .18rem; min-width: 0; }
.vq-cell-title { font-size: .75rem; opacity: .78; }
.vq-cell-figure { font-size: 1.02rem; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.3; }
.vq-cell-none { font-size: .88rem; font-style: italic; opacity: .8; line-height: 1.66; }
.vq-cell-note { font-size: .75rem; line-height: 1.3; opacity: .85; }
.vq-cell-over { font-weight: 700; opacity: 1; }
.vq-meter { position: relative; height: .5rem; border-radius: .25rem; background: rgba(128,128,128,.2);
  overflow: hidden; }
.vq-meter-none { background: none; border: 1px dashed rgba(128,128,128,.55); box-sizing: border-box; }
.vq-meter > div { position: absolute; top: 0; bottom: 0; }
.vq-meter-over { background: repeating-linear-gradient(135deg, #c8452d 0 5px, #e08a78 5px 9px); }
.vq-meter-interval { border: solid currentColor; border-width: 0 2px; opacity: .8; box-sizing: border-box;
  min-width: 4px; }
@container (max-width: 760px) {
  .vq-card { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .7rem 1.2rem; }
  .vq-card-name { grid-column: 1 / -1; }
}
</style>
"""


def style_sheet() -> None:
    """The look of cards; once a page, before the first of them."""
    pictures.style_sheet()
    st.html(_CSS)


def show(judged: Sequence[Judged], asked: Budget, unit: int) -> None:
    """One card each. unit: MB or MIB, for the bytes."""
    body = "".join(_card(candidate, verdict.answer, asked, unit) for candidate, verdict in judged)
    st.html(f'<div class="vq-cards">{body}</div>')


def _card(candidate: Candidate, answer: str, asked: Budget, unit: int) -> str:
    look = charts.style(candidate.variant)
    sign, spoken = _SIGNS[answer]
    model = html.escape(candidate.model)
    if candidate.weights != catalog.model(candidate.model).home:
        model += f", {html.escape(choices.weights_phrase(candidate.weights))}"
    if candidate.is_at_another_size:
        model += f", {candidate.image_size} px"
    mark = (
        f'<span class="vq-mark" style="color: {look.colour}" aria-hidden="true">'
        f"{pictures.variant_mark(candidate.variant)}</span>"
    )
    name = (
        f'<div class="vq-card-name"><span class="vq-card-sign" role="img" aria-label="{spoken}">{sign}</span>'
        f'<span class="vq-card-variant">{mark}<b>{html.escape(candidate.variant)}</b></span>'
        f'<span class="vq-card-model">{model}</span>'
        f'<span class="vq-card-tags">{_tags(candidate)}</span></div>'
    )
    figures = budget.figures_of(candidate)
    cells = "".join(_cell(candidate, what, figures[what], asked.limits.get(what), unit) for what in _TITLES)
    return f'<div class="vq-card">{name}{_accuracy(candidate, look.colour)}{cells}</div>'


def _tags(candidate: Candidate) -> str:
    """Which of the figures were measured elsewhere, and which have gone stale."""
    shipped = [kind for kind, origin in candidate.origins.items() if origin.shipped]
    stale = [kind for kind, origin in candidate.origins.items() if origin.changes]
    random = [kind for kind, origin in candidate.origins.items() if origin.random_weights]
    parts = [
        *([f"with random weights: {', '.join(random)}"] if random else []),
        *([f"shipped: {', '.join(shipped)}"] if shipped else []),
        *([f"stale: {', '.join(stale)}"] if stale else []),
    ]
    return " · ".join(parts)


def _accuracy(candidate: Candidate, colour: str) -> str:
    measure = wording.measure_in(candidate.accuracy or {})
    title = f'<span class="vq-cell-title">{measure.title}</span>'
    empty = '<div class="vq-meter vq-meter-none"></div>'
    row = candidate.accuracy
    if row is None:
        return f'<div class="vq-cell">{title}<span class="vq-cell-none">not measured</span>{empty}</div>'
    low, middle, high = (100 * row[column] for column in ("top1_low", "top1", "top1_high"))
    meter = (
        f'<div class="vq-meter"><div style="left: 0; width: {middle:.2f}%; background: {colour}"></div>'
        f'<div class="vq-meter-interval" style="left: {low:.2f}%; width: {high - low:.2f}%"></div></div>'
    )
    return (
        f'<div class="vq-cell">{title}<span class="vq-cell-figure">{middle:.1f}%</span>{meter}'
        f'<span class="vq-cell-note">{low:.1f}% to {high:.1f}%, of {row["n"]:,}</span></div>'
    )


def _cell(candidate: Candidate, what: str, figure: float | None, limit: float | None, unit: int) -> str:
    title = f'<span class="vq-cell-title">{_TITLES[what]}</span>'
    of = "no limit" if limit is None else f"of {budget.words(what, limit, unit)}"
    if figure is None:
        is_noisy = what == LATENCY and candidate.is_noisy
        words = f'<span class="vq-cell-none">{"too noisy to tell" if is_noisy else "not measured"}</span>'
        note = f'<span class="vq-cell-note">{of}</span>'
        return f'<div class="vq-cell">{title}{words}<div class="vq-meter vq-meter-none"></div>{note}</div>'
    words = f'<span class="vq-cell-figure">{budget.words(what, figure, unit)}</span>'
    if limit is None:
        meter = ""
    elif figure > limit:
        over = budget.words(what, figure - limit, unit)
        meter = '<div class="vq-meter"><div class="vq-meter-over" style="left: 0; width: 100%"></div></div>'
        of = f'<span class="vq-cell-over">{over} too much</span> {of}'
    else:
        colour = charts.style(candidate.variant).colour
        share = f"left: 0; width: {100 * figure / limit:.2f}%; min-width: 2px; background: {colour}"
        meter = f'<div class="vq-meter"><div style="{share}"></div></div>'
    threads = f"{latency.threads_title(candidate.threads)} · " if what == LATENCY and candidate.threads else ""
    return f'<div class="vq-cell">{title}{words}{meter}<span class="vq-cell-note">{threads}{of}</span></div>'
