"""Raw calls to AWS: sessions, clients and deadlines; every answer that is no success becomes a `PluginError`.

The SDK is imported with the first call, not with the module: a server that has no cluster here never pays for it.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from threading import Lock, local
from time import monotonic
from typing import Any, Final

from cloud_adapters.aws.errors import from_answer, from_silence
from cloud_adapters.base import AuthFailed, PluginError, Rejected, Transient

Answer = Mapping[str, Any]
"""As botocore parsed it; typed by nobody."""

TIME_STEPS: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0)
"""Seconds that a call may take in all, rounded down: each step is an SDK client with timeouts of its own."""

READ_ATTEMPTS: Final = 2
"""Of calls that buy nothing. A purchase is sent once: the SDK would repeat a sold-out zone's answer four times."""

SHORT_SECONDS: Final = 5.0
"""Below it a second attempt and the pause before it would not fit."""

ROLE_CONNECT_SECONDS: Final = 2.0
ROLE_READ_SECONDS: Final = 3.0
"""For a role's keys, which every call of the account waits for: far less than a purchase may take."""

PRICE_REGION: Final = "us-east-1"
"""One of the three in which the price list is served."""

SESSION_NAME: Final = "crossdock"
NOISY: Final = ("boto3", "botocore", "urllib3")
"""At debug level these log whole requests: signatures, session tokens and user data."""


