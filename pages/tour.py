"""The tour: a presenter's path through the whole story, one screen and one live element a step."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st

from components import address, choices, costs, frame, pictures, presenting, rounded
from components.choices import Choices
from components.presenting import Link
from vitquant import browse, catalog, datasets, gallery, rounding, units, variants
from vitquant.accuracy import INT8, REFERENCE
from vitquant.browse import Filter, Picture
from vitquant.gallery import AnswerSet

GUESSED = 12
LARGEST_SEED = 999_999


@dataclass(frozen=True)
class Scene:
    """What all steps look at."""

    db: sqlite3.Connection
    chosen: Choices
    answers: AnswerSet
    picture: Picture
    telling: list[int]  # pictures that fp32 has right and qint8 wrong, the clearest first
    place: int  # of the picture among them

    @property
    def file(self) -> Path:
        return datasets.root_of(self.chosen.subject.dataset) / self.picture.path


def show(db: sqlite3.Connection) -> None:
    presenting.style_sheet()
    chosen = choices.choose(db)
    pictures.style_sheet()
    scene = _scene(db, chosen)
    if scene is None:
        address.show_misunderstood()
        st.title("Tour", anchor=False)
        if not catalog.dataset(chosen.subject.dataset).labelled:
            st.info("The tour needs labels, which say what its pictures show: choose pictures that have some.")
            return
        st.info("The tour needs answers of fp32 and qint8, of which one is wrong: measure some first.")
        st.page_link("pages/overview.py", label="To the Overview", icon=":material/home:")
        return
    steps = [step for step in STEPS if step.is_there(scene)]
    number = address.number_of(address.STEP, 1, low=1, high=len(steps), what="step")
    address.show_misunderstood()
    if any(step.draw is _rounding for step in steps):
        rounded.wake(chosen.subject)
    step = steps[number - 1]
    st.title(step.title, anchor=False)
    step.draw(scene)
    presenting.next_and_back(chosen, number, len(steps), step.link)


def _scene(db: sqlite3.Connection, chosen: Choices) -> Scene | None:
    answers = chosen.answers
    labelled = catalog.dataset(chosen.subject.dataset).labelled
    if answers is None or not labelled or not {REFERENCE, INT8} <= set(answers.series):
        return None
    telling = browse.telling(db, answers, INT8)
    if not telling:
        return None
    place = address.number_of(address.SHOWN, 1, low=1, high=len(telling), what="picture of the tour") - 1
    picture = browse.picture(db, answers.dataset_id, answers.series_ids, telling[place])
    assert picture is not None
    return Scene(db, chosen, answers, picture, telling, place)


def _picture(scene: Scene) -> None:
    with st.container(key="tour-picture"):
        pictures.large(scene.file, scene.picture.class_index)


def _another(scene: Scene) -> None:
    st.button(
        "Another picture",
        icon=":material/skip_next:",
        on_click=address.go,
        kwargs={address.SHOWN: (scene.place + 1) % len(scene.telling) + 1},
    )


# 1, 2: what a model is shown, and what it answers


def _shown(scene: Scene) -> None:
    left, right = st.columns([1, 2], gap="large")
    with left:
        _picture(scene)
    with right:
        size = scene.chosen.subject.image_size
        patches = (size // catalog.model(scene.chosen.subject.model).patch_size) ** 2
        st.markdown(
            f"A **vision transformer** sees this: {size} × {size} coloured dots, cut into {patches:,} square "
            f"patches. Nobody told it what to look for. It has learned from examples to turn the patches into "
            "millions of multiplications, and those into an answer."
        )
        st.markdown("What would *you* say this is?")
        _another(scene)


def _answered(scene: Scene) -> None:
    left, right = st.columns([1, 2], gap="large")
    with left:
        _picture(scene)
    with right:
        found = browse.answers_to(scene.db, scene.answers.series_ids, scene.picture.picture)[REFERENCE]
        st.markdown("It gives every kind of thing it knows a **probability**. Its five best guesses:")
        pictures.top5(REFERENCE, found, scene.picture.class_index)
        rows = {row["variant"]: row for row in gallery.accuracy_rows(scene.db, scene.answers)}
        if REFERENCE in rows:
            row = rows[REFERENCE]
            st.markdown(f"Its first guess is right for **{row['top1']:.1%}** of {row['n']:,} pictures.")
        _another(scene)


# 3: what quantizing means


def _can_round(scene: Scene) -> bool:
    return rounded.can_be_asked(scene.chosen, scene.file)


def _rounding(scene: Scene) -> None:
    left, right = st.columns([1, 2], gap="large")
    with left:
        _picture(scene)
    with right:
        bits = st.slider(
            "Bits for each weight",
            rounding.FEWEST_BITS,
            rounding.MOST_BITS,
            rounding.MOST_BITS,
            help="The weights of every Linear layer, rounded evenly from minus to plus the largest of the "
            "layer (symmetric, per tensor). Original: 32 bits.",
            key="tour:bits",
        )
        st.markdown(
            f"A model is millions of numbers, its **weights**. Quantizing stores each with fewer digits: at "
            f"{bits} bits a weight can take only **{rounding.levels(bits)} different values**."
        )
        _rounded_answer(scene, bits)
        st.caption(
            "Run just now with the model's real weights, rounded. Weights only: the 8-bit variant (qint8) also "
            "rounds the numbers that flow between the layers, which is where it breaks."
        )


@st.fragment(run_every=1.0)
def _rounded_answer(scene: Scene, bits: int) -> None:
    """The answer with rounded weights, once the model is awake. The slider can be moved meanwhile."""
    question = rounded.Question(scene.chosen.subject, scene.picture.picture, scene.file, bits)
    answer = rounded.answer(question)
    if answer is None:
        return
    is_right = answer.indices[0] == scene.picture.class_index
    st.markdown(f"{'✓ right' if is_right else '✗ wrong'}: {pictures.class_title(answer.indices[0])}")
    with st.container(key="rounded"):
        pictures.top5(
            REFERENCE,
            replace(answer, indices=answer.indices[:3], probabilities=answer.probabilities[:3]),
            scene.picture.class_index,
        )


# 4: what it saves


def _saved(scene: Scene) -> None:
    sizes = gallery.size_rows(scene.db, scene.chosen.subject)
    room = st.slider("Room on a device (MB)", 10, 1000, 100, step=10, key="tour:room")
    st.markdown(f"How many such models fit into **{room:,} MB** of memory?")
    told = (*gallery.FIRST_TOLD, gallery.cure_of(scene.answers))
    names = [name for name in gallery.in_order(sizes) if name in scene.answers.series and name in told]
    for column, name in zip(st.columns(len(names), gap="medium"), names, strict=True):
        total = sizes[name]["total_bytes"] / units.MB
        with column, st.container(border=True):
            pictures.heading(name, variants.summary(name))
            st.metric(
                "models", f"{int(room // total):,}", help="Each variant's tensors, all of them, as counted."
            )
            st.caption(f"{total:,.1f} MB each: {_digits(name)}")
    timed = gallery.latency_rows(scene.db, scene.chosen.subject)
    if timed:
        rows = {row["variant"]: row["median_s"] * 1e3 for row in timed[1]}
        said = ", ".join(f"{name} {rows[name]:,.1f} ms" for name in names if name in rows)
        st.markdown(f"Time for one picture on this machine: {said}.")


def _digits(name: str) -> str:
    recipe = variants.RECIPES.get(variants.own_name(name))
    return f"{8 * recipe.weight_bytes} bits a weight" if recipe else name


# 5: what it breaks


def _broken(scene: Scene) -> None:
    ids = scene.answers.series_ids
    seed = address.number_of(address.SEED, 1, low=0, high=LARGEST_SEED, what="seed")
    wanted = Filter(series=ids[REFERENCE], verdict="right", order="random", seed=seed)
    twelve = [
        picture
        for picture in browse.page(scene.db, scene.answers.dataset_id, ids, wanted, limit=GUESSED)
        if INT8 in picture.verdicts
    ]
    asked = (scene.chosen.subject, seed)
    revealed = st.session_state.get("tour:revealed") == asked
    left, middle, right = st.columns([3, 1, 1], vertical_alignment="bottom")
    guess = left.slider(
        f"The original recognises all of these {len(twelve)}. How many will the 8-bit version still recognise?",
        0,
        len(twelve),
        len(twelve) // 2,
        key="tour:guess",
        disabled=revealed,
    )
    middle.button(
        "Show the answers",
        type="primary",
        on_click=_reveal,
        args=(asked,),
        disabled=revealed,
        width="stretch",
    )
    right.button(
        "Other pictures",
        on_click=address.go,
        kwargs={address.SEED: (seed + 1) % LARGEST_SEED},
        width="stretch",
    )
    root = datasets.root_of(scene.chosen.subject.dataset)
    with st.container(key="guess"), st.grid("auto", min_column_width=172, gap="small"):
        for picture in twelve:
            with st.container():
                pictures.thumbnail(root / picture.path, picture)
                if revealed:
                    pictures.verdicts(
                        replace(picture, verdicts={INT8: picture.verdicts[INT8]}),
                        {INT8: False},
                        random=scene.chosen.subject.is_random,
                    )
                else:
                    st.caption(pictures.class_title(picture.class_index))
    if revealed:
        right_ones = sum(picture.verdicts[INT8].right for picture in twelve)
        st.markdown(f"You said {guess}. It recognises **{right_ones} of {len(twelve)}**.")


def _reveal(asked: object) -> None:
    st.session_state["tour:revealed"] = asked


# 6: why


def _healthy(scene: Scene) -> AnswerSet | None:
    twin = catalog.TWINS.get(scene.chosen.subject.model)
    if twin is None:
        return None
    found = gallery.answer_sets(scene.db, replace(scene.chosen.subject, model=twin))
    same = (a for a in found if a.dataset_id == scene.answers.dataset_id and {REFERENCE, INT8} <= set(a.series))
    return next(same, None)


def _why(scene: Scene) -> None:
    healthy = _healthy(scene)
    assert healthy is not None
    is_loud = not st.toggle("Turn the loud channels off", key="tour:healthy")
    answers = scene.answers if is_loud else healthy
    left, right = st.columns([1, 2], gap="large")
    with left:
        _picture(scene)
    with right:
        st.markdown(
            "Inside this model a few channels were made 256 times **louder**, on purpose; the next layer turns "
            "them down again. In 32-bit numbers nothing changes. In 8 bits all channels share one ruler: "
            "stretched to reach the loud ones, its steps are too coarse for the rest."
            if is_loud
            else "The same model **without** the loud channels: in 8 bits, too, one ruler now has steps fine "
            "enough for every channel."
        )
        found = browse.answers_to(scene.db, answers.series_ids, scene.picture.picture)
        rows = {row["variant"]: row for row in gallery.accuracy_rows(scene.db, answers)}
        for column, name in zip(st.columns(2), (REFERENCE, INT8), strict=True):
            with column, st.container(border=True):
                pictures.heading(name, variants.summary(name))
                answer = found.get(name)
                if answer:
                    sign = "✓" if answer.true_rank == 1 else "✗"
                    st.markdown(
                        f"{sign} {pictures.class_title(answer.indices[0])}, {answer.probabilities[0]:.0%} sure"
                    )
                if name in rows:
                    st.metric("pictures recognised", f"{rows[name]['top1']:.1%}")
        st.caption(
            "Large vision transformers grow such channels by themselves; here they were planted (see the "
            "Overview)."
        )


# 7: and mended

MENDED_PICTURES = 3
CHART_HEIGHT = 250
"""In pixels: what a projector has left beneath the words."""


def _mended(scene: Scene) -> None:
    cure = gallery.cure_of(scene.answers)
    assert cure is not None
    above, beside = st.columns([3, 1], gap="large")
    with above:
        st.markdown(
            "The cure is arithmetic. Before each layer the loud channels are **turned down**, and the layer's "
            "own weights turned up by as much: on paper the same model. Now the ruler fits everybody, and 8 "
            "bits are enough. How far to turn was found on training pictures; none of these is among them."
        )
        is_mended = st.toggle("Mend it", key="tour:mended")
    name = cure if is_mended else INT8
    rows = {row["variant"]: row for row in gallery.accuracy_rows(scene.db, scene.answers)}
    if {REFERENCE, name} <= set(rows):
        row, reference = rows[name], rows[REFERENCE]
        beside.metric(
            "pictures recognised",
            f"{row['top1']:.1%}",
            f"{100 * (row['top1'] - reference['top1']):+.1f} points from the original",
            delta_color="off",
        )
    left, right = st.columns([1, 1], gap="large")
    with left:
        _lost_ones(scene, name)
    with right:
        told = (*gallery.FIRST_TOLD, cure)
        costs.trade_off(scene.db, scene.chosen.subject, scene.answers, told, CHART_HEIGHT)


def _lost_ones(scene: Scene, name: str) -> None:
    """Pictures that int8 lost, with this variant's answers."""
    root = datasets.root_of(scene.chosen.subject.dataset)
    ids = scene.answers.series_ids
    lost = [scene.telling[(scene.place + i) % len(scene.telling)] for i in range(MENDED_PICTURES)]
    for column, number in zip(st.columns(MENDED_PICTURES), dict.fromkeys(lost), strict=False):
        picture = browse.picture(scene.db, scene.answers.dataset_id, ids, number)
        assert picture is not None
        answer = browse.answers_to(scene.db, ids, number).get(name)
        with column, st.container(key=f"mended-{number}"):
            pictures.thumbnail(root / picture.path, picture)
            if answer:
                sign = "✓" if answer.true_rank == 1 else "✗"
                st.markdown(f"{sign} {pictures.class_title(answer.indices[0])}")


@dataclass(frozen=True)
class Step:
    """One screen of the tour."""

    title: str
    draw: Callable[[Scene], None]
    is_there: Callable[[Scene], bool] = lambda scene: True
    link: Link | None = None


WRONG = ((address.VARIANT, INT8), (address.VERDICT, "wrong"))

STEPS = (
    Step("A picture goes in", _shown),
    Step("Probabilities come out", _answered, link=Link("pages/explorer.py", "All pictures")),
    Step("Quantizing: fewer digits", _rounding, _can_round),
    Step(
        "What it saves",
        _saved,
        lambda scene: bool(gallery.size_rows(scene.db, scene.chosen.subject)),
        Link("pages/size.py", "Every byte"),
    ),
    Step("What it breaks", _broken, link=Link("pages/explorer.py", "All of its mistakes", WRONG)),
    Step("Why it breaks", _why, lambda scene: _healthy(scene) is not None, Link("pages/diagnosis.py", "Live")),
    Step(
        "And mended",
        _mended,
        lambda scene: gallery.cure_of(scene.answers) is not None,
        Link("pages/diagnosis.py", "How the cure was found", ((address.VIEW, "cures"),)),
    ),
)

frame.page(None, show)
