"""An accuracy run killed with -9 again and again, against the same run left alone.

    python -m benchmarks.kills --archive ../shared/tiny-imagenet-200-val.zip

Both run over real pictures with random weights, in stores of their own. The disturbed one is killed at random
moments and continued each time with `runs continue`. Every picture that is about to be stored is counted by a
trigger in the database, which sees also what is stored already: so a picture measured again cannot hide. Ends
with status 1 where the final rows differ or a stored picture was measured again.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from vitquant import database, datasets, paths, runs

MODEL = "dinov2_vits14_reg_lc"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--most-seconds", type=float, default=5.0, help="a kill comes before so much time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VITQUANT_DATA"] = str(Path(folder) / "left-alone")
        datasets.prepare_tiny_imagenet(options.archive, None)
        command = ["benchmark", "accuracy", "--model", MODEL, "--weights", "random", "--variants", "fp32,qint8"]
        command += ["--dataset", "tiny-imagenet", "--limit", str(options.pictures), "--json"]
        expected = _rows(command)

        disturbed = Path(folder) / "disturbed"
        disturbed.mkdir()
        (disturbed / "tiny-imagenet").symlink_to(paths.data_dir() / "tiny-imagenet")
        os.environ["VITQUANT_DATA"] = str(disturbed)
        _count_what_is_stored()
        done, begun = _kill_again_and_again(
            command, options.kills, options.most_seconds, random.Random(options.seed)
        )
        found = _rows(command)  # goes on with the run that was left
        with database.opened() as db:
            [stored] = db.execute("SELECT count(*) FROM predictions").fetchone()
            [attempts] = db.execute("SELECT count(*) FROM attempts").fetchone()
    same = found == expected
    print(f"kills: {done}, of them while pictures were being measured: {begun}")
    print(f"answers stored: {stored:,}; stored a second time: {attempts - stored}")
    print(f"rows as those of the run left alone: {'yes' if same else 'NO'}")
    return 0 if same and attempts == stored else 1


def _rows(command: list[str]) -> Any:
    answer = subprocess.run(
        [sys.executable, "-m", "vitquant", *command], cwd=paths.PROJECT_ROOT, capture_output=True, check=True
    )
    return json.loads(answer.stdout)


def _count_what_is_stored() -> None:
    """A trigger before each insert fires also where the insert is then ignored because the answer is there."""
    with database.opened() as db:
        db.execute("CREATE TABLE attempts (series_id INTEGER, position INTEGER)")
        db.execute(
            "CREATE TRIGGER counted BEFORE INSERT ON predictions "
            "BEGIN INSERT INTO attempts VALUES (NEW.series_id, NEW.position); END"
        )


def _kill_again_and_again(
    command: list[str], kills: int, most_s: float, chance: random.Random
) -> tuple[int, int]:
    """Returns how many kills there were, and how many of them came while pictures were being measured."""
    done = begun = 0
    for _ in range(kills):
        process = subprocess.Popen(
            [sys.executable, "-m", "vitquant", *command],
            cwd=paths.PROJECT_ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            process.wait(chance.uniform(0.5, most_s))
            break  # it ended before the next kill: no more to disturb
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
        with database.opened() as db:
            found = runs.find(db)
            begun += bool(found) and found[0].state == "running" and found[0].total > 0
            runs.mark_interrupted(db)
            if found and found[0].total and found[0].state != "done":
                command = ["runs", "continue", str(found[0].id), "--json"]
    return done, begun


if __name__ == "__main__":
    sys.exit(main())
