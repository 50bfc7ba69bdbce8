"""The dashboard's entry point: page set-up and navigation. `streamlit run dashboard.py`."""

import streamlit as st

st.set_page_config(page_title="vitquant", page_icon="assets/icon.png", layout="wide")
st.navigation(
    [
        st.Page("pages/overview.py", title="Overview", icon=":material/home:", default=True),
        st.Page("pages/explorer.py", title="Explorer", icon=":material/grid_view:", url_path="explorer"),
        st.Page("pages/benchmark.py", title="Benchmark", icon=":material/speed:", url_path="benchmark"),
        st.Page("pages/size.py", title="Size", icon=":material/weight:", url_path="size"),
    ]
).run()