class Act(StrEnum):
    """Every action that is ever called: what docs/aws-policy.json grants."""

    WHO_AM_I = "sts:GetCallerIdentity"
    ASSUME_ROLE = "sts:AssumeRole"
    TYPES = "ec2:DescribeInstanceTypes"
    OFFERINGS = "ec2:DescribeInstanceTypeOfferings"
    SPOT_PRICES = "ec2:DescribeSpotPriceHistory"
    LIST_PRICES = "pricing:GetProducts"
    QUOTA = "servicequotas:GetServiceQuota"
    IMAGES = "ec2:DescribeImages"
    SUBNETS = "ec2:DescribeSubnets"
    RESERVATIONS = "ec2:DescribeCapacityReservations"
    SECURITY_GROUPS = "ec2:DescribeSecurityGroups"
    MAKE_SECURITY_GROUP = "ec2:CreateSecurityGroup"
    OPEN_SECURITY_GROUP = "ec2:AuthorizeSecurityGroupIngress"
    OPEN_SECURITY_GROUP_OUT = "ec2:AuthorizeSecurityGroupEgress"
    DROP_SECURITY_GROUP = "ec2:DeleteSecurityGroup"
    PLACEMENT_GROUPS = "ec2:DescribePlacementGroups"
    MAKE_PLACEMENT_GROUP = "ec2:CreatePlacementGroup"
    DROP_PLACEMENT_GROUP = "ec2:DeletePlacementGroup"
    BUY = "ec2:RunInstances"
    MACHINES = "ec2:DescribeInstances"
    END = "ec2:TerminateInstances"
    DISKS = "ec2:DescribeVolumes"
    DROP_DISK = "ec2:DeleteVolume"
    INTERFACES = "ec2:DescribeNetworkInterfaces"
    DROP_INTERFACE = "ec2:DeleteNetworkInterface"
    ADDRESSES = "ec2:DescribeAddresses"
    DROP_ADDRESS = "ec2:ReleaseAddress"
    TEMPLATES = "ec2:DescribeLaunchTemplates"
    DROP_TEMPLATE = "ec2:DeleteLaunchTemplate"
    SPOT_REQUESTS = "ec2:DescribeSpotInstanceRequests"
    DROP_SPOT_REQUEST = "ec2:CancelSpotInstanceRequests"
    EKS_CLUSTER = "eks:DescribeCluster"

    @property
    def service(self) -> str:
        return {"servicequotas": "service-quotas"}.get(self._prefix, self._prefix)

    @property
    def operation(self) -> str:
        return self.value.partition(":")[2]

    @property
    def _prefix(self) -> str:
        return self.value.partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What opens the account. Without an access key: whatever the surroundings of the server grant."""

    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    role_arn: str | None = None
    """Taken on with the keys, and again whenever it is about to lapse."""

    external_id: str | None = field(default=None, repr=False)


def keys_of(secret: str | None) -> Keys:
    """Raises `Rejected`, which names the fields and never what is in them."""
    if secret is None:
        return Keys()
    try:
        given = json.loads(secret)
    except ValueError:
        given = None
    known = set(Keys.__dataclass_fields__)
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise Rejected(
            f"the secret of an AWS account must be a JSON object of texts: {', '.join(sorted(known))}"
        )
    if unknown := sorted(given.keys() - known):
        raise Rejected(f"the secret of an AWS account has unknown fields: {', '.join(unknown)}")
    if ("access_key_id" in given) != ("secret_access_key" in given):
        raise Rejected(
            "the secret of an AWS account needs access_key_id and secret_access_key, both or neither"
        )
    return Keys(**given)


class Account:
    """Clients of one account behind one address; safe for threads. Keeps connections, and nothing of any answer."""

    def __init__(
        self, secret: str | None, endpoint_url: str | None, clock: Callable[[], float] = monotonic
    ) -> None:
        self.clock = clock
        self._keys = keys_of(secret)
        self._endpoint_url = endpoint_url
        self._lock = Lock()
        self._due = local()
        """The call that a thread is making, and when its time is over."""

        self._session: Any = None  # boto3 ships no types
        self._clients: dict[tuple[str, str, float, int], Any] = {}

    def until(self, deadline: float) -> "Calls":
        return Calls(account=self, ends_at=self.clock() + deadline)

    @contextmanager
    def due(self, act: Act, ends_at: float) -> Iterator[None]:
        """Nothing that this thread asks for within is sent later: taking on a role may have eaten the time."""
        self._due.act, self._due.ends_at = act, ends_at
        try:
            yield
        finally:
            del self._due.act, self._due.ends_at

    def signed_identity_url(self, region: str, seconds: int, headers: Mapping[str, str]) -> str:
        """A URL that tells whoever fetches it, with these headers, who we are. Signed here; no call is made."""
        from botocore.signers import RequestSigner  # noqa: PLC0415 # lazy

        sts = self.client(Act.WHO_AM_I.service, region, TIME_STEPS[-1], READ_ATTEMPTS)
        model = sts.meta.service_model
        signer = RequestSigner(
            model.service_id,
            region,
            model.signing_name,
            "v4",
            self._session.get_credentials(),
            self._session.events,
        )
        query = f"Action={Act.WHO_AM_I.operation}&Version={model.api_version}"
        request = {
            "method": "GET",
            "url": f"{sts.meta.endpoint_url}/?{query}",
            "body": {},
            "headers": dict(headers),
            "context": {},
        }
        return str(
            signer.generate_presigned_url(request, operation_name="", region_name=region, expires_in=seconds)
        )

    def client(self, service: str, region: str, seconds: float, attempts: int) -> Any:  # noqa: ANN401 # untyped SDK
        key = (service, region, seconds, attempts)
        with self._lock:
            if key not in self._clients:
                self._clients[key] = self._new_client(*key)
            return self._clients[key]

    def _new_client(self, service: str, region: str, seconds: float, attempts: int) -> Any:  # noqa: ANN401 # untyped SDK
        from botocore.config import Config  # noqa: PLC0415 # lazy

        if self._session is None:
            self._session = _session(self._keys, region, self._endpoint_url)
        config = Config(
            connect_timeout=seconds / attempts / 3,
            read_timeout=seconds / attempts / 1.7,
            retries={"mode": "standard", "total_max_attempts": attempts},
            user_agent_extra=SESSION_NAME,
        )
        client = self._session.client(
            service, region_name=region, endpoint_url=self._endpoint_url, config=config
        )
        client.meta.events.register("before-send", self._check_time)
        return client

    def _check_time(self, **_: object) -> None:
        """The SDK asks when a request is signed, and before each time that it sends it."""
        if self.clock() >= self._due.ends_at:
            raise Transient(f"{self._due.act}: its deadline passed before it was sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The calls that are made for one call of the port, and share its deadline."""

    account: Account
    ends_at: float
    """By the account's clock."""

    def ask(self, act: Act, region: str, **parameters: object) -> Answer:
        seconds = self._seconds_left(act)
        attempts = 1 if act is Act.BUY or seconds < SHORT_SECONDS else READ_ATTEMPTS
        with self.account.due(act, self.ends_at):
            return _answered(
                act, lambda: self.account.client(act.service, region, seconds, attempts), parameters
            )

    def rows(self, act: Act, region: str, key: str, **parameters: object) -> Iterator[Mapping[str, Any]]:
        """All of them, page by page, or an error: a list that was cut short is no list."""
        token: dict[str, str] = {}
        while True:
            answer = self.ask(act, region, **parameters, **token)
            yield from answer.get(key, ())
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}

    def _seconds_left(self, act: Act) -> float:
        left = self.ends_at - self.account.clock()
        fitting = [step for step in TIME_STEPS if step <= left]
        if not fitting:
            raise Transient(f"{act}: the deadline of the call has passed")
        return fitting[-1]


