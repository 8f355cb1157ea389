"""A strict EC2 for tests, spoken to by the real SDK: moto, and on top of it the vices of the real one.

    cloud = StrictEc2(now=clock)
    with cloud.serving() as url:
        cloud.list_lag_seconds = 20                            # lists show the past; young ids are not found
        cloud.stock["g5.xlarge", "us-east-1a", "spot"] = 0     # sold out
        cloud.quotas["L-DB2E81BA"] = 8                         # vCPUs
        cloud.faults.append(Fault(action="RunInstances", is_done=True))    # done, and the answer is lost
        cloud.interrupt("i-...")                               # a notice now, and in two minutes it is gone

What a test may believe is `machines` and `bill`: they tell the truth, whatever the lists say. Time is the clock that is
given; what falls due meanwhile happens with the next request, or with `tick`. Needs moto: `pip install 'moto[ec2]'`.
"""

import json
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from xml.etree import ElementTree as ET

from werkzeug.serving import make_server

from cloud_adapters.aws.catalogue import ON_DEMAND_DOLLARS
from cloud_adapters.aws.strict.answers import Refusal, Reply, parsed, refused
from cloud_adapters.aws.strict.backend import IMAGE, Backend
from cloud_adapters.aws.strict.launches import launch
from cloud_adapters.aws.strict.machines import (
    Fault,
    Key,
    PlacementGroup,
    Purchase,
    Rented,
    Reservation,
    SpotRequest,
)
from cloud_adapters.aws.strict.own import ACTIONS
from cloud_adapters.aws.strict.requests import Environ, Request, is_signed_with, read, session_token

__all__ = ["ACCESS_KEY", "IMAGE", "SECRET_KEY", "Fault", "Key", "Rented", "Reservation", "StrictEc2"]

ACCESS_KEY: Final = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY: Final = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105 # the one that AWS uses in its own texts
NOTICE: Final = timedelta(minutes=2)
SPOT_SHARE: Final = Decimal("0.4")
"""Of the on-demand price, where no spot price is set."""

AMPLE_VCPUS: Final = 100_000
LISTS: Final[Mapping[str, tuple[str, str]]] = {
    "ec2:DescribeInstances": ("reservationSet/item/instancesSet", "instanceId"),
    "ec2:DescribeVolumes": ("volumeSet", "volumeId"),
    "ec2:DescribeNetworkInterfaces": ("networkInterfaceSet", "networkInterfaceId"),
}
"""Lists that lag: where their items are, and what the items are called."""

REMOVALS: Final = ("Delete", "Release", "Cancel")
POLICY_TAG: Final = "crossdock.io/cluster"
TAGGED: Final[Mapping[str, tuple[str, ...]]] = {
    "ec2:RunInstances": ("instance", "volume"),
    "ec2:CreatePlacementGroup": ("placement-group",),
    "ec2:CreateSecurityGroup": ("security-group",),
}
"""What docs/aws-policy.json lets an account make only where the request tags it."""

OPEN_TO_ALL: Final = frozenset({"sts:GetCallerIdentity"})
STALLS_FOR_AT_MOST_SECONDS: Final = 60.0


