from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shared.errors import InvalidRequest
from workers.training.panorama.landscapes import landscape
from workers.training.panorama.pictures import Folder, Landscapes, cropped, files_in

SIZE = 16


def ramps(height: int, width: int) -> Image.Image:
    """Red tells the column, green the row."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack([columns, rows, 0 * rows], -1))


def photographs(folder: Path) -> Path:
    """Four usable pictures, one too low, one too narrow, one broken, and no picture."""
    for number, name in enumerate(("a.png", "b.jpg", "c.webp", "deep/d.bmp")):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(landscape(number, SIZE, 3 * SIZE + number)).save(folder / name)
    ramps(SIZE - 1, 60).save(folder / "low.png")
    ramps(SIZE, 3 * SIZE - 1).save(folder / "narrow.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    (folder / "notes.txt").write_text("no picture")
    (folder / "link.png").symlink_to(folder / "a.png")
    return folder


def test_what_is_no_picture_or_too_small_is_counted(tmp_path: Path) -> None:
    folder = Folder(list(files_in(photographs(tmp_path))), SIZE, least=4)
    assert [file.name for file in folder.files] == ["a.png", "b.jpg", "c.webp", "d.bmp"]
    assert folder.skipped == {"not images": 2, "too small": 2}
    assert folder.crop(0).shape == (SIZE, 3 * SIZE, 3)
    np.testing.assert_array_equal(folder.crop(0), landscape(0, SIZE, 3 * SIZE))


def test_fewer_pictures_than_a_batch_takes_are_refused(tmp_path: Path) -> None:
    files = list(files_in(photographs(tmp_path)))
    refusal = r"4 of 8 files .* and 5 are needed, 2 not images, 2 too small"
    with pytest.raises(InvalidRequest, match=refusal):
        Folder(files, SIZE, least=5)


def test_pictures_of_more_pixels_than_allowed_are_no_images(tmp_path: Path) -> None:
    ramps(100, 100).save(tmp_path / "bomb.png")
    folder = Folder(list(files_in(tmp_path)), SIZE, least=0, max_pixels=9_999)
    assert folder.skipped == {"not images": 1}


def test_up_to_twice_the_height_a_crop_is_cut_out_as_it_is() -> None:
    picture = ramps(2 * SIZE, 5 * SIZE)
    centre = cropped(picture, SIZE, None)
    assert centre[0, 0, :2].tolist() == [SIZE, SIZE // 2]
    assert centre[-1, -1, :2].tolist() == [4 * SIZE - 1, SIZE // 2 + SIZE - 1]
    rng = np.random.default_rng(0)
    corners = {tuple(cropped(picture, SIZE, rng)[0, 0, :2].tolist()) for _ in range(3000)}
    assert {column for column, _ in corners} == set(range(2 * SIZE + 1))
    assert {row for _, row in corners} == set(range(SIZE + 1))


@pytest.mark.parametrize(
    ("height", "width", "shown"),
    [
        (100, 200, (SIZE, 3 * SIZE)),  # shrunk to 2·SIZE high: half of its height is shown
        (200, 150, (SIZE, 3 * SIZE)),  # would be too narrow then: its whole width is shown
    ],
)
def test_a_higher_picture_is_shrunk_first(height: int, width: int, shown: tuple[int, int]) -> None:
    crop = cropped(ramps(height, width), SIZE, None).astype(int)
    assert crop.shape == (*shown, 3)
    scale = max(2 * SIZE / height, 3 * SIZE / width)
    seen = crop[0, -1, 0] - crop[0, 0, 0], crop[-1, 0, 1] - crop[0, 0, 1]
    assert seen == pytest.approx(((3 * SIZE - 1) / scale, (SIZE - 1) / scale), abs=2)


def test_landscapes_are_cropped_too() -> None:
    drawn = Landscapes(range(5, 9), SIZE)
    whole = landscape(6, SIZE, 4 * SIZE)
    np.testing.assert_array_equal(drawn.crop(1), whole[:, SIZE // 2 : SIZE // 2 + 3 * SIZE])
    crops = {drawn.crop(1, np.random.default_rng(seed)).tobytes() for seed in range(8)}
    assert len(crops) > 3
