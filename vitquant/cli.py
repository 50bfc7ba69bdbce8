"""The command line: the same measurements as the pages, from a terminal.

Answers go to standard output (--json: for machines), all else to standard error. Exit status: 0 it worked,
1 it failed, 2 what was asked for or given cannot be used, 130 stopped by Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vitquant import bits, catalog, commands, data_commands, diagnosis, formats, paths, run_commands, variants
from vitquant.errors import Cancelled, InputError, VitquantError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        options = _parser().parse_args(arguments)
        os.environ.update(paths.threads_environment())  # torch reads it when it is imported
        options.command(options)
        sys.stdout.flush()
    except InputError as error:
        return _say(error, 2)
    except Cancelled as error:
        return _say(error, 130)
    except VitquantError as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        return _say("Stopped. What was measured is kept: the same command goes on from there.", 130)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, MemoryError) or "allocate memory" in str(error):  # torch's is a RuntimeError
            return _say("Memory ran out: take a smaller model, image size or batch.", 1)
        raise
    except BrokenPipeError:
        # Whoever read our output (`| head`) has gone; nobody is left to tell.
        sys.stderr.close()
        return 1
    return 0


def _say(sentence: object, status: int) -> int:
    print(f"vitquant: {sentence}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vitquant",
        description="What quantization does to a vision transformer: accuracy, speed, size.",
    )
    top = parser.add_subparsers(required=True, metavar="COMMAND")

    _json(_command(top, "models", commands.models_command, "the models there are"))
    _json(_command(top, "variants", commands.variants_command, "the variants a model can be turned into"))
    _json(_command(top, "datasets", commands.datasets_command, "the datasets, and whether they are here"))

    _data(top)

    prepare = _command(top, "prepare", commands.prepare_command, "lay out a downloaded dataset's archive")
    prepare.add_argument("dataset", metavar="DATASET", help="tiny-imagenet")
    prepare.add_argument("--archive", type=Path, required=True, help="the archive, as downloaded")

    predict = _command(top, "predict", commands.predict_command, "each variant's answer to pictures")
    predict.add_argument("files", nargs="*", type=Path, metavar="FILE", help="pictures")
    predict.add_argument("--dataset", help="take the picture from a dataset instead")
    predict.add_argument("--index", type=int, help="which of the dataset's pictures, in ImageFolder's order")
    predict.add_argument("--top", type=int, default=5, help="how many classes to show (5)")
    _subject(predict)
    _image_size(predict)
    _json(predict)

    benchmark = top.add_parser("benchmark", help="measure accuracy, latency, size, bits or profile")
    kinds = benchmark.add_subparsers(required=True, metavar="KIND")

    accuracy = _benchmark(kinds, "accuracy", commands.accuracy_command, "top-1 and top-5 on a dataset")
    accuracy.add_argument("--dataset", required=True, help=" or ".join(catalog.datasets()))
    accuracy.add_argument("--limit", type=int, help="only the first N pictures of the evaluation order")
    accuracy.add_argument(
        "--until-sure",
        action="store_true",
        help="each variant only until it is settled whether it differs from fp32",
    )
    _image_size(accuracy)
    accuracy.set_defaults(again=False)

    latency = _benchmark(kinds, "latency", commands.latency_command, "seconds a forward pass takes")
    latency.add_argument(
        "--shapes",
        help="BATCHxSIZE, … (1x70,1x518,2x518,4x518,8x518, the notebook's; for the samples 1x70,8x70)",
    )
    latency.add_argument("--threads", help="threads torch may use, one number or several: 1,2 (all cores)")
    latency.add_argument("--seconds", type=_seconds, default=10.0, help="least time given to each shape (10)")
    _again(latency)

    size = _benchmark(kinds, "size", commands.size_command, "bytes on disk and in memory")
    size_as = size.add_mutually_exclusive_group()
    size_as.add_argument("--tree", action="store_true", help="where they are: every block, layer and tensor")
    size_as.add_argument(
        "--layers",
        action="store_true",
        help="every Linear layer: type, scheme, error; two variants side by side",
    )
    size_as.add_argument(
        "--riddle", action="store_true", help="beside the notebook's table, and what that left out"
    )
    _again(size)

    bits_ = _command(kinds, "bits", commands.bits_command, "weights at 8 to 2 bits, simulated")
    _model(bits_)
    _first_pictures(bits_, bits.USUAL_PICTURES)
    _json(bits_)
    _again(bits_)

    profile = _benchmark(kinds, "profile", commands.profile_command, "operators by time and memory")
    profile.add_argument("--shape", default="1x70", help="BATCHxSIZE (1x70)")
    profile.add_argument("--threads", type=int, help="threads torch may use (all cores)")
    profile.add_argument("--stacks", action="store_true", help="by call stack, as in the notebook")
    _again(profile)

    diagnose = _command(top, "diagnose", commands.diagnose_command, "which layers int8 breaks, and why")
    _model(diagnose)
    [usual] = diagnosis.USUAL_VARIANTS
    diagnose.add_argument("--variant", default=usual, help=f"one that rounds activations to int8 ({usual})")
    _first_pictures(diagnose, diagnosis.USUAL_PICTURES)
    _json(diagnose)
    _again(diagnose)

    calibrate = _command(
        top, "calibrate", commands.calibrate_command, "find what the calibrated variants need, and say how"
    )
    _model(calibrate)
    calibrate.add_argument("--dataset", required=True, help=" or ".join(catalog.datasets()))
    calibrate.add_argument(
        "--variants",
        help=f"comma-separated ({','.join(variants.calibrated())}); with settings: qint8_mixed:limit=1, "
        "qint8_smooth:pictures=16:seed=3",
    )
    calibrate.add_argument(
        "--study", action="store_true", help="instead: what smoothing is worth by the number of pictures"
    )
    _image_size(calibrate)
    _json(calibrate)
    calibrate.set_defaults(again=False)

    export = _command(top, "export", commands.export_command, "a variant as files that work without vitquant")
    _model(export)
    export.add_argument("--variant", help="(fp32)")
    export.add_argument("--format", default="program", help=f"{', '.join(formats.FORMATS)} (program)")
    export.add_argument("--out", type=Path, required=True, help="a new folder, or FILE.zip")
    export.add_argument(
        "--dataset", help="whose pictures it is put to the test on (the model's own, or sample)"
    )
    export.add_argument("--pictures", type=int, help="on how many (256 for the samples, 64 for larger models)")
    _image_size(export)
    _json(export)
    _again(export)

    budget = _command(top, "budget", commands.budget_command, "which models and variants fit a device")
    budget.add_argument("--disk", metavar="64MB", help="MB is 10^6 bytes, MiB 2^20 (no limit)")
    budget.add_argument("--memory", metavar="200MB", help="what the model adds at its peak (no limit)")
    budget.add_argument("--latency", metavar="150ms", help="for one picture (no limit)")
    budget.add_argument("--dataset", help="whose accuracy ranks them (the one measured last)")
    budget.add_argument("--image-size", type=int, help="in pixels (the one measured last)")
    _json(budget)

    listing = top.add_parser("runs", help="the stored runs")
    listing.set_defaults(command=run_commands.list_command)
    _json(listing)
    actions = listing.add_subparsers(metavar="ACTION")
    _json(_command(actions, "list", run_commands.list_command, "all of them, the newest first"))
    show = _command(actions, "show", run_commands.show_command, "one run, with its result and environment")
    show.add_argument("id", type=int)
    _json(show)
    go_on = _command(actions, "continue", run_commands.continue_command, "go on with one that stopped half-way")
    go_on.add_argument("id", type=int)
    _json(go_on)
    two = _command(actions, "compare", run_commands.compare_command, "two runs side by side")
    two.add_argument("first", type=int)
    two.add_argument("second", type=int)
    _json(two)
    trace = _command(actions, "trace", run_commands.trace_command, "a profile's traces, which Perfetto opens")
    trace.add_argument("id", type=int)
    trace.add_argument("--out", type=Path, default=Path(), metavar="FOLDER", help="where to (here)")
    delete = _command(actions, "delete", run_commands.delete_command, "forget a run")
    delete.add_argument("id", type=int)

    report = _command(top, "report", commands.report_command, "everything measured of a model, in one file")
    report.add_argument("--out", type=Path, required=True, metavar="FILE", help="….html, ….json or ….csv")
    report.add_argument("--model", help="(the one measured last)")
    report.add_argument("--weights", help="(those measured last)")
    report.add_argument("--dataset", help="(the one measured last)")
    report.add_argument("--image-size", type=int, help="(the one measured last)")
    return parser


def _data(top: Any) -> None:
    """The commands that bring data and models here, and remove them."""
    _json(_command(top, "here", data_commands.here_command, "what is here and what is not, with sources"))

    fetch = _command(top, "fetch", data_commands.fetch_command, "download a dataset or a model's checkpoints")
    fetch.add_argument("name", metavar="NAME", help="tiny-imagenet, or one of `models`")
    fetch.add_argument("--mirror", metavar="URL", help="a base address instead of the original one")
    fetch.add_argument(
        "--from",
        dest="files",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="the archive, or the two checkpoints or their folder, brought from a machine with a network",
    )
    _json(fetch)
    verify = _command(top, "verify", data_commands.verify_command, "whether what is here is whole")
    verify.add_argument("name", metavar="NAME")
    _json(verify)
    remove = _command(top, "remove", data_commands.remove_command, "remove a dataset or a model's weights")
    remove.add_argument("name", metavar="NAME", help="figures measured with it stay")

    adding = top.add_parser("add", help="add pictures or a model of your own")
    kinds = adding.add_subparsers(required=True, metavar="KIND")
    pictures = _command(kinds, "pictures", data_commands.add_pictures_command, "a folder or .zip of pictures")
    pictures.add_argument("name", metavar="NAME", help="what to call the dataset")
    pictures.add_argument("path", type=Path, metavar="PATH")
    pictures.add_argument("--labels", type=Path, metavar="CSV", help="two columns: the file and its class")
    pictures.add_argument(
        "--class",
        dest="classes",
        action="append",
        metavar="FOLDER=CLASS",
        help="which class a folder's name means, by index, wnid or words; may be given several times",
    )
    pictures.add_argument("--title", help="what pages call it (its name)")
    pictures.add_argument("--copy", action="store_true", help="copy them; else they stay where they are")
    pictures.add_argument("--look", action="store_true", help="only look through them and report")
    _json(pictures)
    model = _command(kinds, "model", data_commands.add_model_command, "a DINOv2 or one of timm's ViTs")
    model.add_argument("name", metavar="NAME", help="what to call the model")
    model.add_argument("files", type=Path, nargs="+", metavar="FILE", help="backbone and head, or one file")
    model.add_argument(
        "--timm", metavar="NAME", help="which of timm's ViTs it is, such as vit_base_patch16_224 (a DINOv2)"
    )
    model.add_argument("--title", help="what pages call it")
    _json(model)

    heads = top.add_parser("head", help="train a linear head on a frozen backbone")
    actions = heads.add_subparsers(required=True, metavar="ACTION")
    train = _command(actions, "train", data_commands.head_train_command, "fit the classifier of a backbone")
    train.add_argument("name", metavar="NAME", help="what to call the new model")
    train.add_argument("--dataset", required=True, help="whose training pictures it is fitted to")
    _model(train)
    train.add_argument("--backbone", type=Path, metavar="FILE", help="a backbone's checkpoint, of this --model")
    train.add_argument("--pictures", type=int, help="at most so many training pictures (all)")
    train.add_argument("--seed", type=int, default=0, help="of the pictures held out (0)")
    _image_size(train)
    _json(train)

    _json(_command(top, "settings", data_commands.settings_command, "what is set, and where"))
    space = _command(top, "space", data_commands.space_command, "what takes space on the disk")
    space.add_argument("--remove", metavar="KIND/KEY", help="remove one of those listed")
    _json(space)


def _seconds(text: str) -> float:
    """argparse's type for a time: a number of seconds that ends."""
    seconds = float(text)
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text} seconds cannot be: take 0 to 3600")
    return seconds


