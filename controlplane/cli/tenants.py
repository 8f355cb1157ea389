"""`crossdock projects`, `queues`, `tokens` and `whoami`: who may do what, and where work waits."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from controlplane.cli.flags import AsJson, InProject, Project
from controlplane.cli.output import Columns
from controlplane.cli.session import session
from controlplane.cli.text import moment
from controlplane.wire.admin import ProjectDocument, QueueDocument, Role, TokenDocument

projects = typer.Typer(
    name="projects", help="Tenants: each has its own queues, jobs and tokens.", no_args_is_help=True
)
queues = typer.Typer(name="queues", help="Where the jobs of a project wait.", no_args_is_help=True)
tokens = typer.Typer(name="tokens", help="Who may do what: viewer, submitter or admin.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="1 to 63 of a-z, 0-9, '.', '_', '-'.")]

PROJECT_COLUMNS: Final[Columns[ProjectDocument]] = (
    ("NAME", lambda each: each.name),
    ("ID", lambda each: each.id),
    ("CREATED", lambda each: moment(each.created_at)),
)
QUEUE_COLUMNS: Final[Columns[QueueDocument]] = (
    ("PROJECT", lambda each: each.project),
    ("NAME", lambda each: each.name),
    ("ID", lambda each: each.id),
    ("CREATED", lambda each: moment(each.created_at)),
)
TOKEN_COLUMNS: Final[Columns[TokenDocument]] = (
    ("ID", lambda each: each.id),
    ("NAME", lambda each: each.name),
    ("ROLE", lambda each: each.role),
    ("PROJECT", lambda each: each.project or "all"),
    ("CREATED", lambda each: moment(each.created_at)),
    ("EXPIRES", lambda each: moment(each.expires_at)),
    ("REVOKED", lambda each: moment(each.revoked_at)),
)


@projects.command("create")
def create_project(*, name: Name, as_json: AsJson = False) -> None:
    """Create a project; it comes with a queue named `default`."""
    with session(as_json=as_json) as opened:
        document = opened.client.projects.create(name)
        opened.output.document(document, [("id", document.id), ("name", document.name)])


@projects.command("list")
def list_projects(*, as_json: AsJson = False) -> None:
    """List the projects that you may see."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.projects.list(), PROJECT_COLUMNS)


@queues.command("create")
def create_queue(*, name: Name, project: Project = "default", as_json: AsJson = False) -> None:
    """Create a queue of a project."""
    with session(as_json=as_json) as opened:
        document = opened.client.queues.create(name, project=project)
        facts = [("id", document.id), ("project", document.project), ("name", document.name)]
        opened.output.document(document, facts)


@queues.command("list")
def list_queues(*, project: InProject = None, as_json: AsJson = False) -> None:
    """List queues."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.queues.list(project=project), QUEUE_COLUMNS)


@tokens.command("create")
def create_token(
    *,
    name: Name,
    role: Annotated[
        Role,
        typer.Option(
            "--role", help="viewer reads; submitter also submits and cancels; admin also sets things up."
        ),
    ],
    project: Annotated[
        str | None,
        typer.Option("--project", "-p", metavar="NAME", help="Good for this project; default: for all."),
    ] = None,
    expires_in_days: Annotated[
        float | None, typer.Option(min=0, metavar="DAYS", help="Good for so long; default: until revoked.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a token. Its secret is shown now and never again."""
    expires_at = None if expires_in_days is None else datetime.now(UTC) + timedelta(days=expires_in_days)
    with session(as_json=as_json) as opened:
        document = opened.client.tokens.create(name, role=role, project=project, expires_at=expires_at)
        facts = [("id", document.id), ("expires", moment(document.expires_at)), ("secret", document.secret)]
        opened.output.document(document, facts)


@tokens.command("list")
def list_tokens(*, as_json: AsJson = False) -> None:
    """List tokens, without their secrets."""
    with session(as_json=as_json) as opened:
        opened.output.rows(opened.client.tokens.list(), TOKEN_COLUMNS)


@tokens.command("revoke")
def revoke_token(
    *,
    token_id: Annotated[str, typer.Argument(metavar="TOKEN", help="Id of the token.")],
    as_json: AsJson = False,
) -> None:
    """End a token; it is refused within 5 seconds."""
    with session(as_json=as_json) as opened:
        document = opened.client.tokens.revoke(token_id)
        opened.output.document(document, [("id", document.id), ("revoked", moment(document.revoked_at))])


def whoami(*, as_json: AsJson = False) -> None:
    """Show whose token is in use, and what it may do."""
    with session(as_json=as_json) as opened:
        me = opened.client.me()
        opened.output.document(me, [("token", me.name), ("role", me.role), ("project", me.project or "all")])
