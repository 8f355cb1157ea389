"""The calls to Alibaba Cloud, through the vendor's own SDK, which is imported by the first call.

The SDK takes seconds and 100 MiB to import, sends every parameter in the address, never tries twice, and quotes the
address in the text of its connection errors and in debug logs. The last is why no such text is passed on, and why two
loggers get a filter: a machine's user data, with the token that it boots with, is among the parameters.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from cloud_adapters.alibaba import errors
from cloud_adapters.alibaba.settings import Access
from cloud_adapters.base import AuthFailed, PluginError, Transient

if TYPE_CHECKING:
    from alibabacloud_ecs20140526.client import Client
    from alibabacloud_tea_openapi.exceptions import AlibabaCloudException
    from darabonba.runtime import RuntimeOptions

Answer = dict[str, Any]
"""The body of an answer: JSON, which `translate` reads."""

ACTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DeleteDisk": "delete_disk",
        "DeleteInstances": "delete_instances",
        "DeleteNetworkInterface": "delete_network_interface",
        "DeleteSecurityGroup": "delete_security_group",
        "DescribeAvailableResource": "describe_available_resource",
        "DescribeDisks": "describe_disks",
        "DescribeInstanceHistoryEvents": "describe_instance_history_events",
        "DescribeInstanceTypes": "describe_instance_types",
        "DescribeInstances": "describe_instances",
        "DescribeNetworkInterfaces": "describe_network_interfaces",
        "DescribePrice": "describe_price",
        "DescribeSecurityGroups": "describe_security_groups",
        "DescribeSpotPriceHistory": "describe_spot_price_history",
        "ModifyInstanceAutoReleaseTime": "modify_instance_auto_release_time",
        "RunInstances": "run_instances",
    }
)
"""Of ECS, with what the SDK calls them. docs/alibaba-policy.json grants these, and no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A product beside ECS, called without a package of its own."""

    product: str
    version: str


STS: Final = Api(product="sts", version="2015-04-01")
VPC: Final = Api(product="vpc", version="2016-04-28")
ACK: Final = Api(product="cs", version="2015-12-15")

OTHER_ACTIONS: Final[Mapping[str, Api]] = MappingProxyType(
    {
        "DescribeClusterUserKubeconfig": ACK,
        "DescribeEipAddresses": VPC,
        "GetCallerIdentity": STS,
        "ReleaseEipAddress": VPC,
    }
)
LONGEST_DIAL_SECONDS: Final = 5.0
LEAST_SECONDS: Final = 0.05
SDK_LOG: Final = "darabonba-core"
SPEAKS_OF_ADDRESSES: Final = ("urllib3.connectionpool", SDK_LOG)
SDK: Final = "alibabacloud_ecs20140526.client"
OURS: Final = "RegionId="
"""In every address that we call."""


def deadline_of(seconds: float) -> float:
    """The moment, on the monotonic clock, that `until` means below.

    Imports the SDK first, where nobody has: what that takes, once, is not the cloud's silence.
    """
    import_module(SDK)
    return time.monotonic() + seconds


class Account:
    """One account in one region. Raises `PluginError`s alone."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._sdks: dict[str | None, Client] = {}
        """By endpoint. Kept, since each remembers the keys that it was lent for a while."""

    def call(self, action: str, parameters: Mapping[str, object], *, until: float) -> Answer:
        """Of ECS, once, by the names of the API."""
        from alibabacloud_ecs20140526 import models  # noqa: PLC0415 # seconds

        whole = {"RegionId": self.access.region, **parameters}
        request = getattr(models, f"{action}Request")().from_map(whole)
        deed = getattr(self._sdk(self.access.endpoint), f"{ACTIONS[action]}_with_options")

        def ask(runtime: "RuntimeOptions") -> Answer:
            answer: Answer = deed(request, runtime).body.to_map()
            return answer

        return _tried(action, ask, until)

    def call_other(
        self, action: str, parameters: Mapping[str, str], *, path: str | None = None, until: float
    ) -> Answer:
        """Of another product. A `path` makes it a GET of that path, with the parameters as its query."""
        from alibabacloud_tea_openapi import utils_models  # noqa: PLC0415 # seconds

        api = OTHER_ACTIONS[action]
        params = utils_models.Params(
            action=action,
            version=api.version,
            protocol="HTTPS",
            pathname=path or "/",
            method="GET" if path else "POST",
            auth_type="AK",
            style="ROA" if path else "RPC",
            req_body_type="json",
            body_type="json",
        )
        where = self.access.endpoint or f"{api.product}.{self.access.region}.aliyuncs.com"
        sdk = self._sdk(where)

        def ask(runtime: "RuntimeOptions") -> Answer:
            request = utils_models.OpenApiRequest(query=dict(parameters))
            answer: Answer = sdk.call_api(params, request, runtime)["body"]
            return answer

        return _tried(action, ask, until)

    def _sdk(self, endpoint: str | None) -> "Client":
        if endpoint not in self._sdks:
            self._sdks[endpoint] = self._made(endpoint)
        return self._sdks[endpoint]

    def _made(self, endpoint: str | None) -> "Client":
        from alibabacloud_credentials.client import Client as Surroundings  # noqa: PLC0415 # seconds
        from alibabacloud_credentials.exceptions import CredentialException  # noqa: PLC0415 # seconds
        from alibabacloud_ecs20140526.client import Client  # noqa: PLC0415 # seconds
        from alibabacloud_tea_openapi.utils_models import Config  # noqa: PLC0415 # seconds

        _hush()
        config = Config(region_id=self.access.region, endpoint=endpoint)
        config.protocol = "HTTP" if self.access.endpoint else "HTTPS"
        keys = self.access.keys
        if keys is None:
            try:
                config.credential = Surroundings()
            except CredentialException:
                raise AuthFailed("the surroundings of the server grant no RAM role and no keys") from None
        else:
            config.access_key_id = keys.access_key_id
            config.access_key_secret = keys.access_key_secret
            config.security_token = keys.security_token
        return Client(config)


