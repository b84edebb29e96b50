"""The sample set: a pair for both sizes of network, and a data set for both stages of training."""

import zipfile
from pathlib import Path

from PIL import Image

from deploy.panorama_samples import PICTURES, main
from workers.nets.panorama.config import FULL, TINY
from workers.training.panorama.pictures import Folder, files_in
from workers.training.panorama.stages import FINETUNE

HELD_OUT = 16  # pictures, unless a training says otherwise


def test_the_pair_and_the_data_set_are_large_enough(tmp_path: Path) -> None:
    main(tmp_path)
    left, right = (Image.open(tmp_path / f"{side}.png") for side in ("left", "right"))
    assert min(*left.size, *right.size) >= FULL.size
    assert left.height != right.height
    with zipfile.ZipFile(tmp_path / "landscapes.zip") as archive:
        archive.extractall(tmp_path / "pictures")
    files = list(files_in(tmp_path / "pictures"))
    assert len(Folder(files, TINY.size, least=FINETUNE.batch + HELD_OUT)) == PICTURES
