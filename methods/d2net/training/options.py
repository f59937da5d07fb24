"""What a training can be told, and the two named recipes."""

import math
from dataclasses import dataclass

from d2eval.contracts.options import option
from d2eval.foundation.errors import D2EvalError
from methods.d2net.training.data.views import Views


@dataclass(frozen=True)
class Recipe:
    """How long and how fast the weights learn.

    Attributes:
        epochs: passes over the data.
        learning_rate: of Adam.
        halve_every: epochs after which the rate is halved, again and again; None: never.
    """

    epochs: int
    learning_rate: float
    halve_every: int | None

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 1."""
        return self.learning_rate * 0.5 ** (
            (epoch - 1) // self.halve_every if self.halve_every else 0
        )


RECIPES = {
    "code": Recipe(10, 1e-3, None),  # D2-Net's training code (train.py)
    "paper": Recipe(50, 1e-3, 10),  # D2-Net paper, section 4.2
}


@dataclass(frozen=True)
class TrainingConfig:
    """The options of ``d2eval train``."""

    recipe: str = option(
        "code",
        "code: Adam 1e-3, 10 epochs, as the authors' code; paper: 50 epochs, the rate halved "
        "every 10",
        choices=tuple(RECIPES),
    )
    epochs: int = option(
        0,
        "of the recipe instead of its own number; 0: its own; with more, a finished training goes "
        "on",
        keyed=False,
    )
    learning_rate: float = option(0.0, "of the recipe instead of its own; 0: its own")
    halve_every: int = option(
        0, "epochs after which the rate is halved, instead of the recipe's; 0: the recipe's"
    )
    batch_size: int = option(1, "pairs in a step (of each process)")
    finetune_layers: int = option(1, "layers that learn, from conv4_3 backwards")
    weights: str = option(
        "auto", "to start from: bundled, official (d2_ots), or a path; auto: official if fetched"
    )
    preprocessing: str = option("caffe", "as the weights were trained", choices=("caffe", "torch"))
    precision: str = option(
        "fp32",
        "of the convolutions; fp16 and bf16 are mixed precision, the loss stays in float32",
        choices=("fp32", "fp16", "bf16"),
    )
    pairs: int = option(1, "views of each photo in an epoch (homographies)")
    light: float = option(
        1.0, "strength of the changes of light and camera between views, 0: none (homographies)"
    )
    zoom: float = option(Views.zoom, "views differ in size by up to 2^this (homographies)")
    tilt: float = option(Views.tilt_deg, "views are tilted by up to so many degrees (homographies)")
    roll: float = option(Views.roll_deg, "deviation of a view's turn in degrees (homographies)")
    validation_photos: int = option(20, "held-out photos that validation's MMA is measured on")
    checkpoint_every: int = option(200, "steps between checkpoints", keyed=False)
    picture_every: int = option(0, "steps between pictures of score maps; 0: none", keyed=False)

    def __post_init__(self) -> None:
        for name in ("batch_size", "finetune_layers", "pairs", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise D2EvalError(f"--{name.replace('_', '-')} must be 1 or more")
        for name in (
            "epochs",
            "learning_rate",
            "halve_every",
            "light",
            "zoom",
            "tilt",
            "roll",
            "validation_photos",
            "picture_every",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise D2EvalError(f"--{name.replace('_', '-')} must be 0 or more")
        if self.light > 1:
            raise D2EvalError("--light must be 1 or less; 1 reaches from noon to a lamp at night")

    def views(self) -> Views:
        """How a training sees photos."""
        return Views(
            per_photo=self.pairs,
            light=self.light,
            zoom=self.zoom,
            tilt_deg=self.tilt,
            roll_deg=self.roll,
        )

    def schedule(self) -> Recipe:
        """The recipe with what was given instead."""
        named = RECIPES[self.recipe]
        return Recipe(
            self.epochs or named.epochs,
            self.learning_rate or named.learning_rate,
            self.halve_every or named.halve_every,
        )
