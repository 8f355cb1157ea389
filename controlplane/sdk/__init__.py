"""The Python SDK: submit jobs and see what becomes of them.

Needs httpx and pydantic only; nothing of the server, of Ray or of a cloud.
"""

from controlplane.sdk.client import Client
from controlplane.sdk.errors import (
    ApiProblem,
    BadFolder,
    ClientFault,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    JobFailed,
    Misconfigured,
    NotFound,
    ServerFault,
    Timeout,
    TooLarge,
    Unauthenticated,
    Unreachable,
)
from controlplane.sdk.job import Job
from controlplane.wire.jobs import JobReceipt, JobRefusal
from controlplane.wire.jobspec import JobSpec, Resources, Retry, Role

__all__ = [
    "ApiProblem",
    "BadFolder",
    "Client",
    "ClientFault",
    "Conflict",
    "Forbidden",
    "Gone",
    "Invalid",
    "Job",
    "JobFailed",
    "JobReceipt",
    "JobRefusal",
    "JobSpec",
    "Misconfigured",
    "NotFound",
    "Resources",
    "Retry",
    "Role",
    "ServerFault",
    "Timeout",
    "TooLarge",
    "Unauthenticated",
    "Unreachable",
]