class _NoParameters(logging.Filter):
    """Lets no record through that says with what we called."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.DEBUG or (record.name != SDK_LOG and OURS not in record.getMessage())


_NO_PARAMETERS: Final = _NoParameters()


def _hush() -> None:
    """A filter that is there already is not added twice."""
    for name in SPEAKS_OF_ADDRESSES:
        logging.getLogger(name).addFilter(_NO_PARAMETERS)


def _tried(action: str, ask: Callable[["RuntimeOptions"], Answer], until: float) -> Answer:
    from alibabacloud_tea_openapi.exceptions import AlibabaCloudException  # noqa: PLC0415 # seconds
    from darabonba.exceptions import UnretryableException  # noqa: PLC0415 # seconds
    from darabonba.runtime import RuntimeOptions  # noqa: PLC0415 # seconds

    left = until - time.monotonic()
    if left < LEAST_SECONDS:
        raise Transient(f"{action}: no time is left for the call")
    runtime = RuntimeOptions(
        autoretry=False,
        connect_timeout=round(1000 * min(left, LONGEST_DIAL_SECONDS)),
        read_timeout=round(1000 * left),
    )
    try:
        return ask(runtime)
    except AlibabaCloudException as problem:
        raise errors.from_refusal(_refusal(action, problem)) from None
    except UnretryableException as problem:
        raise _unanswered(action, problem.inner_exception) from None


def _refusal(action: str, problem: "AlibabaCloudException") -> errors.Refusal:
    said = problem.data if isinstance(problem.data, dict) else {}
    milliseconds = problem.retry_after
    return errors.Refusal(
        action=action,
        http_code=problem.status_code or 0,
        code=str(problem.code),
        text=str(said.get("Message") or said.get("message") or ""),
        request_id=str(problem.request_id),
        retry_after_seconds=milliseconds / 1000 if milliseconds else None,
    )


def _unanswered(action: str, why: Exception | None) -> PluginError:
    """Looks at types alone, never at a text: see above."""
    from alibabacloud_credentials.exceptions import CredentialException  # noqa: PLC0415 # seconds

    if isinstance(why, CredentialException):
        return AuthFailed(f"{action}: the surroundings of the server grant no RAM role and no keys")
    cause = why.__context__ if why is not None else None
    how = "the answer cannot be read" if cause is None else f"no answer ({type(cause).__name__})"
    return errors.from_silence(action, how, was_sent=not _was_never_sent(cause))


def _was_never_sent(cause: BaseException | None) -> bool:
    from requests import ConnectTimeout  # noqa: PLC0415 # comes with the SDK
    from urllib3.exceptions import MaxRetryError, NewConnectionError  # noqa: PLC0415 # comes with the SDK

    if isinstance(cause, ConnectTimeout):
        return True
    inner = cause.args[0] if cause is not None and cause.args else None
    return isinstance(inner, MaxRetryError) and isinstance(inner.reason, NewConnectionError)
