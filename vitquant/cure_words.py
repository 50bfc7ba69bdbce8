"""What mends int8, in sentences: what each cure does, what it was measured to keep and to cost, and how a
calibrated one was found. Imports no torch."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vitquant import calibration, catalog, layers, units
from vitquant.accuracy import INT8, REFERENCE
from vitquant.layers import HEAD
from vitquant.statistics import Interval, paired_difference
from vitquant.variants import own_name

Row = Mapping[str, Any]

LEFT, AS = "left in float", "as"
"""Parameters of a fit: the layers, and what they are left in."""
BFLOAT16_INSTRUCTIONS = ("AVX-512 BF16", "AMX bf16", "NEON bf16")
"""As machine.cpu_features() calls them."""

WHAT = {
    # variant -> what it does
    "qint8_channel": "Every row of a weight gets a scale of its own.",
    "qint8_smooth": "Before a layer loud channels are divided, and its weights multiplied by as much "
    "(SmoothQuant): the same function.",
    "qint8_mixed": "The layers that int8 harms most stay in float: as few as keep the loss within your limit.",
    "qint8_best": "A search over smoothing, scales for each row, 8 bits for what comes in, corrected biases "
    "and layers left in float. Each step is kept only if it pays off.",
    "bfloat16": "No integers: every number takes 2 bytes, with float32's range and 3 digits.",
}

WHY = {
    # variant -> why that helps
    "qint8_smooth": "Quiet channels get back the levels that the loud ones took.",
    "qint8_mixed": "What is not rounded loses nothing, and costs bytes.",
    "qint8_best": "Chosen on training pictures that its ranges were not taken from.",
    "bfloat16": "It has no grid that a loud channel could stretch. Half the size, not a quarter.",
}
WEIGHTS_ARE_INNOCENT = (
    "The weights were never the trouble: what comes in is still rounded with one scale for all channels."
)
WEIGHTS_ONLY = "It can help the weights only: what comes in keeps one scale for all channels."
NOTHING_TO_MEND = "Here int8 loses nothing that could be told, so there is little to mend."


# What is lost, and what mends it


def answer(rows: Mapping[str, Row], sizes: Mapping[str, Row], cure: str | None, pictures: str) -> list[str]:
    """What int8 loses and what the recommended cure does, in sentences of Markdown. rows, sizes: accuracy rows
    and size rows by variant; pictures: the dataset's name."""
    reference = rows[REFERENCE]
    found: list[str] = []
    for name in (INT8, cure):
        row = rows.get(name or "")
        if row is None:
            continue
        row_alike = row["n"] == reference["n"]
        on = "" if found and row_alike else f" on the first {row['n']:,} pictures of {pictures}"
        right = f": {row['top1']:.1%} right, where {REFERENCE} has {reference['top1']:.1%}" if row_alike else ""
        space = f". It takes {size_words(row['variant'], sizes)}" if row["variant"] in sizes and found else ""
        found.append(f"**{name}** {loses(difference_of(row))}{on}{right}{space}.")
    return found


def of_random(rows: Mapping[str, Row], cure: str | None) -> str:
    """The same of a model with random weights, whose answers mean nothing: how far they move."""
    moved = [
        f"**{row['variant']}** {row['mean_kl_nats']:.3g} nats"
        for row in map(rows.get, (INT8, cure or INT8))
        if row is not None and row["mean_kl_nats"] is not None
    ]
    return f"KL divergence to {REFERENCE}'s answers: {', '.join(dict.fromkeys(moved))}." if moved else ""


def why(name: str, rows: Mapping[str, Row]) -> str:
    """Why a cure helps, or why it does not, as far as that is measured."""
    own, harmed = own_name(name), rows.get(INT8)
    if harmed is not None and difference_of(harmed).high >= 0:
        return NOTHING_TO_MEND
    if own != "qint8_channel":
        return WHY[own]
    row = rows.get(name)
    does_not_help = row is not None and harmed is not None and difference_of(row).high < 0
    return WEIGHTS_ARE_INNOCENT if does_not_help else WEIGHTS_ONLY


def difference_of(row: Row) -> Interval:
    """How much more a variant has right than fp32 on the same pictures, with its paired 95% interval."""
    if row["broken"] is None:
        return Interval(float("nan"), -1.0, 1.0)
    return paired_difference(row["broken"], row["fixed"], row["n"])


def loses(difference: Interval) -> str:
    """ "loses 90.8 points of top-1 (95% interval 87.5 to 93.2)"."""
    if difference.share > 0:
        points, low, high = difference.share, difference.low, difference.high
        return f"gains {_points(points)} points of top-1 (95% interval {_points(low)} to {_points(high)})"
    points, low, high = -difference.share, -difference.high, -difference.low
    return f"loses {_points(points)} points of top-1 (95% interval {_points(low)} to {_points(high)})"


