"""AWS client: boto3's own credentials, retries, and Evocodec errors.

Imported only where DynamoDB or S3 are used: boto3 is an extra, and takes half a second to import.
Keys are never settings of ours: they come from the environment, a profile, or the role of a
service account (IRSA), and are written nowhere.
"""

import logging
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from botocore import exceptions as aws
from botocore.config import Config
from tenacity import (
    RetryError,
    Retrying,
    before_sleep_log,
    retry_if_exception_type,
    stop_before_delay,
    wait_random_exponential,
)

from evocodec.aws_session import aws_session
from evocodec.domain.errors import EvocodecError, InfrastructureFailure, UserError

Service = Literal["dynamodb", "s3"]

_log = logging.getLogger(__name__)
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 5.0
_POOL = 32
_THROTTLED = {
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "Throttling",
    "ThrottledException",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "RequestLimitExceeded",
    "RequestThrottled",
    "TooManyRequestsException",
    "LimitExceededException",
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "InternalServerError",
    "ServiceUnavailable",
    "TransactionConflict",
    "TransactionInProgressException",
    "ConditionalRequestConflict",
    "OperationAborted",
}
_REFUSED_ACCESS = {
    "AccessDenied",
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "ExpiredToken",
    "ExpiredTokenException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "IncompleteSignature",
    "KMS.AccessDeniedException",
}
_NO_CREDENTIALS = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.ProfileNotFound,
    aws.NoRegionError,
)
_NO_ANSWER = (
    aws.ConnectionError,
    aws.HTTPClientError,
    aws.CredentialRetrievalError,
    aws.TokenRetrievalError,
    OSError,
)


class _TryAgainError(Exception):
    """A problem that may not occur at the next try."""


class Refused(Exception):  # noqa: N818 - an answer, not a bug
    """An answer that the caller said it would deal with: a condition that does not hold, say."""

    def __init__(self, code: str, answer: dict[str, Any]) -> None:
        super().__init__(code)
        self.code = code
        self.answer = answer

    @property
    def reasons(self) -> tuple[str, ...]:
        """Codes of a cancelled transaction, one per write; ``None`` if it did not fail."""
        return tuple(reason.get("Code", "None") for reason in self.answer["CancellationReasons"])


@dataclass(frozen=True, slots=True)
class AwsOptions:
    """AWS region, profile and retry time of one call; empty means boto3's default."""

    region: str
    endpoint_url: str
    retry_seconds: float


