"""A matcher to copy: `cp methods/TEMPLATE_MATCHER.py methods/my_matcher.py`, then change it.

It works as it stands: mutual nearest neighbours whose keypoints lie about as high in both images.
Run it with ``--matcher methods.TEMPLATE_MATCHER:MyMatcher``.
"""

from dataclasses import dataclass

import numpy as np

from d2eval import (
    NONE_NEEDED,
    D2EvalError,
    Features,
    Matcher,
    Matches,
    mutual_nearest_neighbors,
    option,
)


@dataclass(frozen=True)
class MyConfig:
    """Each field is an option of the command line: ``--matcher-max-rise 0.2``."""

    # CHANGE: your options. They enter the cache key, so other settings never meet stale matches.
    max_rise: float = option(0.5, "most difference of height, as a share of the first image's")

    def __post_init__(self) -> None:
        if not 0 < self.max_rise <= 1:
            raise D2EvalError("max-rise must be above 0 and at most 1")


class MyMatcher(Matcher):
    """Mutual nearest neighbours of like height.

    CHANGE: with weights, override ``__init__(self, config, runtime)``, load them there with
    `d2eval.load_state_dict`, and set ``self.weights`` to a `d2eval.WeightsInfo`.
    """

    description = "template: mutual nearest neighbours of like height"  # CHANGE
    license = "BSD-3-Clause"  # CHANGE: of its weights, or of what it runs
    papers = ()  # CHANGE: keys of entries in citations.bib beside your file or package
    version = 1  # edits of this file are seen; raise it for a change that no file of yours shows
    Config = MyConfig  # leave it out if there are no options
    weights = NONE_NEEDED  # CHANGE: leave it out if there are weights

    def match(self, first: Features, second: Features) -> Matches:
        """CHANGE: (M, 2) indices into the features of both images, each pair once.

        Both have a feature at least. All that `Features` has is there: keypoints, scores,
        descriptors, the image's size, and scales and orientations where the method has them.
        """
        pairs = mutual_nearest_neighbors(first.descriptors, second.descriptors, self.runtime.device)
        rise = first.keypoints[pairs[:, 0], 1] - second.keypoints[pairs[:, 1], 1]
        return pairs[np.abs(rise) <= self.config.max_rise * first.image_size[1]]
