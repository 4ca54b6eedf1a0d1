"""Result files, table and figure of `time_to_accuracy.py`."""

import json

import numpy as np

METRICS = {
    "force_mae": "forces, MAE, meV/Å",
    "force_rmse": "forces, RMSE, meV/Å",
    "energy_mae": "energies, MAE, meV/atom",
    "energy_rmse": "energies, RMSE, meV/atom",
}
"""Names of the errors in the result files, with their titles."""


def file_of(folder, side):
    """Returns the path of the results of a side."""
    return folder / f"{side}.json"


def finished_result(folder, side, settings):
    """Returns the results of a finished side, None if it has to be trained.

    Raises:
        SystemExit: the results were made with other settings.
    """
    path = file_of(folder, side)
    if not path.exists():
        return None
    result = json.loads(path.read_text())
    # JSON has no tuples.
    settings = json.loads(json.dumps(settings))
    if result["settings"] != settings:
        stored = result["settings"]
        names = sorted(stored.keys() | settings.keys())
        changed = [n for n in names if stored.get(n) != settings.get(n)]
        raise SystemExit(
            f"{path} was made with other settings ({', '.join(changed)}): delete it to "
            "train this side again, or choose another folder with --out."
        )
    return result if "test" in result else None


def read_results(folder):
    """Returns the results of all sides in a folder, also of unfinished ones.

    Raises:
        SystemExit: there are none, or they were made with different data or splits.
    """
    results = [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))]
    results = [r for r in results if r.get("points")]
    if not results:
        raise SystemExit(f"{folder} has no results: train some sides first.")
    shared = ("data", "split", "cutoff", "size")
    if any(
        r["settings"][k] != results[0]["settings"][k] for r in results for k in shared
    ):
        raise SystemExit(
            f"{folder} has results of different data, splits or models: move those "
            "that do not belong together to other folders."
        )
    return {r["side"]: r for r in results}


def time_to(points, metric, target):
    """Returns the minutes after which an error is at most a target.

    Errors between two points are interpolated linearly. None if the target is not
    reached; the time of the first point if that is below it.
    """
    before = None
    for point in points:
        if point[metric] <= target:
            if before is None:
                return point["minutes"]
            fraction = (before[metric] - target) / (before[metric] - point[metric])
            return before["minutes"] + fraction * (point["minutes"] - before["minutes"])
        before = point
    return None


def targets(results):
    """Returns the peer with the smaller error at its end, and this error, by metric."""
    peers = {k: r for k, r in results.items() if not k.startswith("bench")}
    return {
        metric: min((r["points"][-1][metric], name) for name, r in peers.items())
        for metric in METRICS
        if peers
    }


def print_tables(results):
    """Prints the errors of all sides at their ends, and the times to the targets."""
    print(
        "| side | minutes | epochs | steps | compilation, s | s per step | peak, MiB ",
        end="",
    )
    print("| validation: E MAE | E RMSE | F MAE | F RMSE ", end="")
    print("| test: E MAE | E RMSE | F MAE | F RMSE |")
    print("|---|" + "---:|" * 14)
    names = ("energy_mae", "energy_rmse", "force_mae", "force_rmse")
    for side, result in results.items():
        last, fit = result["points"][-1], result["fit"]
        cells = [side, f"{last['minutes']:.1f}", result["epochs"], last["steps"]]
        cells += [f"{fit['first_s']:.1f}", f"{fit['step_s']:.3f}"]
        cells += [f"{last['peak_mib']:.0f}"]
        for values in (last, result.get("test", {})):
            cells += [f"{values[n]:.2f}" if n in values else "" for n in names]
        print("| " + " | ".join(map(str, cells)) + " |")
    print()
    print("| error | target | of | " + " | ".join(results) + " |")
    print("|---|---:|---|" + "---:|" * len(results))
    for metric, (target, peer) in targets(results).items():
        end = results[peer]["points"][-1]["minutes"]
        cells = [METRICS[metric], f"{target:.2f}", f"{peer} at {end:.1f} min"]
        for result in results.values():
            minutes = time_to(result["points"], metric, target)
            cells.append("not reached" if minutes is None else f"{minutes:.1f} min")
        print("| " + " | ".join(cells) + " |", flush=True)


def plot(results, path):
    """Draws the errors of all sides against the minutes."""
    from bench.report.style import COLORS, legend_below
    from matplotlib.figure import Figure

    figure = Figure((9, 4), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, metric in zip(panels, ("force_mae", "energy_mae"), strict=True):
        for i, (side, result) in enumerate(results.items()):
            minutes = [p["minutes"] for p in result["points"]]
            values = [p[metric] for p in result["points"]]
            color = COLORS[i % len(COLORS)]
            axes.plot(minutes, values, "o-", ms=3, color=color, label=side)
        axes.set_yscale("log")
        axes.set_xlabel("processor time of training, minutes")
        axes.set_ylabel(METRICS[metric])
        axes.set_xlim(left=0)
        ends = np.array([p[metric] for r in results.values() for p in r["points"]])
        # The first errors of a training can be larger than all others by far.
        axes.set_ylim(0.9 * ends.min(), min(ends.max(), 30 * ends.min()))
    legend_below(figure, panels[0], columns=4)
    figure.savefig(path, dpi=160)
