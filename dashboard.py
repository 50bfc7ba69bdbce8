"""The dashboard's entry point: `streamlit run dashboard.py`."""

from components import navigation

navigation.current().run()
