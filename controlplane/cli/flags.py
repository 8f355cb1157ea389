"""Options that several commands take, worded once."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON instead of text, one document per line."),
]
JobId = Annotated[
    str, typer.Argument(metavar="JOB", help="Id of the job, as `crossdock jobs list` shows it.")
]
ClusterName = Annotated[str, typer.Argument(metavar="CLUSTER", help="Name or id of the cluster.")]
InCluster = Annotated[
    str | None,
    typer.Option("--cluster", "-c", metavar="CLUSTER", help="Only of this cluster; default: of all."),
]
Project = Annotated[str, typer.Option("--project", "-p", metavar="NAME", help="Project that it belongs to.")]
InProject = Annotated[
    str | None,
    typer.Option("--project", "-p", metavar="NAME", help="Only of this project; default: all you may see."),
]
Home = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of the database, keys and uploads; default: CROSSDOCK_HOME, else ~/.crossdock.",
    ),
]
