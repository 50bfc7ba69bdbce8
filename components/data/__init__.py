"""The Data page's views: what is here, one's own pictures and models, settings, and what takes space."""
