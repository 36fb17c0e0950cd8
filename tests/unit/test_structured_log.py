import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, SecretStr

from evocodec.app.run_watch import redactor
from evocodec.config import load_settings
from evocodec.domain.errors import UserError
from evocodec.telemetry.redact import Redactor
from evocodec.telemetry.structured import collected_log

LOGGER = logging.getLogger("evocodec.test")


def test_json_on_stdout_is_one_object_a_line_with_its_run_and_candidate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with collected_log("stdout", "r-1", form="json", level="info", redact=Redactor()):
        LOGGER.info("first\nsecond", extra={"candidate_id": "c0001", "event": "judged"})
        LOGGER.debug("too quiet")
        try:
            raise ValueError("inside")
        except ValueError:
            LOGGER.exception("it broke")
    LOGGER.warning("too late")
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["ts"].endswith("+00:00")
    assert (first["level"], first["run_id"], first["candidate_id"], first["event"]) == (
        *("info", "r-1", "c0001", "judged"),
    )
    assert first["message"] == "first\nsecond"
    assert "ValueError: inside" in second["traceback"]


def test_text_cannot_act_on_a_terminal_or_begin_a_line_of_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with collected_log("stderr", "r", form="text", level="warning", redact=Redactor()):
        LOGGER.warning("a\x1b[31m\n2026 error evocodec: forged")
        LOGGER.info("too quiet")
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line
    assert line.endswith(r"evocodec.test: a\x1b[31m\n2026 error evocodec: forged")


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_hidden_wherever_they_stand(tmp_path: Path, form: str) -> None:
    path = tmp_path / "log"
    password = 'qwertz"uiop\\asdf'
    redact = Redactor([password, "qwertz", ""])
    with collected_log(str(path), "r", form=form, level="info", redact=redact):  # type: ignore[arg-type]
        LOGGER.info("key %s", password, extra={"detail": f"again {password}"})
        LOGGER.info("pushing to https://me:hunter22@git.example/x.git")
        LOGGER.info("Authorization: Bearer abc.def-ghi")
        LOGGER.info("x" * 7_990 + password)
        try:
            raise RuntimeError(password)
        except RuntimeError:
            LOGGER.exception("failed with sk-abcdefgh12345678")
    text = path.read_text(encoding="utf-8")
    for hidden in ("qwertz", "uiop", "asdf", "hunter22", "abc.def", "abcdefgh"):
        assert hidden not in text
    assert "git.example" in text


def test_a_log_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    where = str(tmp_path / "none" / "log")
    with (
        pytest.raises(UserError, match=r"telemetry\.log_to"),
        collected_log(where, "r", form="json", level="info", redact=Redactor()),
    ):
        raise AssertionError("it was opened")


def secret_names(section: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from secret_names(value, f"{prefix}{name}.")
        elif isinstance(value, SecretStr):
            yield prefix + name


def test_every_secret_that_can_be_set_is_hidden_in_logs() -> None:
    secrets = {name: f"sk-of-{name}" for name in secret_names(load_settings())}
    assert {"model.api_key", "model.coder.api_key", "model.judge.api_key"} <= set(secrets)
    redact = redactor(load_settings(flags=secrets))
    for secret in secrets.values():
        assert redact(f"it said {secret}.") == "it said [hidden]."
