"""The tour's frame: large type without scrolling, and turning from step to step by a presenter's clicker."""

from dataclasses import dataclass

import streamlit as st

from components import address, choices
from components.choices import Choices

_CSS = """
<style>
[data-testid="stMainBlockContainer"] { padding: 3.6rem clamp(1rem, 4vw, 4rem) .5rem; }
[data-testid="stMainBlockContainer"] h1 { font-size: 2.1rem; padding: 0 0 .4rem; }
[data-testid="stMainBlockContainer"] [data-testid="stMarkdownContainer"] p { font-size: 1.2rem; }
[data-testid="stMainBlockContainer"] [data-testid="stCaptionContainer"] p { font-size: .95rem; }
.st-key-tour-picture .vq-detail img { max-width: 300px; }
[data-testid="stMainBlockContainer"] [data-testid="stMetricValue"] p { font-size: 2.2rem; }
.st-key-guess .vq-tile img { width: 88px; align-self: flex-start; }
[class*="st-key-guess"] .vq-verdict { font-size: .95rem; }
.st-key-tour-steps { padding-top: .2rem; }
</style>
"""


_page_keys = st.components.v2.component(
    "vitquant_page_keys",
    html="<span></span>",
    js="""
// What presenters' clickers send turns the steps, also where a slider has the focus and would take it.
export default function() {
  const turn = (event) => {
    const key = { PageDown: "next", PageUp: "back" }[event.key];
    if (!key || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    document.querySelector(`.st-key-tour-${key} button`)?.click();
  };
  window.addEventListener("keydown", turn, true);
  document.documentElement.dataset.vqTurnedBy = "keys"; // from now on a key is heard
  return () => {
    window.removeEventListener("keydown", turn, true);
    delete document.documentElement.dataset.vqTurnedBy;
  };
}
""",
)


@dataclass(frozen=True)
class Link:
    """Where to read on about a step."""

    page: str
    label: str
    query: tuple[tuple[str, str], ...] = ()


def style_sheet() -> None:
    """The look of the tour; before anything else on its page."""
    st.html(_CSS)


def next_and_back(chosen: Choices, number: int, of: int, link: Link | None) -> None:
    """Where the presenter is, and the ways from there: by button, by PageDown and PageUp, into the pages."""
    with st.container(horizontal=True, vertical_alignment="center", key="tour-steps"):
        for title, icon, to in (
            ("Back", ":material/arrow_back:", number - 1),
            ("Next", ":material/arrow_forward:", number + 1),
        ):
            st.button(
                title,
                icon=icon,
                key=f"tour-{title.lower()}",
                help="PageDown and PageUp turn the steps, too.",
                type="primary" if title == "Next" else "secondary",
                disabled=not 1 <= to <= of,
                on_click=address.go,
                kwargs={address.STEP: to},
            )
        st.caption(f"{number} of {of}", width="content")
        if link:
            st.page_link(
                link.page, label=link.label, icon=":material/open_in_new:", query_params=dict(link.query)
            )
        st.page_link("pages/overview.py", label="Leave the tour", icon=":material/close:")
        came = " · shipped results" if chosen.answers and chosen.answers.shipped else ""
        st.caption(f"{choices.summary(chosen.subject)}{came}", width="content")
    _page_keys(key="tour-keys")
