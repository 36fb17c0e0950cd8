"""The judge: adopts or rejects by rule; a language model may explain or veto, never grant."""

from dataclasses import dataclass, replace
from typing import Protocol

from agents.asking import RoleQuestion, ask
from agents.opinions import Unreadable, veto_from
from agents.templates import Prompts, fenced
from evocodec.domain.candidate import Verdict
from evocodec.domain.errors import CandidateFailure
from evocodec.domain.results import Score
from evocodec.domain.vocabulary import ModelRole, VerdictRule
from evocodec.models.contract import ChatGateway
from evocodec.rules.adoption import JudgeRequest, Thresholds, judge

_FORM = '{"veto": false, "reason": "one or two sentences with the numbers that matter"}'


class Judge(Protocol):
    """Decides whether a candidate becomes a version."""

    def judge(self, request: JudgeRequest) -> Verdict:
        """Return the verdict; never raises for what a candidate did."""


@dataclass(frozen=True, slots=True)
class RuleJudge:
    """Applies the rules alone."""

    thresholds: Thresholds

    def judge(self, request: JudgeRequest) -> Verdict:
        """Apply the rules."""
        return judge(request, self.thresholds)


@dataclass(frozen=True, slots=True)
class ModelJudge:
    """Applies the rules first; a language model is asked only about adoptions.

    An answer that cannot be read changes nothing.
    """

    rule: RuleJudge
    gateway: ChatGateway
    prompts: Prompts

    def judge(self, request: JudgeRequest) -> Verdict:
        """Apply the rules, then let the model explain or veto an adoption."""
        verdict = self.rule.judge(request)
        if not verdict.adopt or request.score is None:
            return verdict
        prompt = self.prompts.render(
            "judge",
            verdict=fenced(verdict.reason),
            numbers=fenced(_numbers(request.score)),
        )
        try:
            opinion = ask(
                self.gateway,
                self.prompts,
                RoleQuestion(ModelRole.JUDGE, prompt, veto_from, _FORM),
                candidate_id=request.candidate_id,
                attempt=0,
            )
        except CandidateFailure:
            return verdict
        if isinstance(opinion, Unreadable):
            return verdict
        if opinion.veto:
            return replace(
                verdict,
                adopt=False,
                rule=VerdictRule.VETOED,
                reason=f"{verdict.reason} The model judge vetoed it: {opinion.reason}",
            )
        return replace(verdict, reason=f"{verdict.reason} The model judge: {opinion.reason}")


def _numbers(score: Score) -> str:
    lines = [
        f"bitrate_mbps: {score.bitrate_mbps:.3f}",
        f"compression_ratio: {score.compression_ratio:.3f}",
        f"bd_rate_percent against HEVC (negative is better): {score.bd_rate_percent:.2f}",
        f"worst clip: {score.worst_clip}, {score.worst_clip_ratio:.3f} x HEVC's bits",
        f"encode {score.encode_fps:.2f} frames/s, decode {score.decode_fps:.2f} frames/s",
        f"peak memory {score.peak_memory_bytes / 2**20:.0f} MiB, program {score.program_bytes} B",
    ]
    lines += [
        f"{clip.clip}: {clip.rate_ratio:.3f} x HEVC's bits at {clip.operating_psnr_y_db:.2f} dB, "
        f"BD-rate {clip.bd_rate.akima_percent:.2f} %"
        for clip in score.clips
    ]
    return "\n".join(lines)
