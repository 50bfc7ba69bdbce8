"""What is drawn: things made of parts, and the register of the classes that can be drawn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.sample.dice import Dice
from tools.sample.fields import Field
from tools.sample.looks import Look

ROOM, YARD, SKY, STUDIO, WATER = "room", "yard", "sky", "studio", "water"
"""Where a thing is seen: on a table or floor indoors; on grass, sand or asphalt under the sky; in the air;
before a plain backdrop; under water."""


@dataclass(frozen=True)
class Part:
    """A shape and what it is made of."""

    field: Field
    look: Look


@dataclass(frozen=True)
class Thing:
    """One thing to draw: within about 1 of the origin (it may reach 1.3), y up, its front toward +z."""

    parts: Sequence[Part]
    azimuth: tuple[float, float] = (0, 360)  # degrees the camera may stand at; 0 sees the front (+z)
    elevation: tuple[float, float] = (5, 45)  # degrees the camera may look down from
    tilt: float = 4.0  # degrees it may lean any way; more for what lies about as it likes
    places: Sequence[str] = (ROOM, YARD, STUDIO)
    step: float = 0.9  # share of the distance that is safe to march; lower where fields are loose bounds


Maker = Callable[[Dice], Thing]

MAKERS: dict[str, Maker] = {}
"""By wnid."""


def draws(wnid: str) -> Callable[[Maker], Maker]:
    """Register a function as what makes the things of one class, each a little different."""

    def register(maker: Maker) -> Maker:
        assert wnid not in MAKERS, f"{wnid} is drawn twice"
        MAKERS[wnid] = maker
        return maker

    return register
