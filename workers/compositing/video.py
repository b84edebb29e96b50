"""The video of a blending: H.264 in segments that stand for themselves, joined into one MP4.

A segment begins with a key frame and refers to nothing outside itself, so segments that were
encoded at different times, by different processes, join without being encoded again; and one
thread encodes, so that equal frames give equal bytes wherever the work was cut off.
"""

import io
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from PIL import Image

FRAME_S = Fraction(1, 30)
ENCODING = {
    "preset": "veryfast",
    "crf": "18",
    # No mbtree: it reads memory that nobody has written, so equal frames gave other bytes at times.
    # The colours are said, for players take those of video that is silent by its size.
    "x264-params": "bframes=0:open-gop=0:mbtree=0"
    ":colormatrix=bt709:colorprim=bt709:transfer=bt709:range=tv",
}

Frame = NDArray[np.uint8]


def encode_segment(frames: Sequence[Frame], size: tuple[int, int]) -> bytes:
    """One or more RGB frames (height, width, 3) as raw H.264 (Annex B, yuv420p).

    Frames of another size than `size` (width, height) are resized to it; where that is odd, the
    last row or column comes twice, for H.264 wants even sides.
    """
    width, height = size
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height = width + width % 2, height + height % 2
    codec.pix_fmt = "yuv420p"
    codec.framerate = 1 / FRAME_S
    codec.time_base = FRAME_S
    codec.thread_count = 1
    codec.gop_size = len(frames)
    codec.options = ENCODING
    stream = bytearray()
    for number, frame in enumerate(frames):
        picture = _prepared(frame, size)
        picture.pts = number
        for packet in codec.encode(picture):
            stream += bytes(packet)
    for packet in codec.encode():
        stream += bytes(packet)
    return bytes(stream)


def mux(segments: Sequence[bytes]) -> bytes:
    """Segments of one size as an MP4 of 30 frames a second, which plays while it loads.

    It bears no date and no encoder's name: equal segments give equal bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A file and no buffer: to move its index to the front, FFmpeg opens it a second time.
        path = Path(folder) / "video.mp4"
        with (
            av.open(io.BytesIO(b"".join(segments)), "r", format="h264") as raw,
            av.open(
                str(path), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}
            ) as out,
        ):
            stream = out.add_stream_from_template(raw.streams.video[0])
            # The demuxer's last packet is empty: it only says that it is the last.
            packets = (packet for packet in raw.demux(video=0) if packet.size)
            for number, packet in enumerate(packets):
                packet.stream = stream
                packet.time_base = FRAME_S
                packet.pts = packet.dts = number
                packet.duration = 1
                out.mux(packet)
        return path.read_bytes()


def _prepared(frame: Frame, size: tuple[int, int]) -> av.VideoFrame:
    """A frame in the size and the colours of the encoder."""
    width, height = size
    if frame.shape[:2] != (height, width):
        frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC))
    frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(
        format="yuv420p",
        src_color_range=ColorRange.JPEG,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
    )
