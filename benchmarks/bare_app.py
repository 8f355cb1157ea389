"""The least that a server of this kind weighs: FastAPI, SQLAlchemy on SQLite and one route.

Reads the path of its database from BARE_DATABASE.
"""

import os

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import Column, MetaData, Table, Text, create_engine, func, insert, select

METADATA = MetaData()
ROWS = Table("bare", METADATA, Column("id", Text, primary_key=True), Column("body", Text, nullable=False))

app = FastAPI()
engine = create_engine(f"sqlite:///{os.environ['BARE_DATABASE']}")
METADATA.create_all(engine)


class Row(BaseModel):
    id: str
    body: str


@app.get("/rows")
def count() -> int:
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(ROWS)).scalar_one()


@app.post("/rows")
def add(rows: list[Row]) -> int:
    with engine.begin() as connection:
        connection.execute(insert(ROWS), [row.model_dump() for row in rows])
    return len(rows)
