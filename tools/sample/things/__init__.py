"""The classes that can be drawn: importing this package registers them all."""

from tools.sample.things import buildings, creatures, food, games, household, tools, vehicles, vessels

__all__ = ["buildings", "creatures", "food", "games", "household", "tools", "vehicles", "vessels"]
