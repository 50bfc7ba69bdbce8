"""What a number was measured on, and whether it still holds: beneath every result."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from components import choices, queue
from components.choices import Choices
from vitquant import gallery, wording
from vitquant.gallery import AnswerSet
from vitquant.request import Request
from vitquant.runs import Run

SHIPPED = ":material/inventory_2: shipped with vitquant, measured elsewhere · "
"""Before whatever came with the project instead of being measured here."""


def of_answers(chosen: Choices) -> None:
    """On what the stored answers rest, in one line with the rest a click away."""
    answers = chosen.answers
    assert answers is not None
    series = list(answers.series.values())[-1]
    details(
        f"{SHIPPED if answers.shipped else ''}{choices.summary(chosen.subject)} · "
        f"{answers.answered:,} pictures answered{_singly(answers)} · "
        f"{when(answers.measured_at)}",
        series.environment,
        {
            "model": chosen.subject.model,
            "weights": chosen.subject.weights,
            "pictures": f"{chosen.subject.dataset}, {answers.answered:,} answered",
            "image size": f"{chosen.subject.image_size} × {chosen.subject.image_size} pixels",
            "measured": when(answers.measured_at) + (", before it was shipped" if answers.shipped else ""),
        },
    )


def _singly(answers: AnswerSet) -> str:
    return f", {answers.opened_singly:,} of them opened one by one" if answers.opened_singly else ""


def of_run(run: Run) -> None:
    """On what a stored latency, size, profile or bits result rests."""
    at = when(run.ended_at or run.created_at)
    request = run.request
    facts = {
        "model": request["model"],
        "weights": request["weights"],
        "shapes": request.get("shape") or ", ".join(request.get("shapes", [])),
        "threads": _threads(request.get("threads")),
        "pictures": _pictures(request),
        "measured": f"{at}, before it was shipped" if run.shipped else f"{at}, run {run.id}",
    }
    line = f"**{request['model']}** · {choices.weights_phrase(request['weights'])} · {at}"
    details(f"{SHIPPED if run.shipped else ''}{line}", run.environment, facts)


def _pictures(request: Mapping[str, Any]) -> str:
    if "dataset" not in request:
        return ""
    size = request["image_size"]
    return f"the first {request['pictures']:,} of {request['dataset']}, {size} × {size} pixels"


def _threads(asked: Any) -> str:
    return ", ".join(map(str, asked)) if isinstance(asked, list | tuple) else str(asked or "")


def stale(changes: Mapping[str, Sequence[str]], again: Request | None = None) -> None:
    """A warning that names the variants measured under other conditions, and what has changed since. again:
    what measures them anew, behind a button."""
    by_change: dict[tuple[str, ...], list[str]] = {}
    for name, changed in changes.items():
        by_change.setdefault(tuple(changed), []).append(name)
    for changed, names in by_change.items():
        if all(change.endswith(gallery.GONE) for change in changed):
            gone = " and ".join(change.removesuffix(gallery.GONE) for change in changed)
            st.info(
                f"**{gone[0].upper()}{gone[1:]} are gone.** What was measured with them is shown all the same.",
                icon=":material/folder_off:",
            )
            continue
        st.warning(
            f"**Stale: {', '.join(names)}.** Changed since this was measured: {'; '.join(changed)}. "
            + ("" if again else "Measure again on the Benchmark page to compare."),
            icon=":material/history:",
        )
    if changes and again:
        queue.offer("Measure again", again, again=True, icon=":material/refresh:", key=f"again-{again.kind}")


def details(line: str, environment: Mapping[str, Any], facts: Mapping[str, str]) -> None:
    """One line, and an expander with everything that a result depends on."""
    st.caption(line)
    with st.expander("What this was measured on", icon=":material/info:"):
        features = ", ".join(environment.get("cpu_features", [])) or "nothing special"
        rows = {
            **facts,
            "machine": environment.get("machine", ""),
            "the CPU offers": features,
            "engine": environment.get("engine", ""),
            "versions": ", ".join(
                f"{name} {environment[name]}"
                for name in ("torch", "torchvision", "timm", "python", "vitquant")
                if environment.get(name)
            ),
        }
        st.markdown("\n".join(f"- {name}: {value}" for name, value in rows.items() if value))


def when(time: str) -> str:
    """A stored time for people: day and minute, UTC, and how long ago that was."""
    return f"{time[:16].replace('T', ' ')} UTC ({wording.age(time)})"
