"""Held-out material of real files: what is refused, what development left, what a secret draws."""

import shutil
from pathlib import Path

import pytest

from evocodec.app.clips import AnchoredClip, anchored_clips
from evocodec.app.held_out_clips import (
    HeldOutMaterial,
    configured_sources,
    require_held_out,
    unused_part,
)
from evocodec.domain.errors import ConfigError, SourceError
from evocodec.video.clip_spec import parse_clip
from evocodec.video.clips import load_clip
from tests.support.toy_laboratory import CARPHONE, settings_for

BIKES = str(Path(CARPHONE).with_name("bikes.mp4"))


def test_a_clip_that_the_seed_was_fitted_on_is_refused_by_name_and_by_content(
    tmp_path: Path,
) -> None:
    renamed = tmp_path / "innocent.mp4"
    shutil.copy(BIKES, renamed)
    for path in (BIKES, str(renamed), "/elsewhere/BigBuckBunny.mkv@0-9"):
        settings = settings_for(tmp_path, held_out__enabled=True, held_out__clips=[path])
        with pytest.raises(ConfigError, match="fitted on bikes and bigbuckbunny"):
            require_held_out(settings)


def test_a_development_clip_under_another_name_is_refused(tmp_path: Path) -> None:
    copy = tmp_path / "other.mp4"
    shutil.copy(CARPHONE, copy)
    settings = settings_for(tmp_path, held_out__clips=[f"{copy}@0-8:96x80"])
    development = anchored_clips(settings, tmp_path / "cache")
    with pytest.raises(ConfigError, match="nothing is held out"):
        HeldOutMaterial(settings, tmp_path / "held-out", development, b"secret")


def test_a_missing_clip_and_a_gate_without_clips_are_told_before_anything_runs(
    tmp_path: Path,
) -> None:
    settings = settings_for(tmp_path, held_out__enabled=True, held_out__clips=["/none.mp4"])
    with pytest.raises(SourceError, match=r"/none\.mp4"):
        require_held_out(settings)
    nothing = settings_for(tmp_path, held_out__enabled=True, held_out__derived=0)
    with pytest.raises(ConfigError, match=r"held_out\.clips"):
        require_held_out(nothing)
    assert configured_sources(nothing) == ()


def test_clips_are_derived_from_what_development_left(tmp_path: Path) -> None:
    clip = load_clip(parse_clip(f"{CARPHONE}@0-8:96x80"))
    unused = unused_part(clip, 9)
    assert unused.stream.frame_count == 64
    assert unused.stream.width == 96
    used = {frame.y.tobytes() for frame in clip.frames}
    assert not any(frame.y.tobytes() in used for frame in unused.frames)
    last = load_clip(parse_clip(f"{CARPHONE}@100-:96x80"))
    assert unused_part(last, 9) is last


def test_a_secret_draws_the_same_clips_for_a_name_and_others_for_another(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, held_out__derived=1, held_out__frames=3)
    development = anchored_clips(settings, tmp_path / "cache")

    def drawn(secret: bytes, name: str) -> tuple[str, str]:
        material = HeldOutMaterial(settings, tmp_path / "held-out", development, secret)
        draw = material.draw(name)
        (held,) = draw.clips
        assert held.anchor_bits > 0
        assert isinstance(development[held.derived_from], AnchoredClip)
        return draw.seed_sha256, held.clip.sha256

    first = drawn(b"secret", "c0002/0/v1")
    assert drawn(b"secret", "c0002/0/v1") == first
    assert len({first, drawn(b"secret", "c0002/0/v2"), drawn(b"other", "c0002/0/v1")}) == 3


def test_more_clips_of_a_decision_are_others_and_come_to_an_end(tmp_path: Path) -> None:
    settings = settings_for(
        tmp_path, held_out__derived=2, held_out__derived_most=3, held_out__frames=3
    )
    development = anchored_clips(settings, tmp_path / "cache")
    material = HeldOutMaterial(settings, tmp_path / "held-out", development, b"secret")
    first, more, none = (material.draw("c0002/0/v1", again) for again in range(3))
    names = [held.clip.name for draw in (first, more) for held in draw.clips]
    assert [len(draw.clips) for draw in (first, more, none)] == [2, 1, 0]
    assert len({*names}) == 3
    assert len({draw.seed_sha256 for draw in (first, more, none)}) == 1
    fewer = settings_for(tmp_path, held_out__derived=1, held_out__derived_most=0)
    alone = HeldOutMaterial(fewer, tmp_path / "held-out", development, b"secret")
    assert [len(alone.draw("x", again).clips) for again in range(2)] == [1, 0]
