"""A method's architecture as tables: layers, levels of the pyramid, what is done with the maps."""

from collections.abc import Mapping, Sequence
from typing import Any

from d2eval.contracts.architecture import Architecture, TracedLayer, trace
from d2eval.foundation.text.display import markdown_text
from d2eval.report.tables import Table, flat_csv, markdown_grid
from d2eval.runs.columns import Column

GIGA = 1e9
CONVENTION = (
    "GFLOP are 1e9 floating-point operations of the plain convolutions, a multiply-add counted as "
    "2; biases, ReLUs and pools are not counted. Receptive fields are in pixels along one side."
)


_YES = {True: "yes", False: ""}


def _gflop(value: float) -> str:
    return f"{value:,.2f}" if value >= 0.01 or not value else f"{value:.2g}"


LAYER_COLUMNS = (
    Column("block", "Block", key=True),
    Column("name", "Layer", key=True),
    Column("kind", "Kind"),
    Column("kernel", "Kernel", lambda kernel: f"{kernel}x{kernel}"),
    Column("stride", "Stride"),
    Column("dilation", "Dilation"),
    Column("relu", "ReLU", _YES.__getitem__),
    Column("batch_norm", "Batch norm", _YES.__getitem__),
    Column("size", "Output (WxHxC)"),
    Column("receptive_field", "Receptive field"),
    Column("parameters", "Parameters", "{:,}".format),
    Column("gflop", "GFLOP", _gflop),
)
LEVEL_COLUMNS = (
    Column("name", "Scale"),
    Column("input", "Image (WxH)"),
    Column("size", "Map (WxHxC)"),
    Column("receptive_field", "Receptive field at scale 1", "{:g}".format),
    Column("gflop", "GFLOP", _gflop),
)
STEP_COLUMNS = (
    Column("block", "Part"),
    Column("name", "Step"),
    Column("formula", "Test or formula"),
    Column("description", "What it does"),
)
CSV_COLUMNS = tuple(
    map(
        Column,
        ("part", "block", "name", "kind", "kernel", "stride", "dilation", "relu", "input_width",
         "input_height", "width", "height", "channels", "receptive_field", "parameters", "gflop",
         "formula", "description"),
    )
)  # fmt: skip


def _output(traced: TracedLayer) -> dict[str, Any]:
    (width, height), channels = traced.size, traced.layer.outputs
    size = f"{width}x{height}x{channels}"
    return {"size": size, "width": width, "height": height, "channels": channels}


def layer_rows(architecture: Architecture) -> list[dict[str, Any]]:
    """A row for each layer at scale 1, and one for all of them."""
    rows: list[dict[str, Any]] = [
        {
            **vars(traced.layer),
            **_output(traced),
            "receptive_field": traced.receptive_field,
            "parameters": traced.layer.parameters,
            "gflop": traced.flop / GIGA,
        }
        for traced in architecture.trace()
    ]
    total = {
        "name": "total",
        "receptive_field": rows[-1]["receptive_field"],
        "parameters": architecture.parameters,
        "gflop": sum(row["gflop"] for row in rows),
    }
    return [*rows, total]


def level_rows(architecture: Architecture) -> list[dict[str, Any]]:
    """A row for each level of the pyramid, and one for all of them."""
    rows = []
    for level in architecture.levels:
        traced = trace(architecture.layers, level.size)
        rows.append(
            {
                "name": f"{level.scale:g}",
                "input": "x".join(map(str, level.size)),
                "input_width": level.size[0],
                "input_height": level.size[1],
                **_output(traced[-1]),
                "receptive_field": traced[-1].receptive_field / level.scale,
                "gflop": sum(layer.flop for layer in traced) / GIGA,
            }
        )
    return [*rows, {"name": "total", "gflop": architecture.flop() / GIGA}]


def step_rows(architecture: Architecture) -> list[dict[str, Any]]:
    """A row for each step without parameters."""
    return [{"block": step.branch, **vars(step)} for step in architecture.steps]


def _input_line(architecture: Architecture) -> str:
    image, network = (
        "x".join(map(str, size)) for size in (architecture.image_size, architecture.input_size)
    )
    if image == network:
        return f"An image of {image} pixels."
    return f"An image of {image} pixels, which the method's limits shrink to {network}."


def architecture_table(stem: str, title: str, architecture: Architecture) -> Table:
    """All of it as one CSV, whose ``part`` tells the tables apart, and Markdown."""
    layers, levels, steps = (rows(architecture) for rows in (layer_rows, level_rows, step_rows))
    sections = [
        f"# {markdown_text(title)}",
        _input_line(architecture),
        f"## {architecture.name}, the network at scale 1",
        markdown_grid(LAYER_COLUMNS, layers),
    ]
    if len(architecture.levels) > 1:
        sections += ["## Pyramid", markdown_grid(LEVEL_COLUMNS, levels)]
        sections.append(f"The same weights at every scale; {architecture.fusion}.")
    if steps:
        sections += ["## On the map, without parameters"]
        sections.append(markdown_grid(STEP_COLUMNS, steps))
    sections.append(CONVENTION)
    known = [column.name for column in CSV_COLUMNS]
    records = [
        {"part": part, **{name: row[name] for name in known if name in row}}
        for part, rows in (("layer", layers), ("level", levels), ("step", steps))
        for row in rows
    ]
    return Table(stem, flat_csv(CSV_COLUMNS, records), "\n\n".join(sections) + "\n", [])


def options_grid(options: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of options: ``flag``, ``value``, ``help``."""
    columns = [
        Column("flag", "Option"), Column("value", "Value"), Column("help", "What it does"),
    ]  # fmt: skip
    return markdown_grid(columns, options)