@dataclass(kw_only=True, eq=False, repr=False)
class StrictEc2:
    """One account. All vices are off at first but a short boot."""

    now: Callable[[], datetime]
    on_launch: Callable[[Rented], str | None] = lambda _machine: None
    """Hears of each machine that is sold, before the buyer does. May answer its private address."""

    on_terminate: Callable[[Rented], None] = lambda _machine: None
    """Hears of each machine once, when it begins to end."""

    list_lag_seconds: float = 0.0
    boot_seconds: float = 10.0
    """For machines bought from now on; so is `stop_seconds` for those told to end."""

    stop_seconds: float = 5.0
    forgets_after_seconds: float = 3600.0
    """Lists show an ended machine for so long."""

    page_size: int = 1000
    """Most reservations on a page of machines."""

    stock: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """(type, zone, `on-demand` or `spot`) -> machines left. What is not named never runs out."""

    quotas: dict[str, int] = field(default_factory=dict)
    """In vCPUs by quota code, in each region."""

    spot_prices: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    list_prices: dict[str, Decimal] = field(default_factory=dict)
    """On demand, by type; else those of the catalogue."""

    reservations: dict[str, Reservation] = field(default_factory=dict)
    instance_profiles: set[str] = field(default_factory=set)
    leaves_disks: bool = False
    """Disks outlive their machines, as those of a careless image do."""

    stuck: set[str] = field(default_factory=set)
    """Names of what something else depends on."""

    keys: dict[str, Key] = field(default_factory=lambda: {ACCESS_KEY: Key(secret=SECRET_KEY)})
    denied: set[str] = field(default_factory=set)
    """Rights, such as `ec2:RunInstances`, that no key has."""

    faults: list[Fault] = field(default_factory=list)
    stalled: set[str] = field(default_factory=set)
    """Actions that are done, and answered only when the server ends."""

    calls: list[str] = field(default_factory=list)
    """Rights that were asked for, in order; refused ones too."""

    backend: Backend = field(default_factory=lambda: Backend(str(10**11 + secrets.randbelow(9 * 10**11))))
    rented: dict[str, Rented] = field(default_factory=dict)
    interfaces: dict[str, tuple[str, ...]] = field(default_factory=dict)
    purchases: dict[tuple[str, str], Purchase] = field(default_factory=dict)
    placement_groups: dict[tuple[str, str], PlacementGroup] = field(default_factory=dict)
    spot_requests: dict[str, SpotRequest] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _closing: threading.Event = field(default_factory=threading.Event)

    @property
    def account(self) -> str:
        return self.backend.account

    @property
    def machines(self) -> tuple[Rented, ...]:
        """The truth: all that exist now. Each costs money."""
        now = self.now()
        return tuple(each for each in self.bill if each.exists(now))

    @property
    def bill(self) -> tuple[Rented, ...]:
        """The truth: all that were ever sold, in order."""
        return tuple(self.rented.values())

    @property
    def secret(self) -> str:
        """What a cluster is registered with."""
        return json.dumps({"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY})

    def subnet_of(self, zone: str) -> str:
        return self.backend.subnets(zone.rstrip("abcdef"))[zone]

    def default_group(self, region: str) -> str:
        """The security group that every network has from the beginning."""
        return self.backend.default_group(region)

    def quota(self, code: str) -> int:
        return self.quotas.get(code, AMPLE_VCPUS)

    def spot_price(self, machine_type: str, zone: str) -> Decimal:
        usual = ON_DEMAND_DOLLARS.get(machine_type, Decimal(1)) * SPOT_SHARE
        return self.spot_prices.get((machine_type, zone), usual)

    def metadata(self, name: str) -> dict[str, str]:
        """What the metadata service tells the machine itself, by path below `latest/meta-data/`."""
        machine = self.rented[name]
        told = {
            "instance-id": machine.id,
            "instance-type": machine.machine_type,
            "local-ipv4": machine.private_ip,
            "placement/availability-zone": machine.zone,
            "placement/region": machine.region,
        }
        if machine.notice_at is not None:
            moment = (machine.notice_at + NOTICE).strftime("%Y-%m-%dT%H:%M:%SZ")
            told["spot/instance-action"] = json.dumps({"action": "terminate", "time": moment})
        return told

    def interrupt(self, name: str) -> None:
        """Takes a spot machine back, with two minutes' notice."""
        with self._lock:
            machine = self.rented[name]
            if machine.notice_at is None:
                self.rented[name] = replace(machine, notice_at=self.now())

    def machine_ended(self, name: str) -> None:
        """The machine has shut itself down; it was bought to terminate then."""
        self.end(name, "Client.InstanceInitiatedShutdown", "Instance initiated shutdown")

    def end(self, name: str, code: str, message: str) -> None:
        with self._lock:
            machine = self.rented[name]
            if machine.stopping_at is not None:
                return
            now = self.now()
            ended_at = now + timedelta(seconds=self.stop_seconds)
            ending = replace(machine, stopping_at=now, ended_at=ended_at, reason=(code, f"{code}: {message}"))
            self.rented[name] = ending
            self.on_terminate(ending)

    def tick(self) -> None:
        """Lets happen what has fallen due."""
        with self._lock:
            now = self.now()
            for machine in self.bill:
                if machine.notice_at is not None and machine.notice_at + NOTICE <= now:
                    self.end(machine.id, "Server.SpotInstanceTermination", "Spot instance termination")
                if machine.has_ended(now) and machine.id not in self._over:
                    self._over.add(machine.id)
                    self.backend.end(machine, self.interfaces[machine.id], with_disks=not self.leaves_disks)

    def add(self, machine: Rented) -> Rented:
        """Of a purchase: makes it true, and lets the host of the machines hear of it."""
        address = self.on_launch(machine)
        if address is not None:
            machine = replace(machine, private_ip=address)
            self.backend.place(machine, address)
        self.rented[machine.id] = machine
        self.interfaces[machine.id] = self.backend.interfaces_of(machine)
        return machine

    def cancel_spot_request(self, name: str) -> None:
        self.spot_requests[name] = replace(self.spot_requests[name], is_cancelled=True)

    def check_visible(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self.rented or name in self._hidden():
                raise Refusal("InvalidInstanceID.NotFound", f"The instance ID '{name}' does not exist")

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Listens on a port of loopback for as long as the block lasts, and forgets all in the end."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        server = make_server("127.0.0.1", 0, self._serve, threaded=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            self._closing.set()
            server.shutdown()
            thread.join()
            server.server_close()
            self.backend.forget()

    def _serve(self, environ: Environ, start: Callable[..., Any]) -> list[bytes]:
        reply = self._replied(environ)
        if reply is None:
            # The deed may be done; nobody hears of it.
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        headers = [
            ("Content-Type", reply.content_type),
            ("Content-Length", str(len(reply.body))),
            *reply.headers,
        ]
        start(f"{reply.http_code} -", headers)
        return [reply.body]

    def _replied(self, environ: Environ) -> Reply | None:
        request = read(environ)
        if request is None:
            return refused(
                "ec2", Refusal("MissingAuthenticationToken", "Request is missing a signature", 403)
            )
        with self._lock:
            reply = self._judged(request)
        if request.action in self.stalled:
            self._closing.wait(STALLS_FOR_AT_MOST_SECONDS)
        return reply

    def _judged(self, request: Request) -> Reply | None:
        self.calls.append(request.right)
        try:
            self.tick()
            self._check_key(request)
            fault = self._fault(request.action)
            if fault is not None and not fault.is_done:
                return _failed(request, fault)
            reply = self._done(request)
        except Refusal as refusal:
            return refused(request.service, refusal)
        return reply if fault is None else _failed(request, fault)

    def _fault(self, action: str) -> Fault | None:
        fault = next((each for each in self.faults if each.action in {action, "*"} and each.times > 0), None)
        if fault is None:
            return None
        if fault.after > 0:
            fault.after -= 1
            return None
        fault.times -= 1
        return fault

    def _check_key(self, request: Request) -> None:
        key = self.keys.get(request.access_key)
        is_ec2 = request.service == "ec2"
        if key is None:
            code = "AuthFailure" if is_ec2 else "InvalidClientTokenId"
            raise Refusal(code, "The access key is not valid", 401 if is_ec2 else 403)
        if not is_signed_with(request, key.secret) or key.token != session_token(request):
            code = "AuthFailure" if is_ec2 else "SignatureDoesNotMatch"
            raise Refusal(code, "The signature is not that of the key", 401 if is_ec2 else 403)
        if key.expires_at is not None and key.expires_at <= self.now():
            raise Refusal("RequestExpired" if is_ec2 else "ExpiredToken", "The token has expired", 400)
        if request.right in self.denied and request.right not in OPEN_TO_ALL:
            code = "UnauthorizedOperation" if is_ec2 else "AccessDeniedException"
            raise Refusal(code, "You are not authorized to perform this operation.", 403)
        if any(POLICY_TAG not in request.tags_for(thing) for thing in TAGGED.get(request.right, ())):
            raise Refusal("UnauthorizedOperation", "You are not authorized to perform this operation.", 403)

    def _done(self, request: Request) -> Reply:
        self.backend.open(request.region)
        if request.right == "ec2:RunInstances":
            return Reply(http_code=200, content_type="text/xml", body=launch(self, request))
        if request.fields.get("DryRun") == "true":
            raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)
        if request.action.startswith(REMOVALS) and self.stuck.intersection(request.fields.values()):
            raise Refusal("DependencyViolation", "The resource has a dependent object.")
        if request.right in ACTIONS:
            return ACTIONS[request.right](self, request)
        if request.right in LISTS:
            return self._listed(request)
        reply = self.backend.call(request.environ)
        if request.right == "sts:AssumeRole":
            self._learn(reply)
        return reply

    def _listed(self, request: Request) -> Reply:
        """Moto's list, as of the moment that is shown."""
        self.check_visible(request.listed("InstanceId"))
        shown = self._shown_moment()
        for machine in self.bill:
            self.backend.show(machine, machine.phase(shown))
        environ = request.environ
        if request.action == "DescribeInstances" and "InstanceId.1" not in request.fields:
            size = min(self.page_size, int(request.fields.get("MaxResults", self.page_size)))
            environ = request.with_fields({**request.fields, "MaxResults": str(size)})
        reply = self.backend.call(environ)
        return reply if reply.http_code != 200 else self._without_hidden(request, reply)  # noqa: PLR2004 # OK

    def _without_hidden(self, request: Request, reply: Reply) -> Reply:
        path, name = LISTS[request.right]
        hidden = self._hidden()
        for machine in tuple(hidden):
            hidden |= set(self.backend.belongings(self.rented[machine], self.interfaces[machine]))
        root = parsed(reply)
        for items in root.findall(path):
            for item in items.findall("item"):
                if item.findtext(name) in hidden:
                    items.remove(item)
        return replace(reply, body=ET.tostring(root))

    def _hidden(self) -> set[str]:
        """Machines too young for the lists, and those that are forgotten."""
        shown = self._shown_moment()
        oldest = shown - timedelta(seconds=self.forgets_after_seconds)
        return {
            machine.id
            for machine in self.bill
            if machine.started_at > shown or (machine.ended_at is not None and machine.ended_at <= oldest)
        }

    def _shown_moment(self) -> datetime:
        return self.now() - timedelta(seconds=self.list_lag_seconds)

    def _learn(self, reply: Reply) -> None:
        """Keys that moto has just made for a role open the account from now on."""
        found = {element.tag: element.text or "" for element in parsed(reply).iter()}
        if "AccessKeyId" in found:
            self.keys[found["AccessKeyId"]] = Key(
                secret=found["SecretAccessKey"],
                token=found["SessionToken"],
                expires_at=self.now() + timedelta(hours=1),
            )


def _failed(request: Request, fault: Fault) -> Reply | None:
    if fault.code is None:
        return None
    return refused(request.service, Refusal(fault.code, fault.message, fault.http_code))
