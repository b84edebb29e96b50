"""Pictures to try panoramas with: `python -m deploy.panorama_samples FOLDER`.

Landscapes drawn by code: `left.png` and `right.png`, which do not belong together, and in
`landscapes.zip` a data set that is large enough for both stages of training the small model. Equal
calls write equal pictures.
"""

import io
import sys
import zipfile
from pathlib import Path

from PIL import Image

from workers.training.panorama.landscapes import HELD_OUT, TRAINING, landscape

PAIR = {"left.png": (256, 384), "right.png": (288, 320)}  # height and width
PICTURES, HEIGHT, WIDTH = 160, 96, 320


def main(folder: Path) -> None:
    """Write the pair and the data set."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, (name, (height, width)) in zip(HELD_OUT, PAIR.items(), strict=False):
        (folder / name).write_bytes(png(seed, height, width))
    with zipfile.ZipFile(folder / "landscapes.zip", "w") as archive:
        for seed in TRAINING[:PICTURES]:
            archive.writestr(f"{seed:03}.png", png(seed, HEIGHT, WIDTH))
    print(f"{', '.join(PAIR)} and landscapes.zip with {PICTURES} pictures in {folder}")


def png(seed: int, height: int, width: int) -> bytes:
    """A landscape of this size."""
    buffer = io.BytesIO()
    Image.fromarray(landscape(seed, height, width)).save(buffer, "PNG")
    return buffer.getvalue()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m deploy.panorama_samples FOLDER")
    main(Path(sys.argv[1]))
