"""AWS session: boto3's own chain of credentials, with keys that are no longer in the environment.

Imported only where AWS is used: boto3 is an extra, and takes half a second to import.
"""

import boto3
import botocore.session
from botocore.credentials import ContainerProvider, EnvProvider

from evocodec.keys import environment_with_keys


def aws_session() -> "boto3.session.Session":
    """Return a session that finds credentials as boto3 documents it: environment, profile, role."""
    environment = environment_with_keys()
    core = botocore.session.get_session()
    chain = core.get_component("credential_provider")
    chain.insert_before("env", EnvProvider(environ=environment))
    chain.insert_before("container-role", ContainerProvider(environ=environment))
    return boto3.session.Session(botocore_session=core)