def kept_words(row: Row) -> str:
    """What a variant has right, and the points lost to fp32, for a list."""
    difference = difference_of(row)
    low, middle, high = (100 * share for share in (difference.low, difference.share, difference.high))
    return (
        f"**{row['top1']:.1%}** right ({row['top1_low']:.1%} to {row['top1_high']:.1%}) of {row['n']:,}: "
        f"**{middle:+.1f} points** against {REFERENCE} ({low:+.1f} to {high:+.1f})"
    )


def kl_words(name: str, rows: Mapping[str, Row]) -> str:
    """The mean KL divergence to fp32, and qint8's beside it."""
    other = rows.get(INT8)
    beside = "" if other is None or other["mean_kl_nats"] is None else f" ({INT8}: {other['mean_kl_nats']:.3g})"
    return f"KL {rows[name]['mean_kl_nats']:.3g} nats{beside}"


def size_words(name: str, sizes: Mapping[str, Row]) -> str:
    """What a variant takes on disk, beside fp32 and qint8."""
    if name not in sizes:
        return "size not measured yet"
    own = disk_bytes(sizes[name])
    beside = [
        f"{own / disk_bytes(sizes[other]):.2f} of {other}'s" for other in (REFERENCE, INT8) if other in sizes
    ]
    torchs = ""
    if own < 0.95 * sizes[name]["disk_bytes"]:
        larger = units.bytes_words(sizes[name]["disk_bytes"], units.MB)
        torchs = f" (as exported; torch's own file unpacks float16 and takes {larger})"
    on_disk = f"**{units.bytes_words(own, units.MB)}** on disk{torchs}"
    return on_disk + (f": {', '.join(beside)}" if beside else "")


def disk_bytes(row: Row) -> int:
    """What a variant takes on disk: the smaller of torch's own file and the exported one, as in the budget."""
    return min(row["disk_bytes"], row.get("exported_bytes") or row["disk_bytes"])


def speed_words(name: str, speed: Mapping[str, Row]) -> str:
    """How long a picture takes, beside fp32 and qint8. speed: latency rows of one shape, by variant."""
    row, reference = speed.get(name), speed.get(REFERENCE)
    if row is None or reference is None:
        return "speed not measured yet"
    if row.get("is_noisy") or reference.get("is_noisy"):
        return "the machine was too noisy to tell the speed"
    beside = [_times(row, speed[other]) for other in (REFERENCE, INT8) if other in speed]
    return f"**{units.seconds_words(row['median_s'])}** a picture: {', '.join(beside)}"


def bfloat16_here(features: Iterable[str], speed: Mapping[str, Row]) -> str:
    """Whether this CPU has the instructions for bfloat16, and whether it is fast. speed: as for speed_words, of
    this machine; empty where it was not timed here."""
    there = [name for name in BFLOAT16_INSTRUCTIONS if name in features]
    has = "This CPU has " + (f"instructions for it ({', '.join(there)})" if there else "no instructions for it")
    row, reference = speed.get("bfloat16"), speed.get(REFERENCE)
    if row is None or reference is None or row.get("is_noisy") or reference.get("is_noisy"):
        return f"{has}, so it should be {'fast' if there else 'slow'} here; no timing says so yet."
    if _overlap(row, reference):
        return f"{has}; here it is as fast as {REFERENCE}."
    is_fast = row["median_s"] < reference["median_s"]
    expected = ", and" if is_fast == bool(there) else ", and yet"
    return f"{has}{expected} it is {'faster' if is_fast else 'slower'} than {REFERENCE} here."


def _times(row: Row, other: Row) -> str:
    """A variant's speed as a multiple of another's, where the quartiles tell them apart."""
    name = other["variant"]
    if _overlap(row, other):
        return f"no clear difference from {name}"
    return f"{other['median_s'] / row['median_s']:.2f} × {name}'s speed"


def _overlap(row: Row, other: Row) -> bool:
    """Whether the quartiles of two latency rows meet."""
    return bool(row["q1_s"] <= other["q3_s"] and other["q1_s"] <= row["q3_s"])


def _points(share: float) -> str:
    text = f"{100 * share:.1f}"
    return "0.0" if text == "-0.0" else text


# How a calibrated variant was found


def parameters(found: Mapping[str, Any]) -> list[str]:
    """What a calibration found, one line of Markdown for each thing but the layers left in float. found: a
    fit's parameters."""
    titles = {
        "alpha": "Smoothed behind the LayerNorms, alpha",
        "activations": "What comes in is rounded to",
        "weights": "Weights",
        "proj": "Attention's output (proj)",
        "fc2": "Behind the GELU (fc2)",
        "layer scales": "Layer scales",
        "biases": "Biases",
    }
    known = {name: titles.get(name, name) for name in (*titles, *found) if name not in (LEFT, AS)}
    return [f"{title}: **{found[name]}**" for name, title in known.items() if name in found]


