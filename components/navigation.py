"""The dashboard's pages, and the frame that Streamlit puts around them."""

import streamlit as st
from streamlit.navigation.page import StreamlitPage

_BEGUN = "navigation:begun"


def current() -> StreamlitPage:
    """Set the dashboard up and answer the page that the address asks for."""
    st.set_page_config(page_title="vitquant", page_icon="assets/icon.png", layout="wide")
    st.session_state[_BEGUN] = True
    page = st.navigation(
        [
            st.Page("pages/overview.py", title="Overview", icon=":material/home:", default=True),
            st.Page("pages/tour.py", title="Tour", icon=":material/slideshow:", url_path="tour"),
            st.Page("pages/explorer.py", title="Explorer", icon=":material/grid_view:", url_path="explorer"),
            st.Page("pages/benchmark.py", title="Benchmark", icon=":material/speed:", url_path="benchmark"),
            st.Page("pages/size.py", title="Size", icon=":material/weight:", url_path="size"),
            st.Page(
                "pages/diagnosis.py", title="Diagnosis", icon=":material/troubleshoot:", url_path="diagnosis"
            ),
            st.Page("pages/data.py", title="Data and models", icon=":material/database:", url_path="data"),
        ]
    )
    if page.url_path == "tour":  # for a projector: all the room for the story
        st.set_page_config(initial_sidebar_state="collapsed")
    return page


def see_to_it() -> None:
    """Have this page run within the navigation.

    A new server that is first asked for an inner page takes the folder pages/ for Streamlit's older kind of
    app and runs the page's file alone, without dashboard.py; it does so for everybody until st.navigation is
    called for the first time.
    """
    if _BEGUN not in st.session_state:
        current()
        st.rerun()
