"""From settings to a model gateway's own."""

from evocodec.config import ModelSettings as Configured
from evocodec.config import RoleSettings as ConfiguredRole
from evocodec.models.settings import ModelSettings, RoleSettings


def gateway_settings(settings: Configured) -> ModelSettings:
    """What the gateway needs."""
    return ModelSettings(
        base_url=settings.base_url,
        api_key=settings.api_key.get_secret_value(),
        model=settings.model,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        timeout_seconds=settings.timeout_seconds,
        max_retries=settings.max_retries,
        gone_after_seconds=settings.gone_after_seconds,
        price_per_million_input_usd=settings.price_input_usd_per_million,
        price_per_million_output_usd=settings.price_output_usd_per_million,
        budget_usd=settings.budget_usd,
        budget_tokens=settings.budget_tokens,
        roles={
            "planner": _role(settings.planner),
            "coder": _role(settings.coder),
            "reviewer": _role(settings.reviewer),
            "judge": _role(settings.judge),
        },
    )


def _role(role: ConfiguredRole) -> RoleSettings:
    return RoleSettings(model=role.model, temperature=role.temperature)
