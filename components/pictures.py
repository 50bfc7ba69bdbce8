"""Pictures as a page shows them: a thumbnail with every variant's verdict, and one variant's top-5 as bars.

Built as HTML with real text, so that it is read aloud, copied and enlarged like any other text.
"""

import base64
import html
from collections.abc import Mapping
from pathlib import Path

import streamlit as st
from PIL import Image

from vitquant import charts, images, labels, paths, sample, wording
from vitquant.browse import Picture
from vitquant.errors import InputError
from vitquant.follow import Answer
from vitquant.own_pictures_listing import UNLABELLED
from vitquant.predictions import Prediction
from vitquant.wording import Measure
from vitquant.worker import OwnAnswer

THUMBNAIL = 128
"""The longest edge that is sent for the grid, in pixels; smaller pictures go as they are."""
DETAIL = 448

RANDOM = "random weights: predictions are meaningless"

_MARKS = {
    "circle": "●",
    "square": "■",
    "diamond": "◆",
    "triangle-up": "▲",
    "cross": "✚",
    "star": "★",
    "hexagon": "⬢",
    "pentagon": "⬟",
    "star-diamond": "✦",
    "hourglass": "⧗",
}

_CSS = """
<style>
.vq-tile { display: flex; flex-direction: column; gap: .3rem; }
.vq-tile img, .vq-gone { width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: .5rem;
  image-rendering: pixelated; background: rgba(128,128,128,.14); }
.vq-gone { display: flex; align-items: center; justify-content: center; text-align: center;
  overflow-wrap: anywhere; overflow: hidden; font-size: .8rem; padding: .5rem; box-sizing: border-box; }
.vq-verdict { font-size: .8rem; line-height: 1.3; display: flex; gap: .3rem; align-items: baseline; }
.vq-verdict b { font-weight: 600; }
.vq-verdict span.vq-answer { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0; }
.vq-mark { font-size: 1.15em; padding-right: .3em; }
.vq-sign { font-weight: 800; font-size: 1.05em; }
.vq-scores { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; font-size: .95rem; }
.vq-score { white-space: nowrap; }
.vq-faint { opacity: .72; font-size: .72rem; line-height: 1.25; }
/* The button beneath a picture covers the whole tile: the picture itself can be clicked, and the keyboard
   reaches it as the button that it is. */
[class*="st-key-tile-"] { position: relative; gap: .35rem !important; }
[class*="st-key-tile-"] button { padding: 0; min-height: 0; text-align: left;
  justify-content: flex-start; }
[class*="st-key-tile-"] button p { font-weight: 600; }
[class*="st-key-tile-"] button::after { content: ""; position: absolute; inset: -.35rem; border-radius: .75rem;
  border: 2px solid transparent; }
[class*="st-key-tile-"] [data-testid="stElementContainer"], [class*="st-key-tile-"] .stButton,
[class*="st-key-tile-"] button { position: static !important; }
[class*="st-key-tile-"] button:hover::after { border-color: rgba(90,169,214,.7); }
[class*="st-key-tile-"] button:focus-visible::after { border-color: currentColor; }
.vq-top5 { display: flex; flex-direction: column; gap: .5rem; }
.vq-row { display: grid; grid-template-columns: 1fr auto; column-gap: .5rem; font-size: .88rem;
  line-height: 1.3; }
.vq-row .vq-words { min-width: 0; overflow-wrap: anywhere; }
.vq-row .vq-number { font-variant-numeric: tabular-nums; }
.vq-track { grid-column: 1 / -1; height: .6rem; border-radius: .3rem; background: rgba(128,128,128,.18);
  overflow: hidden; margin-top: .15rem; }
.vq-bar { height: 100%; min-width: 2px; }
.vq-scale { display: flex; justify-content: space-between; font-size: .7rem; opacity: .72; }
.vq-true { border: 1px solid currentColor; border-radius: .3rem; padding: 0 .3rem; font-size: .72rem;
  font-weight: 600; white-space: nowrap; }
.vq-detail img { width: 100%; max-width: 448px; image-rendering: pixelated; border-radius: .6rem; }
</style>
"""

_STRIPES = {
    "": "",
    "/": "repeating-linear-gradient(135deg, rgba(255,255,255,.45) 0 2px, transparent 2px 7px)",
    ".": "radial-gradient(rgba(255,255,255,.55) 1px, transparent 1.5px)",
}
_CROSSED = "repeating-linear-gradient(45deg, rgba(255,255,255,.4) 0 2px, transparent 2px 6px)"


def style_sheet() -> None:
    """The look of pictures; once a page, before the first of them."""
    st.html(_CSS)


def class_title(class_index: int) -> str:
    """A class in one or two words; that of a picture that has no label, too."""
    if class_index == UNLABELLED:
        return "no label"
    return labels.short(labels.by_index(class_index).words)


def variant_mark(variant: str) -> str:
    """The variant's symbol, as in the charts."""
    return _MARKS.get(charts.style(variant).symbol, "●")


def thumbnail(file: Path, picture: Picture) -> None:
    """The picture, small; what stands in for it where it cannot be read."""
    alt = f"{class_title(picture.class_index)}, picture {picture.picture}"
    st.html(f'<div class="vq-tile">{_img(file, THUMBNAIL, alt)}</div>')


