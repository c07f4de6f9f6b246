"""The benchmark as one picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw times of full batch and minibatches, and time and memory as the number of images grows."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained", width_ratios=[1.2, 1.2, 1])
    titles = sorted({title.split(", ")[0] for title in results if title.startswith(("full batch", "batch"))})
    for panel, title in zip(axes, reversed(titles), strict=False):
        draw_comparison(panel, {dtype: results.get(f"{title}, {dtype}") for dtype in ("float32", "float64")}, title)
    draw_growth(axes[2], results)
    machine = results["machine"]
    figure.suptitle(
        f"784-1000-10, 10,000 examples and 6,000 for validation, {machine['cores']} cores ({machine['cpu']})",
        fontsize=9,
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def draw_comparison(panel: Any, by_dtype: Mapping[str, Any], title: str) -> None:
    """Draw a bar for each contestant and precision."""
    present = {dtype: rows for dtype, rows in by_dtype.items() if rows}
    names = [name for name, row in next(iter(present.values())).items() if not name.startswith("matrix")]
    height = 0.8 / len(present)
    for number, (dtype, rows) in enumerate(present.items()):
        positions = [i + height * (number - (len(present) - 1) / 2) for i in range(len(names))]
        values = [rows[name]["of_ours"] if name in rows else 0 for name in names]
        colors = ["tab:green" if name == "this project" else "tab:gray" for name in names]
        bars = panel.barh(positions, values, height, color=colors, alpha=1 - 0.4 * number)
        panel.bar_label(bars, [f"{value:.2f} ({dtype})" for value in values], fontsize=7, padding=2)
        bound = next(row["of_ours"] for row in rows.values() if row["is_bound"])
        panel.axvline(bound, color="black", linestyle="-" if number == 0 else ":", linewidth=0.8)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.invert_yaxis()
    panel.set_xlim(0, 1.35 * max(row["of_ours"] for rows in present.values() for row in rows.values()))
    panel.set_xlabel("time of an epoch, this project = 1; line: matrix products alone", fontsize=8)
    panel.set_title(title, fontsize=10)


def draw_growth(panel: Any, results: Mapping[str, Any]) -> None:
    """Draw time for each image and memory beyond the images."""
    panel.set_xscale("log")
    memory = panel.twinx()
    for dtype, style in (("float32", "-"), ("float64", ":")):
        rows = results.get(f"images, {dtype}")
        if not rows:
            continue
        counts = [int(name.split()[0].replace(",", "")) for name in rows]
        panel.set_xticks(counts, [f"{count // 1000}k" for count in counts])
        panel.plot(counts, [row["microseconds_per_image"] for row in rows.values()], f"o{style}", color="tab:green")
        memory.plot(counts, [row["memory_beyond_images"] for row in rows.values()], f"s{style}", color="tab:blue")
    panel.minorticks_off()
    panel.set_ylim(bottom=0)
    memory.set_ylim(0, 200)
    panel.set_xlabel("images (dotted: float64)", fontsize=8)
    panel.set_ylabel("microseconds an image and epoch", color="tab:green", fontsize=8)
    memory.set_ylabel("peak memory beyond the images, MiB", color="tab:blue", fontsize=8)
    panel.set_title("full batch, growing set", fontsize=10)
