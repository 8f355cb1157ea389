"""Residency: where work and data may be, and where clusters and stores are, as the API takes and shows it."""

from typing import Annotated, Literal

from pydantic import Field

from controlplane.wire.base import Answer, Name, Request

ResidencySubject = Literal["project", "data", "cluster", "store"]
Names = Annotated[list[Name], Field(max_length=64)]


class ResidencySet(Request):
    """A rule for a project or for the data in a store; or where a cluster or a store is. All empty: anywhere."""

    subject: ResidencySubject
    name: Name = Field(description="Of the project, the cluster or the store.")
    providers: Names = Field(
        default_factory=list, description="`aws`, `alibaba`, `kubernetes`...: the adapter of a cluster."
    )
    regions: Names = Field(
        default_factory=list, description="Of a cloud, or what you call a jurisdiction: `eu`."
    )
    clusters: Names = Field(default_factory=list)


class ResidencyDocument(Answer):
    subject: ResidencySubject
    name: str
    providers: list[str]
    regions: list[str]
    clusters: list[str]