def _answered(act: Act, client: Callable[[], Any], parameters: Mapping[str, object]) -> Answer:
    """The cause of an error is left out of it: botocore's own texts quote parameters, and user data holds a token."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 # lazy
    from botocore.parsers import ResponseParserError  # noqa: PLC0415 # lazy

    try:
        call = getattr(client(), _method_name(act))
        return dict(call(**parameters))
    except ClientError as error:
        answer = error.response.get("Error", {})
        http_code = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
        code, message = str(answer.get("Code", "?")), str(answer.get("Message", ""))
        is_own = error.operation_name == act.operation  # else the role was refused, and nothing was sent
        raise from_answer(
            act if is_own else f"{act} ({error.operation_name})",
            code,
            message,
            http_code=http_code,
            buys=is_own and act is Act.BUY,
        ) from None
    except ResponseParserError:
        raise from_silence(act, "it cannot be parsed", was_sent=True, buys=act is Act.BUY) from None
    except BotoCoreError as error:
        raise _from_botocore(act, error) from None


def _from_botocore(act: Act, error: Exception) -> PluginError:
    """What the SDK itself says: the network, credentials that are missing, parameters that are none."""
    from botocore import exceptions as boto  # noqa: PLC0415 # lazy

    match error:
        case boto.NoCredentialsError() | boto.PartialCredentialsError() | boto.CredentialRetrievalError():
            return AuthFailed(
                f"{act}: {type(error).__name__}: the server finds no credentials that are whole"
            )
        case boto.EndpointConnectionError() | boto.ConnectTimeoutError() | boto.ProxyConnectionError():
            return from_silence(act, type(error).__name__, was_sent=False, buys=False)
        case boto.HTTPClientError():  # read timeouts, connections that were cut
            return from_silence(act, type(error).__name__, was_sent=True, buys=act is Act.BUY)
        case _:
            return Rejected(f"{act}: {type(error).__name__}: the SDK refused to send it")


def _method_name(act: Act) -> str:
    from botocore import xform_name  # noqa: PLC0415 # lazy

    return str(xform_name(act.operation))


def _session(keys: Keys, region: str, endpoint_url: str | None) -> Any:  # noqa: ANN401 # untyped SDK
    for name in NOISY:
        logger = logging.getLogger(name)
        logger.setLevel(max(logger.getEffectiveLevel(), logging.INFO))
    import boto3  # noqa: PLC0415 # lazy

    session = boto3.Session(
        aws_access_key_id=keys.access_key_id,
        aws_secret_access_key=keys.secret_access_key,
        aws_session_token=keys.session_token,
        botocore_session=_bare_session(),
    )
    return session if keys.role_arn is None else _in_role(session, keys, region, endpoint_url)


def _in_role(session: Any, keys: Keys, region: str, endpoint_url: str | None) -> Any:  # noqa: ANN401 # untyped SDK
    """A session whose credentials are those of the role, taken when first needed and renewed before they lapse."""
    import boto3  # noqa: PLC0415 # lazy
    from botocore.credentials import DeferredRefreshableCredentials  # noqa: PLC0415 # lazy

    def taken_on() -> dict[str, str]:
        sts = role_client(session, region, endpoint_url)
        external = {} if keys.external_id is None else {"ExternalId": keys.external_id}
        given = sts.assume_role(RoleArn=keys.role_arn, RoleSessionName=SESSION_NAME, **external)[
            "Credentials"
        ]
        return {
            "access_key": given["AccessKeyId"],
            "secret_key": given["SecretAccessKey"],
            "token": given["SessionToken"],
            "expiry_time": given["Expiration"].isoformat(),
        }

    inner = _bare_session()
    inner._credentials = DeferredRefreshableCredentials(taken_on, SESSION_NAME)  # noqa: SLF001 # no public setter
    return boto3.Session(botocore_session=inner)


def role_client(session: Any, region: str, endpoint_url: str | None) -> Any:  # noqa: ANN401 # untyped SDK
    """Asks once: whoever waits for the role has a deadline, and asks again."""
    from botocore.config import Config  # noqa: PLC0415 # lazy

    config = Config(
        connect_timeout=ROLE_CONNECT_SECONDS,
        read_timeout=ROLE_READ_SECONDS,
        retries={"mode": "standard", "total_max_attempts": 1},
    )
    return session.client("sts", region_name=region, endpoint_url=endpoint_url, config=config)


def _bare_session() -> Any:  # noqa: ANN401 # untyped SDK
    from botocore.session import Session  # noqa: PLC0415 # lazy

    session = Session()
    session.register_component("data_loader", _models())
    return session


@lru_cache(maxsize=1)
def _models() -> Any:  # noqa: ANN401 # untyped SDK
    """Descriptions of the APIs, megabytes of them: read once, for all accounts."""
    from botocore.loaders import create_loader  # noqa: PLC0415 # lazy

    return create_loader()
