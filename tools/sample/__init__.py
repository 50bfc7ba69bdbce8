"""How the built-in sample is made: its pictures drawn, its model trained. The dashboard needs none of it."""
