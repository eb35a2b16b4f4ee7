"""Transport streams made by ffmpeg, for tests that need real pictures and sound."""

import subprocess
from functools import cache

DEADLINE = 60.0


@cache
def transport_stream(
    *,
    seconds: float = 3,
    video: str | None = "libx264",
    size: str = "320x180",
    rate: int = 25,
    group: int | None = None,
    b_frames: int = 0,
    encoder: tuple[str, ...] = (),
    audio: str | None = "aac",
    tracks: tuple[int, ...] = (48_000,),
    start_pid: int = 0x100,
    pmt_pid: int = 0x1000,
    clock: float = 0,
    muxer: tuple[str, ...] = (),
) -> bytes:
    """Make a transport stream; the same arguments give the same bytes, and are encoded once per process.

    Args:
        seconds: Length.
        video: Encoder of the pictures; None for none.
        size: Width and height of the pictures.
        rate: Pictures per second.
        group: Pictures from one entry point to the next; a second if not given.
        b_frames: Pictures in a row that refer to later ones.
        encoder: Further options of ffmpeg for the pictures.
        audio: Encoder of the sound; None for none.
        tracks: Sample rate of each audio stream.
        start_pid: PID of the first stream; the others follow.
        pmt_pid: PID of the PMT.
        clock: Seconds added to all clocks and time stamps, of which the first is 1.4 s without it.
        muxer: Further options of ffmpeg for the transport stream.
    """
    tracks = tracks if audio else ()
    command = ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", "-filter_threads", "1"]
    if video:
        command += ["-f", "lavfi", "-i", f"testsrc=size={size}:rate={rate}:duration={seconds}"]
    for number, sample_rate in enumerate(tracks):
        sound = f"sine=frequency={440 * (number + 1)}:sample_rate={sample_rate}:duration={seconds}"
        command += ["-f", "lavfi", "-i", sound]
    for number in range(len(tracks) + bool(video)):
        command += ["-map", str(number)]
    if video:
        command += ["-c:v", video, "-g", str(group or rate), "-bf", str(b_frames), "-pix_fmt", "yuv420p"]
        command += ["-preset", "ultrafast"] if video in {"libx264", "libx265"} else []
        command += ["-sc_threshold", "0", "-x264-params", "scenecut=0"] if video == "libx264" else []
        command += ["-x265-params", f"log-level=none:scenecut=0:keyint={group or rate}"] if video == "libx265" else []
        command += encoder
    if tracks:
        command += ["-c:a", audio or "", "-b:a", "64k"]
    command += ["-threads", "1", "-flags", "+bitexact", "-fflags", "+bitexact"]
    command += ["-mpegts_start_pid", str(start_pid), "-mpegts_pmt_start_pid", str(pmt_pid)]
    command += ["-output_ts_offset", str(clock), *muxer, "-f", "mpegts", "-"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=DEADLINE).stdout
