"""An uploaded kubeconfig opens one API server, and nothing else."""

import base64
import json
from collections.abc import Mapping

import pytest

from cloud_adapters.base import Rejected
from cloud_adapters.kubernetes.kubeconfig import Access, Permissions, access_of, refuse_local

STRICT = Permissions()
LENIENT = Permissions(local_addresses=True)
SERVER = "https://kube.example.org:6443"


def config(
    cluster: Mapping[str, object] | None = None, user: Mapping[str, object] | None = None, **changes: object
) -> str:
    whole: dict[str, object] = {
        "current-context": "main",
        "contexts": [
            {"name": "main", "context": {"cluster": "c", "user": "u"}},
            {"name": "other", "context": {"cluster": "c", "user": "nobody"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": SERVER, **(cluster or {})}}],
        "users": [{"name": "u", "user": dict(user or {"token": "s3cret"})}],
    }
    return json.dumps(whole | changes)


def nowhere(_host: str) -> tuple[str, ...]:
    return ("203.0.113.7",)


def read(text: str, permissions: Permissions = STRICT, context: str | None = None) -> Access:
    return access_of(text, permissions, context=context, lookup=nowhere)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_token_and_a_ca_are_all_that_is_needed() -> None:
    cluster = {"certificate-authority-data": encoded("CA"), "tls-server-name": "kube", "server": f"{SERVER}/"}
    assert read(config(cluster)) == Access(
        server=SERVER, ca_pem="CA", authorization="Bearer s3cret", server_name="kube", context="main"
    )


def test_a_client_certificate_comes_with_its_key() -> None:
    user = {"client-certificate-data": encoded("CERT"), "client-key-data": encoded("KEY")}
    access = read(config(user=user))
    assert (access.client_pem, access.authorization) == ("CERT\nKEY", None)


def test_a_password_travels_as_basic_authorization() -> None:
    assert read(config(user={"username": "a", "password": "b"})).authorization == f"Basic {encoded('a:b')}"


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read("\ufeff" + config()).server == SERVER


def test_secrets_are_not_shown() -> None:
    user = {"token": "s3cret", "client-certificate-data": encoded("C"), "client-key-data": encoded("KEY")}
    shown = repr(read(config(user=user)))
    assert "s3cret" not in shown
    assert "KEY" not in shown


@pytest.mark.parametrize("key", ["exec", "auth-provider"])
def test_a_program_in_a_kubeconfig_is_not_run_unless_the_server_permits_it(key: str) -> None:
    text = config(user={key: {"command": "touch", "args": ["owned"]}})
    with pytest.raises(Rejected, match=f"`{key}`, which runs a program"):
        read(text)
    assert read(text, Permissions(commands=True)).needs_loader


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ({"certificate-authority": "/etc/passwd"}, None),
        (None, {"tokenFile": "/etc/shadow"}),
        (None, {"client-key": "/root/.ssh/id"}),
    ],
)
def test_a_kubeconfig_does_not_make_the_server_read_its_own_files(
    cluster: Mapping[str, object] | None, user: Mapping[str, object] | None
) -> None:
    with pytest.raises(Rejected, match="names a file"):
        read(config(cluster, user))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not YAML"),
        ("[]", "must be a mapping"),
        ("{}", "no context named ''"),
        (config(users=[]), "no user named 'u'"),
        (config(clusters=[{"name": "c", "cluster": "x"}]), "must be a mapping"),
        (config({"insecure-skip-tls-verify": True}), "skips the check"),
        (config({"server": "kube.example.org"}), "is not an address"),
        (config({"server": "file:///etc/passwd"}), "is not an address"),
        (config({"certificate-authority-data": "%"}), "not a certificate in base64"),
        (config(user={"client-certificate-data": encoded("C")}), "without its key"),
    ],
)
def test_a_kubeconfig_that_will_not_do_says_why(text: str, message: str) -> None:
    with pytest.raises(Rejected, match=message):
        read(text)


def test_a_broken_kubeconfig_is_not_quoted() -> None:
    with pytest.raises(Rejected) as refused:
        read("token: s3cret\n\t- broken")
    assert "s3cret" not in refused.value.message


def test_the_context_may_be_chosen() -> None:
    with pytest.raises(Rejected, match="no user named 'nobody'"):
        read(config(), context="other")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "api.localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"],  # noqa: S104 # as addresses to dial
)
def test_the_server_s_own_machine_is_not_dialled_for_others(host: str) -> None:
    with pytest.raises(Rejected, match="own machine"):
        refuse_local(f"https://{host}/", STRICT, lookup=lambda _: ())
    refuse_local(f"https://{host}/", LENIENT, lookup=lambda _: ())


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "100.100.100.200",
        "[fd00:ec2::254]",
        "[fe80::1%25eth0]",
        "metadata.google.internal",
    ],
)
@pytest.mark.parametrize("permissions", [STRICT, LENIENT], ids=["strict", "lenient"])
def test_a_metadata_service_is_never_dialled(host: str, permissions: Permissions) -> None:
    with pytest.raises(Rejected, match="metadata service"):
        refuse_local(f"https://{host}/", permissions, lookup=lambda _: ())


def test_a_name_that_leads_to_loopback_is_refused_too() -> None:
    with pytest.raises(Rejected, match=r"leads to 127\.0\.0\.1"):
        refuse_local(SERVER, STRICT, lookup=lambda _: ("203.0.113.7", "127.0.0.1"))


def test_a_proxy_in_the_kubeconfig_is_looked_at_like_the_server() -> None:
    with pytest.raises(Rejected, match="metadata"):
        read(config({"proxy-url": "http://metadata.google.internal:3128"}))


@pytest.mark.parametrize(
    ("environment", "permissions"),
    [
        ({}, Permissions(local_addresses=True)),
        ({"CROSSDOCK_HOST": "0.0.0.0"}, STRICT),  # noqa: S104 # as a setting
        ({"CROSSDOCK_PUBLIC_URL": "https://crossdock.example.org"}, STRICT),
        (
            {"CROSSDOCK_HOST": "10.0.0.1", "CROSSDOCK_ALLOW_LOOPBACK_CLUSTERS": "true"},
            Permissions(local_addresses=True),
        ),
        (
            {"CROSSDOCK_HOST": "10.0.0.1", "CROSSDOCK_KUBECONFIG_COMMANDS": "true"},
            Permissions(commands=True),
        ),
    ],
)
def test_permissions_come_from_the_environment_of_the_server(
    environment: Mapping[str, str], permissions: Permissions
) -> None:
    assert Permissions.read(environment) == permissions
