"""Servers that keep what they are given, for suites that run over them as well."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def real_dynamodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of DynamoDB's own engine; skips where it cannot be had."""
    from tests.support.aws_servers import aws_environment
    from tests.support.persisting_servers import dynamodb_local

    with aws_environment(), dynamodb_local(tmp_path_factory.mktemp("dynamodb")) as started:
        yield started.url


@pytest.fixture(scope="module")
def persisting_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 that keeps objects as files."""
    from tests.support.aws_servers import aws_environment
    from tests.support.persisting_servers import localbucket

    with aws_environment(), localbucket(tmp_path_factory.mktemp("s3")) as started:
        yield started.url