def _command(
    place: Any, name: str, function: Callable[[argparse.Namespace], None], help: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = place.add_parser(name, help=help, description=help)
    parser.set_defaults(command=function)
    return parser


def _benchmark(
    kinds: Any, name: str, function: Callable[[argparse.Namespace], None], help: str
) -> argparse.ArgumentParser:
    parser = _command(kinds, name, function, help)
    _subject(parser)
    _json(parser)
    return parser


def _subject(parser: argparse.ArgumentParser) -> None:
    _model(parser)
    parser.add_argument("--variants", help=f"comma-separated ({','.join(commands.NOTEBOOK_VARIANTS)})")


def _model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default=catalog.DEFAULT_MODEL, help=f"({catalog.DEFAULT_MODEL})")
    parser.add_argument(
        "--weights",
        help="random, a folder, or the model's own: hub (Torch Hub's, downloaded at need) or bundled (the "
        "samples', shipped with vitquant); its own unless said otherwise",
    )


def _first_pictures(parser: argparse.ArgumentParser, usual: int) -> None:
    parser.add_argument("--dataset", required=True, help=" or ".join(catalog.datasets()))
    parser.add_argument(
        "--pictures",
        type=int,
        default=usual,
        help=f"the first N pictures of the evaluation order ({usual})",
    )
    _image_size(parser)


def _image_size(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--image-size",
        type=int,
        help="in pixels, a multiple of the model's patch size (70; of one of timm's, what it was trained at)",
    )


def _again(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--again", action="store_true", help="measure again, beside the stored run")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")
