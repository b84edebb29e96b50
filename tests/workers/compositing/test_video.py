"""The video: what a player sees of it, and that its bytes depend on the frames alone."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest

from workers.compositing.video import encode_segment, mux


def frames(count, width=64, height=48, first=0):
    """Smooth pictures, each unlike the one before."""
    y, x = np.mgrid[:height, :width]
    return [
        np.stack([x * 2 + 9 * n, y * 3 + 5 * n, 200 - x - y], axis=-1).clip(0, 255).astype(np.uint8)
        for n in range(first, first + count)
    ]


def decoded(video):
    """The stream of an MP4, and its frames as RGB arrays."""
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        pictures = list(container.decode(video=0))
        assert [picture.pts * stream.time_base for picture in pictures] == [
            Fraction(n, 30) for n in range(len(pictures))
        ]
        return stream, [picture.to_ndarray(format="rgb24") for picture in pictures]


def difference(one, other):
    return np.abs(one.astype(int) - other).mean()


def test_segments_of_any_length_join_to_one_video():
    wanted = frames(20) + frames(7, first=20) + frames(1, first=27)
    parts = [wanted[:20], wanted[20:27], wanted[27:]]
    stream, seen = decoded(mux([encode_segment(part, (64, 48)) for part in parts]))
    assert stream.average_rate == 30
    assert stream.frames == len(seen) == 28
    assert max(difference(*pair) for pair in zip(seen, wanted, strict=True)) < 2
    assert difference(wanted[0], wanted[1]) > 4  # so that the line above tells them apart


def test_a_segment_needs_no_other():
    last = frames(3, first=9)
    _, seen = decoded(mux([encode_segment(last, (64, 48))]))
    assert [difference(*pair) < 2 for pair in zip(seen, last, strict=True)] == [True] * 3


def test_equal_frames_give_equal_bytes():
    made = [
        mux([encode_segment(frames(5), (64, 48)), encode_segment(frames(2), (64, 48))])
        for _ in range(2)
    ]
    assert made[0] == made[1]
    # The index stands before the pictures, and there is no date (seconds since 1904) in it.
    assert made[0].index(b"moov") < made[0].index(b"mdat")
    header = made[0].index(b"mvhd") + 4
    assert made[0][header + 4 : header + 12] == bytes(8)


@pytest.mark.parametrize("size", [(33, 47), (34, 47), (33, 48)])
def test_odd_sides_repeat_their_edge(size):
    (frame,) = frames(1, *size)
    _, (seen,) = decoded(mux([encode_segment([frame], size)]))
    assert seen.shape == (48, 34, 3)
    assert difference(seen[: size[1], : size[0]], frame) < 2
    assert difference(seen[-1], seen[size[1] - 1]) < 3
    assert difference(seen[:, -1], seen[:, size[0] - 1]) < 3


def test_frames_of_two_sizes_share_a_video():
    small, large = frames(1), frames(1, 128, 96)
    halved = [np.repeat(np.repeat(frame, 2, axis=0), 2, axis=1) for frame in small]
    parts = [encode_segment(part, (128, 96)) for part in (small, large)]
    _, seen = decoded(mux(parts))
    assert [picture.shape for picture in seen] == [(96, 128, 3)] * 2
    assert difference(seen[0], halved[0]) < 3
    assert difference(seen[1], large[0]) < 2
