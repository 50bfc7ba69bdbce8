"""One's own model: a DINOv2 or one of timm's ViTs from files, or a backbone whose head is trained here."""

import sqlite3

import streamlit as st

from components import queue, readonly
from vitquant import catalog, datasets, paths, runs
from vitquant.errands import ModelRequest
from vitquant.measurements import HeadRequest


def show(db: sqlite3.Connection) -> None:
    _added(db)
    if readonly.is_on():
        return
    st.subheader("Add a model", anchor=False)
    st.markdown(
        "**DINOv2**, any of the eight `_lc` models, or **one of timm's ViTs** by its name there. The "
        "backbone's checkpoint and the head's, or one file with both: `.safetensors`, or tensors as torch "
        "saves them, on the machine that the dashboard runs on, where they stay. One of timm's without a head "
        "of ImageNet's 1000 classes is a backbone, to train a head on. Files that could run code are refused."
    )
    left, right = st.columns(2)
    name = left.text_input("What to call it", key="model:name", placeholder="my-vit").strip()
    timm = right.text_input(
        "timm's name for it (leave it empty for a DINOv2)",
        key="model:timm",
        placeholder="vit_base_patch16_224.augreg2_in21k_ft_in1k",
        help="With the tag behind the dot, the model gets its pictures normalised as those weights had them.",
    ).strip()
    example = "/home/me/backbone.pth\n/home/me/head.pth"
    said = st.text_area("Files, one a line", key="model:files", placeholder=example)
    files = tuple(str(paths.as_said(line.strip())) for line in said.splitlines() if line.strip())
    st.button(
        "Add it",
        type="primary",
        icon=":material/add:",
        disabled=not (name and files),
        on_click=queue.start,
        args=(ModelRequest(name, files=files, timm=timm or None),),
    )
    _head()


def _added(db: sqlite3.Connection) -> None:
    own = [spec for spec in catalog.models(backbones=True).values() if spec.home == "own"]
    if not own:
        return
    st.subheader("Added", anchor=False)
    trained = runs.find(db, kind=HeadRequest.kind, states=("done",))
    heads = {run.request["name"]: run.result[0] for run in reversed(trained) if run.result}
    for spec in own:
        files = ", ".join(f"`{file}`" for file in spec.files)
        st.markdown(f"- **{spec.title}** (`{spec.name}`), from {files}")
        if not spec.has_head:
            st.caption("A backbone alone, which gives no answers: train a head on it below.")
        head = heads.get(spec.name)
        if head and head["head_file"] in spec.files:
            judged = "" if head["held_out"] else ", by which its strength was chosen,"
            st.caption(
                f"Its head knows {head['classes']:,} classes, from {head['n_train']:,} pictures of "
                f"{head['dataset']}. Of {head['n_heldout']:,} others{judged} it has {head['top1']:.1%} "
                f"right (95% interval {head['top1_low']:.1%} to {head['top1_high']:.1%})."
            )
    st.page_link("pages/benchmark.py", label="Choose it under Model, on any page", icon=":material/speed:")


def _head() -> None:
    st.subheader("Train a head", anchor=False)
    st.markdown(
        "A backbone alone recognises nothing. On your pictures a linear classifier can be fitted to what it "
        "sees: minutes for some thousands of them, in the background (shown on the Benchmark page, too)."
    )
    known = list(catalog.models(backbones=True).values())
    here = [spec for spec in catalog.datasets().values() if datasets.is_here(spec.name)]
    labelled = [spec.name for spec in here if spec.labelled]
    left, right = st.columns(2)
    model = left.selectbox("Backbone of", [spec.name for spec in known], key="head:model")
    dataset = right.selectbox("Pictures", labelled, key="head:dataset")
    backbone = left.text_input(
        "Backbone's checkpoint, if it is another file", key="head:backbone", placeholder="…_pretrain.pth"
    ).strip()
    name = right.text_input("What to call the new model", key="head:name", placeholder="my-classifier").strip()
    pictures = left.number_input("At most so many pictures", 50, 10**6, 4_000, step=500, key="head:pictures")
    if not (name and model and dataset):
        st.caption("Choose a name for the new model.")
        return
    st.button(
        "Train the head",
        type="primary",
        icon=":material/model_training:",
        on_click=queue.start,
        args=(
            HeadRequest(
                model=model,
                weights="",
                dataset=dataset,
                name=name,
                backbone=backbone or None,
                pictures=int(pictures),
                image_size=catalog.model(model).usual_image_size,
            ),
        ),
    )
    queue.show()
