"""A small Aachen folder written from plain values, so that tests can say what goes wrong in it.

Five database images (the last without pose and intrinsics line), a day and a night query.
"""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (8, 6)
LINE = "SIMPLE_RADIAL 8 6 10.5 4 3 0.25"
DATABASE = [f"db/{n}.png" for n in range(1, 6)]
NIGHT, DAY = "query/night/nexus5x/n.png", "query/day/nexus5x/d.png"
LAYOUT = {
    "database": "database.db",
    "pairs": "image_pairs_to_match.txt",
    "model": "3D-models/aachen_cvpr2018_db.nvm",
    "intrinsics": "3D-models/database_intrinsics.txt",
    "night": "queries/night_time_queries_with_intrinsics.txt",
    "day": "queries/day_time_queries_with_intrinsics.txt",
    "references": "reference_poses.txt",
}


@dataclass
class AachenFolder:
    """Lines of the files, to be changed before `write`."""

    root: Path
    images: list[str] = field(default_factory=lambda: [*DATABASE, NIGHT, DAY])
    model: list[str] = field(
        default_factory=lambda: [
            f"{n} 10.5 1 0 0 0 {k} 0 0 0 0" for k, n in enumerate(DATABASE[:4])
        ]
    )
    intrinsics: list[str] = field(default_factory=lambda: [f"{n} {LINE}" for n in DATABASE[:4]])
    night: list[str] = field(default_factory=lambda: [f"{NIGHT} {LINE}"])
    day: list[str] = field(default_factory=lambda: [f"{DAY} {LINE}"])
    pairs: list[str] = field(
        default_factory=lambda: [
            "db/1.png db/2.png",
            "db/1.png db/3.png",
            "db/2.png db/3.png",
            f"{NIGHT} db/1.png",
            f"{NIGHT} db/2.png",
            f"db/3.png {NIGHT}",
        ]
    )
    references: list[str] = field(default_factory=list)
    camera_of: dict[str, int] = field(default_factory=dict)  # instead of one camera an image

    def path(self, name: str) -> Path:
        return self.root / LAYOUT[name]

    def write(self) -> Path:
        """Writes all files and returns the folder."""
        for folder in ("3D-models", "queries"):
            (self.root / folder).mkdir(parents=True)
        write_database(self.path("database"), self.images, self.camera_of)
        model = ["NVM_V3", "", str(len(self.model)), *self.model, "", "0"]
        for name, lines in (
            ("model", model),
            ("intrinsics", self.intrinsics),
            ("night", self.night),
            ("day", self.day),
            ("pairs", self.pairs),
        ):
            self.path(name).write_text("\n".join([*lines, ""]))
        if self.references:
            self.path("references").write_text("\n".join([*self.references, ""]))
        for name in self.images:
            image = self.root / "images/images_upright" / name
            image.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", SIZE).save(image)
        return self.root


def write_database(path: Path, images: list[str], camera_of: dict[str, int] | None = None) -> None:
    """A database as COLMAP 3.5 writes it; camera k has focal length 100 + k, camera 2 a prior."""
    with sqlite3.connect(path) as database:
        database.executescript(
            "CREATE TABLE cameras (camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
            " model INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,"
            " params BLOB, prior_focal_length INTEGER NOT NULL);"
            "CREATE TABLE images (image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,"
            " name TEXT NOT NULL UNIQUE, camera_id INTEGER NOT NULL, prior_qw REAL, prior_qx REAL,"
            " prior_qy REAL, prior_qz REAL, prior_tx REAL, prior_ty REAL, prior_tz REAL);"
            "CREATE TABLE keypoints (image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL,"
            " cols INTEGER NOT NULL, data BLOB);"
            "CREATE TABLE matches (pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL,"
            " cols INTEGER NOT NULL, data BLOB);"
            "PRAGMA user_version = 3400;"
        )
        for k, name in enumerate(images):
            camera = (camera_of or {}).get(name, k + 1)
            params = np.array([100.0 + camera, 4, 3, 0], "<f8").tobytes()
            database.execute(
                "INSERT OR IGNORE INTO cameras VALUES (?, 2, ?, ?, ?, ?)",
                (camera, *SIZE, params, int(camera == 2)),
            )
            database.execute(
                "INSERT INTO images (image_id, name, camera_id) VALUES (?, ?, ?)",
                (len(images) - k, name, camera),
            )
    database.close()
