"""A button that copies the page's address, in which every choice is spelled out, with one click."""

import streamlit as st

_JS = """
export default function({ parentElement }) {
  const button = parentElement.querySelector("button");
  const label = button.querySelector("span");
  button.onclick = async () => {
    const url = window.location.href;
    let copied = true;
    try {
      await navigator.clipboard.writeText(url);
    } catch {
      // Browsers offer the clipboard to secure pages only: over plain HTTP the old way still works.
      const field = document.createElement("textarea");
      field.value = url;
      document.body.appendChild(field);
      field.select();
      copied = document.execCommand("copy");
      field.remove();
      button.focus();
    }
    label.textContent = copied ? "Link copied" : "Copy it from the address bar";
    setTimeout(() => { label.textContent = "Copy link"; }, 2500);
  };
}
"""
_HTML = '<button type="button" aria-live="polite"><span>Copy link</span></button>'
_CSS = """
button { font: inherit; font-size: .875rem; color: var(--st-text-color); cursor: pointer;
  background: var(--st-background-color); border: 1px solid var(--st-border-color);
  border-radius: var(--st-button-radius, .5rem);
  min-height: 2.5rem; padding: .25rem .75rem; white-space: nowrap; }
button:hover, button:focus-visible { border-color: var(--st-primary-color); color: var(--st-primary-color);
  outline: none; }
"""

_button = st.components.v2.component("vitquant_copy_link", html=_HTML, css=_CSS, js=_JS)


def copy_button() -> None:
    """A link that reproduces exactly this view, to the clipboard."""
    _button(key="copy-link", width="content")
