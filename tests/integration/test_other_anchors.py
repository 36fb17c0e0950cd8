"""Anchors beside the primary one: from the cache, or encoded behind a run's back when named."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from evocodec.anchors.encoders import anchor_encoders
from evocodec.app import other_anchors
from evocodec.app.clips import AnchoredClip, anchored_clips
from evocodec.app.other_anchors import OtherAnchors, require_anchors
from evocodec.domain.errors import ConfigError
from evocodec.domain.results import RdCurve, Track
from tests.support.toy_laboratory import settings_for

Found = list[tuple[str, str, bool]]


def found_by(
    cache: Path, anchored: Mapping[str, AnchoredClip], *names: str, skip: str = ""
) -> Found:
    """What is found until there is no more."""
    found: Found = []

    def keep(one: AnchoredClip, curve: RdCurve, cached: bool) -> None:
        assert len(curve.points) >= 4
        found.append((curve.codec, one.clip.name, cached))

    settings = settings_for(cache, evaluation__anchors=list(names))
    others = OtherAnchors(
        settings, cache, anchored, recorded=lambda codec, _: codec == skip, on_curve=keep
    )
    others._work.result()
    others.close()
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def anchored(cache: Path) -> Mapping[str, AnchoredClip]:
    return anchored_clips(settings_for(cache), cache)


def test_what_is_named_is_encoded_once_and_what_is_cached_is_found_unnamed(
    cache: Path, anchored: Mapping[str, AnchoredClip]
) -> None:
    (clip,) = anchored
    assert found_by(cache, anchored) == []
    assert found_by(cache, anchored, "x264-medium") == [("x264-medium", clip, False)]
    assert found_by(cache, anchored) == [("x264-medium", clip, True)]
    assert found_by(cache, anchored, "svt-av1-p8", "x264-medium", skip="x264-medium") == [
        ("svt-av1-p8", clip, False)
    ]
    # What costs nothing is not kept waiting by what does.
    assert found_by(cache, anchored, "x265-veryslow", "svt-av1-p8")[0] == ("svt-av1-p8", clip, True)


def test_an_encoder_that_fails_is_left_out_with_a_word(
    tmp_path: Path,
    anchored: Mapping[str, AnchoredClip],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    primary, x264, *_ = anchor_encoders(Track.RANDOM_ACCESS)
    broken = replace(x264, name="broken", arguments=("-c:v", "no-such-encoder"))
    monkeypatch.setattr(other_anchors, "chosen_encoders", lambda *_: (primary, broken, x264))
    with caplog.at_level(logging.WARNING):
        assert [name for name, _, _ in found_by(tmp_path, anchored, "any")] == ["x264-medium"]
    assert f"no broken on {next(iter(anchored))}" in caplog.text


def test_closing_ends_an_encoding_and_says_nothing_of_it(
    tmp_path: Path, anchored: Mapping[str, AnchoredClip], caplog: pytest.LogCaptureFixture
) -> None:
    heard: Found = []
    settings = settings_for(tmp_path, evaluation__anchors=["vvenc-medium"])
    others = OtherAnchors(
        settings,
        tmp_path,
        anchored,
        recorded=lambda *_: False,
        on_curve=lambda one, curve, cached: heard.append((curve.codec, one.clip.name, cached)),
    )
    others.close()
    assert heard == []
    assert caplog.text == ""


def test_an_anchor_that_there_is_not_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no anchor called 'h264'"):
        require_anchors(settings_for(tmp_path, evaluation__anchors=["h264"]))
