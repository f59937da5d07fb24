"""What decides what a method or matcher gives, and so the key under which that is stored."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from d2eval.contracts.source import SHIPPED, Source
from d2eval.contracts.weights import WeightsInfo


@dataclass(frozen=True)
class Identity:
    """What decides what a method gives: its name, version, options, weights and source."""

    method: str
    version: int
    config: dict[str, Any]
    weights: WeightsInfo
    source: Source = SHIPPED

    @property
    def key(self) -> str:
        """A short hash that changes whenever the features may."""
        parts = [self.method, self.version, self.config, self.weights.sha256 or None]
        if self.source.sha256:
            parts.append(self.source.sha256)
        text = json.dumps(parts, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]
