"""What the commands about data and models answer, as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from vitquant.tables import table
from vitquant.units import MB, bytes_words

Row = Mapping[str, Any]


def items(rows: Sequence[Row]) -> str:
    body = []
    for row in rows:
        about = "about " if row["is_about"] else ""
        size = f"{about}{bytes_words(row['size_bytes'], MB)}" if row["size_bytes"] else "-"
        disk = bytes_words(row["disk_bytes"], MB) if row["disk_bytes"] else "-"
        body.append([row["name"], row["kind"], row["state"], size, disk])
    listing = table(["name", "what", "here", "to fetch", "on disk"], body)
    sources = [f"  {row['name']}: {' and '.join(row['sources'])}" for row in rows]
    licences = dict.fromkeys(row["licence"] for row in rows)
    names = {one: dict.fromkeys(r["name"] for r in rows if r["licence"] == one) for one in licences}
    said = [f"{', '.join(of)}: {one}." for one, of in names.items()]
    digests = [[what, digest] for row in rows for what, digest in row["digests"]]
    problems = [f"{row['name']}: {row['problem']}" for row in rows if row["problem"]]
    parts = [
        listing,
        "Where they come from, or lie\n" + "\n".join(sources),
        "Licences\n" + "\n".join(f"  {line}" for line in said),
    ]
    if digests:
        parts.append(table(["file", "sha256"], digests))
    return "\n\n".join([*parts, *problems])


def fetched(rows: Sequence[Row]) -> str:
    listing = table(
        ["file", "bytes", "sha256", "digest", "from"],
        [[r["file"], f"{r['bytes']:,}", r["sha256"], r["digest"], r["from"]] for r in rows],
    )
    laid_out = [
        f"{r['pictures']:,} pictures are here, ready to be measured on." for r in rows if "pictures" in r
    ]
    return "\n\n".join([listing, *laid_out])


def verified(rows: Sequence[Row]) -> str:
    return "\n".join(f"{row['what']}: {row['is']} (sha256 {row['sha256']})." for row in rows)


def pictures(rows: Sequence[Row]) -> str:
    """The report of a folder that was looked through."""
    [report] = rows
    lines = [str(report["summary"]), *_not_used(report)]
    if report["problem"] and report["problem"] != report["summary"]:
        lines.append(str(report["problem"]))
    lines.append(f"Added as {report['name']}." if report["added"] else "Nothing was added.")
    return "\n".join(lines)


def not_used(rows: Sequence[Row]) -> str:
    """What of a folder could not be used, and why, where nothing was added."""
    [report] = rows
    return "\n".join(_not_used(report))


def _not_used(report: Row) -> list[str]:
    lines = []
    for name, candidates in report["ambiguous"].items():
        which = " or ".join(f"{one['index']} ({one['words']})" for one in candidates)
        lines.append(f"  {name!r} may be class {which}: left out unless --class {name}=INDEX says which")
    for name, near in report["unmatched"].items():
        hint = f"; near: {', '.join(near)}" if near else ""
        lines.append(f"  {name!r} is no class of ImageNet's: left out (--class {name}=INDEX names one){hint}")
    for why, group in (report["unusable"] | report["rows"]).items():
        lines.append(f"  {group['count']:,} {why}: {_some(group)}")
    if report["duplicates"]["count"]:
        twice = report["duplicates"]
        lines.append(f"  {twice['count']:,} pictures have the content of another one: {_some(twice)}")
    return lines


def _some(group: Mapping[str, Any]) -> str:
    """The examples of a group, and whether there are more."""
    more = ", …" if group["count"] > len(group["examples"]) else ""
    return f"{', '.join(group['examples'])}{more}"


def model(rows: Sequence[Row]) -> str:
    [row] = rows
    files = " and ".join(row["files"])
    said = f"Added {row['model']}: {row['title']}, {row['parameters']:,} parameters, from {files}."
    if row["has_head"]:
        return said
    return (
        f"{said} It has no head of ImageNet's 1000 classes: train one for your pictures with `head train NAME "
        f"--model {row['model']} --dataset D`."
    )


def settings(found: Row) -> str:
    there = "" if found["is_there"] else " (not there yet)"
    body = [
        [
            row["setting"],
            row["usual"] if row["value"] is None else row["value"],
            {"usual": "not set", "file": "the file", "environment": row["variable"]}[row["said_by"]],
            row["meaning"],
        ]
        for row in found["settings"]
    ]
    listing = table(["setting", "what holds", "said by", "what it is"], body)
    return f"Settings are lines in {found['file']}{there}, overridden by the environment.\n\n{listing}"


def space(found: Row) -> str:
    body = [[f"{p['kind']}/{p['key']}", bytes_words(p["bytes"], MB), p["title"]] for p in found["pieces"]]
    listing = table(["to remove", "takes", "what it is"], body) if body else "Nothing else."
    return f"The store of results takes {bytes_words(found['store_bytes'], MB)}.\n\n{listing}"
