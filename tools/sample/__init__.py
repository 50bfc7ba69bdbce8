"""How the built-in sample is made: its pictures are drawn, its model trained. Nothing here serves the dashboard."""