def verdicts(picture: Picture, variants: Mapping[str, bool], *, random: bool) -> None:
    """Each variant's verdict on a picture. variants: by name, whether its answers are stale."""
    if not picture.verdicts:
        st.html('<div class="vq-tile vq-faint">not measured yet</div>')
        return
    parts = []
    measure = wording.AGREEMENT if picture.class_index == UNLABELLED else wording.ACCURACY
    for name, is_stale in variants.items():
        verdict = picture.verdicts.get(name)
        if verdict is None:
            said = '<span class="vq-faint">not measured</span>'
        elif verdict.right:
            said = f'<span class="vq-sign" role="img" aria-label="{measure.right}">✓</span>'
        else:
            answer = html.escape(class_title(verdict.class_index))
            said = (
                f'<span class="vq-sign" role="img" aria-label="{measure.wrong}">✗</span>'
                f'<span class="vq-answer" title="{answer}">{answer}</span>'
            )
        note = '<span class="vq-faint">stale</span>' if is_stale and verdict else ""
        parts.append(f'<div class="vq-verdict">{_name(name)}{said}{note}</div>')
    if random:
        parts.append('<div class="vq-faint">random weights: meaningless</div>')
    st.html(f'<div class="vq-tile">{"".join(parts)}</div>')


def scores(counts: Mapping[str, tuple[int, int]], measure: Measure = wording.ACCURACY) -> None:
    """How many pictures each variant has right, in one line. counts: by variant, right ones and all."""
    parts = [
        f'<span class="vq-score">{_name(name)} {right:,} of {of:,} {measure.right}</span>'
        for name, (right, of) in counts.items()
    ]
    st.html(f'<div class="vq-scores">{"".join(parts)}</div>')


def heading(variant: str, summary: str | None) -> None:
    """A variant's name with its symbol, and what it is in the tooltip."""
    st.markdown(_name(variant), unsafe_allow_html=True, help=summary)


def large(file: Path, class_index: int) -> None:
    """One picture, enlarged pixel by pixel, and labelled so."""
    try:
        image = images.open_rgb(file)
    except InputError as error:
        st.html(f'<div class="vq-gone">{html.escape(_gone(file, error))}</div>')
        return
    enlarged(image, f"{class_title(class_index)}, enlarged")


def enlarged(image: Image.Image, alt: str) -> None:
    """A picture in memory, enlarged pixel by pixel or made smaller, and labelled so."""
    png = images.enlarged_png(image, DETAIL)
    alt = html.escape(alt, quote=True)
    st.html(f'<div class="vq-detail">{_png(png, alt)}</div>')
    how = "enlarged pixel by pixel" if max(image.size) < DETAIL else "made smaller to fit"
    st.caption(f"{image.width} × {image.height}, {how}")


def top5(variant: str, prediction: Prediction | OwnAnswer | Answer, true_class: int | None) -> None:
    """One variant's five most probable classes as bars on a scale from 0 to 1, the true class marked."""
    look = charts.style(variant)
    stripes = _STRIPES.get(look.pattern, _CROSSED)
    size = " background-size: 5px 5px;" if look.pattern == "." else ""
    rows = []
    for class_index, probability in zip(prediction.indices, prediction.probabilities, strict=True):
        label = labels.by_index(class_index)
        true = ' <span class="vq-true">true class</span>' if class_index == true_class else ""
        image = f" background-image: {stripes};{size}" if stripes else ""
        rows.append(
            f'<div class="vq-row"><span class="vq-words">{html.escape(label.words)} '
            f'<span class="vq-faint">{label.wnid}</span>{true}</span>'
            f'<span class="vq-number">{_probability(probability)}</span>'
            f'<div class="vq-track"><div class="vq-bar" style="width: {100 * probability:.2f}%; '
            f'background-color: {look.colour};{image}"></div></div></div>'
        )
    scale = '<div class="vq-scale" aria-hidden="true"><span>0</span><span>0.5</span><span>1</span></div>'
    st.html(f'<div class="vq-top5">{"".join(rows)}{scale}</div>')


def _probability(value: float) -> str:
    return f"{value:.3f}" if value >= 0.0005 else "&lt; 0.001"


def _name(variant: str) -> str:
    colour = charts.style(variant).colour
    mark = f'<span class="vq-mark" style="color: {colour}" aria-hidden="true">{variant_mark(variant)}</span>'
    return f"{mark}<b>{html.escape(variant)}</b>"


def _img(file: Path, edge: int, alt: str) -> str:
    try:
        image = images.open_rgb(file)
    except InputError as error:
        why = "damaged picture" if file.exists() else _gone(file, error)
        return f'<div class="vq-gone">{html.escape(why)}</div>'
    return _png(images.enlarged_png(image, min(edge, max(image.size))), html.escape(alt, quote=True))


def _png(png: bytes, alt: str) -> str:
    return f'<img alt="{alt}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _gone(file: Path, error: InputError) -> str:
    what = str(error) if file.exists() else f"{file.name} is no longer here; its predictions still are."
    return f"{what} {sample.REMEDY}" if file.is_relative_to(paths.sample_dir()) else what
