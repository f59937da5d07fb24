"""A run: every configuration with every seed, and the files that say what came of it."""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, stdev

import torch

from d2eval.cifar10.batches import Cifar10Data
from d2eval.cifar10.protocol import CRITERION, Cifar10Protocol, Configuration
from d2eval.cifar10.training import Epoch, Training
from d2eval.evaluation.benchmark import Evaluated, Request
from d2eval.foundation.machine.resources import measure
from d2eval.runs.folder import Row, RunName, run_folder, write_csv
from d2eval.runs.manifest import circumstances, write_manifest

SECONDS = ("real_s", "user_s", "sys_s")
TRAININGS, EPOCHS = "trainings.csv", "epochs.csv"


def run(
    data: Cifar10Data,
    protocol: Cifar10Protocol,
    configurations: Sequence[Configuration],
    seeds: Sequence[int],
    request: Request,
    name: RunName,
) -> Evaluated:
    """Trains, and writes trainings, epochs, summary and manifest."""
    runtime, counts = request.runtime, {"training": len(data.training), "test": len(data.test)}
    device = torch.device(runtime.device).type
    work = {
        "benchmark": "cifar10",
        "protocol_sha256": protocol.sha256,
        "configurations": [asdict(own) for own in configurations],
        "seeds": list(seeds),
        "device": device,
        "dataset": {
            "completeness": data.completeness, "fingerprint": data.fingerprint, **counts,
        },
    }  # fmt: skip
    rows: list[Row] = []
    epochs: list[Row] = []
    with run_folder(request.output / "cifar10", name) as place:
        folder = place.claim(work)
        with measure() as cost:
            for number, own in enumerate(configurations, 1):
                which = _which(own)
                for seed in seeds:
                    request.tell(
                        f"{number} of {len(configurations)}: {own.optimizer_text}, seed {seed}"
                    )
                    training = Training(own, protocol, data, seed, runtime.device, runtime.cache)
                    history = training.train(runtime.fresh, request.tell)
                    about = {
                        "model": protocol.network["name"], "criterion": CRITERION,
                        "device": device, "hardware": history[-1].hardware,
                        "dataset": data.completeness,
                    }  # fmt: skip
                    rows.append(
                        {**which, "seed": seed, **_training_row(history, len(data.test)), **about}
                    )
                    epochs += [{**which, "seed": seed, **asdict(epoch)} for epoch in history]
        summary = [
            {"method": folder.name, **_summary(group)}
            for own in configurations
            if (group := [row for row in rows if _which(own).items() <= row.items()])
        ]
        manifest = {
            **work, "label": folder.name, "method": protocol.network["name"], "weights": None,
            "root": str(data.root), **circumstances(device, cost.seconds, [cost.peak_memory_mib]),
        }  # fmt: skip
        write_csv(folder / TRAININGS, rows)
        write_csv(folder / EPOCHS, epochs)
        write_csv(folder / "summary.csv", summary)
        write_manifest(folder, manifest)
    return Evaluated(folder, rows, summary, [_line(row) for row in summary], place.notes)


def _which(own: Configuration) -> Row:
    """What tells a configuration from others in rows; see `runs.WHICH`."""
    return {
        "optimizer": own.optimizer_text, "scheduler": own.scheduler_text,
        "batch_size": own.batch_size, "held_out": own.held_out, "patience": own.patience,
        "epochs_at_most": own.epochs,
    }  # fmt: skip


def _training_row(history: Sequence[Epoch], test_images: int) -> Row:
    last = history[-1]
    return {
        "timestamp": last.finished,
        "n_epochs": len(history),
        "test_images": test_images,
        "test_accuracy": 100 * last.test_accuracy,
        "test_loss": last.test_loss,
        "train_loss": last.train_loss,
        **{name: sum(getattr(epoch, name) for epoch in history) for name in SECONDS},
    }


def _summary(group: Sequence[Row]) -> Row:
    """Means over the seeds of a configuration, and how far the accuracies scatter."""
    accuracies = [row["test_accuracy"] for row in group]
    means = {
        name: fmean(row[name] for row in group)
        for name in ("n_epochs", "test_accuracy", "test_loss", "train_loss", *SECONDS)
    }
    shared = {name: value for name, value in group[-1].items() if name != "seed"}
    return {
        **shared,
        **means,
        "test_accuracy_sd": stdev(accuracies) if len(group) > 1 else float("nan"),
        "trainings": len(group),
    }


def _line(row: Row) -> str:
    scatter = "" if row["trainings"] < 2 else (
        f" +- {row['test_accuracy_sd']:.2f} ({row['trainings']} trainings)"
    )  # fmt: skip
    return (
        f"{row['optimizer']}, {row['n_epochs']:g} epochs: test accuracy "
        f"{row['test_accuracy']:.2f} %{scatter}, {row['real_s']:.1f} s"
    )
