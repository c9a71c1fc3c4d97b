"""`dlfound train --dry-run`: how the data are understood, a line a column, before anything is trained."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlfound.commands.text_table import print_table
from dlfound.config.config import Config
from dlfound.data.columns import CATEGORY, FIRST, MISSING, UNKNOWN
from dlfound.data.dataset import Dataset
from dlfound.errors import printable
from dlfound.runs.parts import check_task
from dlfound.runs.train import load_data
from dlfound.terminal import say
from dlfound.training.assemble import assemble, resolve
from dlfound.training.device import find_device

COLUMNS = ("column", "kind", "missing", "values", "becomes")
DEAR = ("column", "kind", "becomes", "missing", "values")  # in a narrow terminal the last is left out first
COMMON = 3  # categories that a line names
LONGEST = 20  # characters of one


def show(config: Config, as_json: bool) -> None:
    """Print what was understood; with `as_json` as one object."""
    dataset = load_data(config)
    check_task(config, dataset)
    settled, notes = resolve(config, dataset.task)
    body = assemble(settled, dataset, find_device(config["run"]["device"])).network
    plan = body.preprocessing.plan
    widths = [body.body.inputs, *settled.build("model")(), body.body.output.out_features]
    for text in (*dataset.notes, *notes, *(f"warning: {text}" for text in dataset.warnings)):
        say(printable(text))
    if as_json:
        print(json.dumps(dataset.schema() | {"plan": plan, "net": widths}, indent=2, ensure_ascii=False))
        return
    print(_head(config, dataset))
    if dataset.preparation:
        print_table(
            [*_lines(dataset, plan), *_others(config)],
            COLUMNS,
            DEAR,
            "they are all there in a pipe, or with --json",
        )
    print(f"net: {'-'.join(map(str, widths))}; nothing was trained")


def _head(config: Config, dataset: Dataset) -> str:
    counts = [f"{part} {len(rows):,}" for part, rows in dataset.parts.items()]
    classes = ""
    if dataset.classes:
        rows = np.bincount(dataset.targets, minlength=len(dataset.classes)).tolist()
        named = [f"{printable(name)}: {count:,}" for name, count in zip(dataset.classes, rows, strict=True)]
        classes = f" ({', '.join(named[:10])}{', ...' * (len(named) > 10)})"
    target = ", ".join(map(printable, config["data"].get("target", dataset.names)))
    return (
        f"{config.name('data')}: {len(dataset.inputs):,} rows ({', '.join(counts)}), {len(dataset.features):,} inputs\n"
        f"{dataset.task}{f' of {target}' * bool(target)}{classes}"
    )


def _lines(dataset: Dataset, plan: Mapping[str, Any]) -> list[dict[str, str]]:
    """A line for each input, and for each column that is left out."""
    prepared = dataset.preparation
    lines = [
        _category(dataset, plan, k) if column.kind == CATEGORY else _number(dataset, plan, k)
        for k, column in enumerate(prepared.columns)
    ]
    for name, why in prepared.dropped.items():
        lines.append(dict(zip(COLUMNS, (printable(name), "dropped", "", why, ""), strict=True)))
    return lines


def _others(config: Config) -> list[dict[str, str]]:
    """A line for each column that a person named for something else than to learn from."""
    data = config["data"]
    named = [(name, "target") for name in data["target"]] + [(name, "left out") for name in data["drop"]]
    named += [(data[key], key) for key in ("group", "weight") if data[key]]
    return [dict(zip(COLUMNS, (printable(name), kind, "", "", ""), strict=True)) for name, kind in named]


def _number(dataset: Dataset, plan: Mapping[str, Any], k: int) -> dict[str, str]:
    column, values = dataset.preparation.columns[k], dataset.inputs[:, k]
    there, i = values[~np.isnan(values)], plan["numbers"].index(k)
    low, middle, high = (f"{v:.6g}" for v in (there.min(), np.median(there), there.max()))
    becomes = "number" + " as it is" * (i in plan["plain"]) + " and flag" * (i in plan["flagged"])
    gaps = len(values) - len(there)
    return dict(
        zip(
            COLUMNS,
            (printable(column.name), column.kind, f"{gaps:,}", f"{low} .. {middle} .. {high}", becomes),
            strict=True,
        )
    )


def _category(dataset: Dataset, plan: Mapping[str, Any], k: int) -> dict[str, str]:
    column, codes = dataset.preparation.columns[k], dataset.inputs[:, k].astype(np.int64)
    counts = np.bincount(codes, minlength=FIRST + len(column.categories))
    order = np.argsort(-counts[FIRST:], kind="stable")[:COMMON]
    named = [f"{printable(column.categories[i])[:LONGEST]} {counts[FIRST + i]:,}" for i in order]
    more = len(column.categories) - len(named)
    values = ", ".join([*named, f"{more:,} more"] if more else named)
    i = plan["categories"].index(k)
    known, embedded = plan["known"][i], i in plan["embedded"]
    becomes = f"embedding of {plan['embedding']}" if embedded else f"one-hot of {known}"
    rare = len(column.categories) + bool(counts[MISSING]) - known
    becomes += f" ({rare:,} rare)" * (rare > 0)
    lost = counts[MISSING] + counts[UNKNOWN]
    return dict(zip(COLUMNS, (printable(column.name), "category", f"{lost:,}", values, becomes), strict=True))
