"""Measures what the repository ships with the sample: accuracy, size, bits and diagnoses of both models."""

import os
import tempfile

from vitquant import catalog, database, fits, jobs, machine, runs, sample, shipped
from vitquant.measurements import AccuracyRequest, BitsRequest, DiagnosisRequest, SizeRequest, StudyRequest
from vitquant.predictions import Series
from vitquant.variants import RECIPES, why_unavailable

KINDS = ("size", "bits", "diagnosis", "study")
"""The runs that are shipped, besides the accuracy's answers. Times are not: they are their machine's."""

DIAGNOSED = ("qint8",)


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
                jobs.run_here(db, StudyRequest(model, "bundled", shipped.DATASET))
                for variant in DIAGNOSED:
                    jobs.run_here(db, DiagnosisRequest(model, "bundled", shipped.DATASET, variants=(variant,)))
                series += request.plan(db).series.values()
            measured = [run for kind in KINDS for run in runs.find(db, kind=kind, states=("done",))]
            content = shipped.pack(db, series, measured, fits.all_of(db))
    shipped.results_file().write_bytes(content)
    sample.write_sums(shipped.results_file().parent)
    print(f"{shipped.results_file()}: {len(content):,} bytes")