class AwsClient:
    """A connection to one service. Any thread may call.

    ``call`` repeats what was throttled or not answered, with exponential waits of random length
    (so that many callers do not come back at one moment), until ``retry_seconds`` are over. A call
    whose answer was lost may have been carried out: callers only make calls that can be repeated.
    ``raw`` is boto3's client, for the work given to ``attempt``.
    """

    def __init__(self, service: Service, options: AwsOptions) -> None:
        self.service = service
        self.options = options
        config = Config(
            # The waits are made here, where they have an end and are the same for both services.
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=_POOL,
            # Trailing checksums are unknown to many stores that speak S3; ours are SHA-256.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if options.endpoint_url else "auto"},
        )
        try:
            self.raw: Any = aws_session().client(
                service,
                region_name=options.region or os.environ.get("AWS_REGION") or None,
                endpoint_url=options.endpoint_url or None,
                config=config,
            )
        except _NO_CREDENTIALS as error:
            raise self._unconfigured(error) from error
        except (aws.BotoCoreError, ValueError) as error:
            raise UserError(
                f"{service} cannot be used: {error}; check the settings under store. and the AWS "
                "configuration"
            ) from error

    @property
    def endpoint(self) -> str:
        """The address that is called."""
        return str(self.raw.meta.endpoint_url)

    @property
    def region(self) -> str:
        """The region that is called."""
        return str(self.raw.meta.region_name)

    def credential_source(self) -> str:
        """Source of the credentials as boto3 names it (``env``, ``assume-role-with-…``)."""
        found = aws_session().get_credentials()
        return "" if found is None else str(found.method)

    def call(
        self,
        doing: str,
        operation: str,
        *,
        expected: Collection[str] = (),
        within_seconds: float | None = None,
        **arguments: Any,
    ) -> dict[str, Any]:
        """Call an operation of boto3's client; ``doing`` says in an error what was tried.

        Raises:
            Refused: the service answered with one of the ``expected`` codes.
            UserError: credentials, permissions, names or settings are wrong.
            InfrastructureFailure: no usable answer in time.
        """
        function = getattr(self.raw, operation)
        answer = self.attempt(
            doing, lambda: function(**arguments), expected=expected, within_seconds=within_seconds
        )
        return dict(answer)

    def attempt(
        self,
        doing: str,
        work: Callable[[], Any],
        *,
        expected: Collection[str] = (),
        within_seconds: float | None = None,
    ) -> Any:
        """Do some work with the client's answers, as ``call`` does with one operation."""
        patience = self.options.retry_seconds if within_seconds is None else within_seconds
        retrying = Retrying(
            retry=retry_if_exception_type(_TryAgainError),
            wait=wait_random_exponential(
                multiplier=2 * _FIRST_WAIT_SECONDS, max=_LONGEST_WAIT_SECONDS
            ),
            stop=stop_before_delay(patience),
            before_sleep=before_sleep_log(_log, logging.DEBUG),
        )
        try:
            return retrying(self._try, doing, work, expected)
        except RetryError as error:
            problem = error.last_attempt.exception()
            raise InfrastructureFailure(
                f"cannot {doing}: {self.service} at {self.endpoint} did not do it in "
                f"{patience:g} s and {error.last_attempt.attempt_number} tries: {problem}. Nothing "
                "is lost: go on with `evocodec run --resume` when it answers again"
            ) from problem

    def _try(self, doing: str, work: Callable[[], Any], expected: Collection[str]) -> Any:
        """Do the work once; raises ``_TryAgainError`` where another try may help."""
        try:
            return work()
        except aws.ClientError as error:
            code = _code(error)
            if _is_transient(error):
                raise _TryAgainError(error) from error
            if code in expected:
                raise Refused(code, dict(error.response)) from error
            raise self._explained(doing, error) from error
        except _NO_CREDENTIALS as error:
            raise self._unconfigured(error) from error
        except aws.ParamValidationError as error:
            raise UserError(f"cannot {doing}: {error}") from error
        except EvocodecError:
            raise
        except _NO_ANSWER as error:
            raise _TryAgainError(error) from error
        except aws.BotoCoreError as error:
            raise InfrastructureFailure(f"cannot {doing}: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self.raw.close()

    def _explained(self, doing: str, error: aws.ClientError) -> EvocodecError:
        code, status = _code(error), _status(error)
        text = str(error.response.get("Error", {}).get("Message", "")) or code
        where = f"{self.service} at {self.endpoint}"
        if code in _REFUSED_ACCESS or status in {401, 403}:
            return UserError(
                f"cannot {doing}: {where} refuses access ({code}: {text}); give these credentials "
                "the permissions listed in docs/stores.md, or use others (AWS_PROFILE)"
            )
        if code == "ResourceNotFoundException":
            return UserError(
                f"cannot {doing}: {where} has no such table in region {self.region} ({text}); "
                "make it with `evocodec store tables --create`"
            )
        if code == "NoSuchBucket" or status == 404:
            return UserError(
                f"cannot {doing}: {where} has no such bucket ({code}); check store.bucket, or make "
                "it with `evocodec store tables --create`"
            )
        if status >= 500:
            return InfrastructureFailure(f"cannot {doing}: {where} failed ({code}: {text})")
        return UserError(f"cannot {doing}: {where} says {code}: {text}")

    def _unconfigured(self, error: Exception) -> UserError:
        return UserError(
            f"{self.service} cannot be used: {error}; set AWS_PROFILE, or AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or run under a role; the region is store.region or AWS_REGION"
        )


@cache
def connect(service: Service, options: AwsOptions) -> AwsClient:
    """The process's one connection to a service: making it takes half a second."""
    return AwsClient(service, options)


def _is_transient(error: aws.ClientError) -> bool:
    code = _code(error)
    if code == "TransactionCanceledException":
        reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
        culprits = reasons - {"None", None}
        return bool(culprits) and culprits <= _THROTTLED
    return code in _THROTTLED or _status(error) == 429 or _status(error) in {500, 502, 503, 504}


def _code(error: aws.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: aws.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
