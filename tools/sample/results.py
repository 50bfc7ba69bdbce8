"""Measures what the repository ships with the sample: accuracy, size and fewer bits of both models."""

import os
import tempfile

from vitquant import catalog, database, jobs, machine, runs, sample, shipped
from vitquant.measurements import AccuracyRequest, BitsRequest, SizeRequest
from vitquant.predictions import Series
from vitquant.variants import RECIPES, why_unavailable


def write() -> None:
    """Measure everything anew in a store of its own, and write results.json.gz and the record of digests."""
    variants = tuple(name for name in RECIPES if why_unavailable(name, machine.engine()) is None)
    models = [spec.name for spec in catalog.MODELS.values() if spec.home == "bundled"]
    shipped.results_file().unlink(missing_ok=True)
    sample.write_sums(shipped.results_file().parent)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VITQUANT_DATA"] = folder
        with database.opened() as db:
            series: list[Series] = []
            for model in models:
                request = AccuracyRequest(model, "bundled", variants, shipped.DATASET)
                for row in jobs.run_here(db, request):
                    print(f"{model} {row['variant']}: top-1 {row['top1']:.1%}, top-5 {row['top5']:.1%}")
                jobs.run_here(db, SizeRequest(model, "bundled", variants))
                jobs.run_here(db, BitsRequest(model, "bundled", shipped.DATASET))
                series += request.plan(db).series.values()
            measured = [run for kind in ("size", "bits") for run in runs.find(db, kind=kind, states=("done",))]
            content = shipped.pack(db, series, measured)
    shipped.results_file().write_bytes(content)
    sample.write_sums(shipped.results_file().parent)
    print(f"{shipped.results_file()}: {len(content):,} bytes")