def left_in_float(found: Mapping[str, Any], model: str) -> str:
    """Which layers a mix leaves in float, those of a kind together; nothing where none was to be left. found: a
    fit's parameters."""
    if LEFT not in found:
        return ""
    names, of_model = found[LEFT], layers.of(catalog.model(model))
    if not names:
        return f"All {len(of_model)} layers are in int8: none has to stay in float."
    blocks: dict[str, list[int]] = {}
    for layer in of_model:
        if layer.name in names and layer.block is not None:
            blocks.setdefault(layer.kind, []).append(layer.block)
    parts = ["the head"] if HEAD in names else []
    parts += [f"{kind} of {_blocks(numbers)}" for kind, numbers in blocks.items()]
    stay = "layer stays" if len(names) == 1 else "layers stay"
    return f"**{len(names)} of {len(of_model)}** {stay} in {found[AS]}: {'; '.join(parts)}."


def outcome(trail: Sequence[Row], limit: float | None) -> str:
    """What the candidate that was taken is worth on the judging pictures, and what it costs. trail: as
    calibrate.carry_out gives it; limit: the points that may be lost, where there is a limit."""
    taken = chosen(trail)
    if taken is None:
        return "No candidate was kept."
    allowed = "" if limit is None else f", where {limit:g} may be"
    lost = f"{taken['points_lost']:.2f}"
    points = f"**{lost} points** are lost" if taken["points_lost"] > 0 else "**no points** are lost"
    points += f" (95% sure: at most {max(taken['points_lost_high'], 0.0):.2f})"
    most = max(trail, key=lambda row: row["in_float"])
    beside = (
        f", where they would take {units.bytes_words(most['weight_bytes'], units.MB)} with {most['in_float']} "
        "layers in float"
        if most["in_float"] > taken["in_float"]
        else ""
    )
    return (
        f"On {taken['n']:,} training pictures that judge, {points}{allowed}; of the first answers "
        f"{taken['broken']:,} broken and {taken['fixed']:,} fixed; KL {taken['mean_kl_nats']:.3g} nats. The "
        "Linear weights take "
        f"**{units.bytes_words(taken['weight_bytes'], units.MB)}** (computed){beside}."
    )


def chosen(trail: Sequence[Row]) -> Row | None:
    """The candidate that was taken: the last one kept."""
    return next((row for row in reversed(trail) if row["kept"]), None)


def _blocks(numbers: Sequence[int]) -> str:
    """ "blocks 0 to 3, 7 and 9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = []
    for run in runs:
        parts += [f"{run[0]} to {run[-1]}"] if len(run) > 2 else [str(number) for number in run]
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"{'block' if len(numbers) == 1 else 'blocks'} {listed}"


# How many calibration pictures are enough

AS_GOOD = 1.5
"""A KL divergence of at most so many times the median of the largest number of pictures counts as as good."""


def study(rows: Sequence[Row]) -> str:
    """From how many calibration pictures on, more of them do not help. rows: as study.measure gives them."""
    by_count: dict[int, list[float]] = {}
    for row in rows:
        by_count.setdefault(row["pictures"], []).append(row["mean_kl_nats"])
    without = by_count.pop(0, None)
    counts = sorted(by_count)
    if not counts:
        return "Nothing is measured yet with calibration pictures."
    bound = AS_GOOD * statistics.median(by_count[counts[-1]])
    enough = None
    for count in reversed(counts):
        if max(by_count[count]) > bound:
            break
        enough = count
    told = "" if without is None else f" Without smoothing it is {without[0]:.2g}."
    if enough is None:
        last = by_count[counts[-1]]
        return (
            f"Not even {counts[-1]:,} pictures are enough for the seeds to agree: KL lies between "
            f"{min(last):.2g} and {max(last):.2g} nats.{told}"
        )
    good = [kl for count in counts if count >= enough for kl in by_count[count]]
    fewer = [kl for count in counts if count < enough for kl in by_count[count]]
    pictures = "1 picture" if enough == 1 else f"{enough:,} pictures"
    least = calibration.FEWEST
    caution = f" {least} are asked for at least: other models may need them." if enough < least else ""
    worse = f" With fewer it reaches {max(fewer):.2g}." if fewer else ""
    return (
        f"**From {pictures} on**, KL stays between {min(good):.2g} and {max(good):.2g} nats, whatever the seed."
        f"{worse}{told}{caution}"
    )
