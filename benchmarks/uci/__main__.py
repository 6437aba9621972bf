"""The field's tables: data × splits × methods of a configuration, resumable, beside published figures.

``python -m benchmarks.uci benchmarks/uci/configs/quick.toml [--jobs 2] [--retry] [--only-tables]``

Each cell's result is a file under ``results/<configuration>/`` of the user's cache (or ``--out``); a run that goes on
does what is left.  Tables with standard errors over splits are printed and written there as Markdown, with a picture of
every data set, and ``--json`` writes all rows.  On a cluster: ``--dask tcp://…`` sends cells to a Dask scheduler.
"""

import argparse
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import joblib

import temperax as tx
from benchmarks import harness
from benchmarks.uci import cells, tables


def main() -> None:
    """Run what is left of a configuration and show its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="\n".join(__doc__.splitlines()[2:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, help="a file such as benchmarks/uci/configs/gal.toml")
    parser.add_argument("--jobs", type=int, default=1, help="cells at a time")
    parser.add_argument("--splits", type=int, help="of each data set the first so many alone")
    parser.add_argument("--data", nargs="+", help="these data sets alone")
    parser.add_argument("--methods", nargs="+", help="these methods alone")
    parser.add_argument("--retry", action="store_true", help="run cells again that failed")
    parser.add_argument("--only-tables", action="store_true", help="run nothing")
    parser.add_argument("--dask", help="address of a Dask scheduler that takes the cells")
    parser.add_argument("--out", type=Path, help="where results are kept")
    parser.add_argument("--json", type=Path, help="also write all rows here, and take those that are there for done")
    options = parser.parse_args()
    try:
        chosen = cells.read_config(options.config)
    except (OSError, ValueError, KeyError) as error:
        parser.error(f"{options.config}: {error}")
    folder = options.out or tx.datasets.cache_folder() / "results" / options.config.stem
    mine = [
        cell
        for cell in chosen
        if (options.splits is None or cell.split < options.splits)
        and (options.data is None or cell.data in options.data)
        and (options.methods is None or cell.label in options.methods)
    ]
    if options.json and options.json.exists():
        cells.restore(json.loads(options.json.read_text())["rows"], folder)
    if not options.only_tables:
        with _backend(options.dask):
            cells.run_all(mine, folder, None if options.dask else options.jobs, retry=options.retry)
    rows = cells.collect(mine, folder)
    protocol = chosen[0].protocol
    text = tables.markdown(rows, protocol)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text(text)
    tables.pictures(rows, folder)
    print(text)
    # Of all cells that have a result, whichever were asked for now.
    kept = [row for row in cells.collect(chosen, folder) if row["state"] != "not run"]
    goals = tables.goals(kept, protocol)
    for goal in goals:
        print(harness.in_words(goal))
    print(f"tables and pictures are in {folder}")
    harness.write(kept, goals, options.json)


def _backend(address: str | None) -> Any:
    """Where cells run: joblib's own processes, or a Dask cluster."""
    if address is None:
        return nullcontext()
    from dask.distributed import Client

    Client(address)
    return joblib.parallel_config(backend="dask")


if __name__ == "__main__":
    main()
