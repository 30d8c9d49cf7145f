"""An API that takes orders, and shows the dashboard at ``/jobs``: ``uvicorn main:api``.

An order and the task that confirms it are inserted in one SQLAlchemy transaction: both are committed, or neither.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import String, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from tasks import app, confirm

from pgsched.errors import TaskNotFound
from pgsched.web import WebSettings, create_app

# SQLAlchemy needs the driver in the URL; asyncpg works as well.
engine = create_async_engine(os.environ["PGSCHED_DSN"].replace("postgresql://", "postgresql+psycopg://", 1))
sessions = async_sessionmaker(engine, expire_on_commit=False)
dashboard = create_app(os.environ["PGSCHED_DSN"], settings=WebSettings(operator_token=os.environ["OPERATOR_TOKEN"]))


class Base(DeclarativeBase):
    """The tables of the shop."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"

    number: Mapped[int] = mapped_column(primary_key=True)
    buyer: Mapped[str] = mapped_column(String(100))


class NewOrder(BaseModel):
    """The body of a request to place an order."""

    buyer: str


@asynccontextmanager
async def lifespan(_api: FastAPI) -> AsyncIterator[None]:
    """Create the tables at startup; close all connections at shutdown."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await dashboard.state.web.close()
    await app.close_async()
    await engine.dispose()


api = FastAPI(lifespan=lifespan)


@api.post("/orders", status_code=201)
async def place(new: NewOrder) -> dict[str, int]:
    """Place an order."""
    async with sessions.begin() as session:
        order = Order(buyer=new.buyer)
        session.add(order)
        await session.flush()
        task = await confirm.schedule_async(number=order.number, buyer=order.buyer, connection=session)
        if not new.buyer:  # any error before the end of the block rolls back both
            raise HTTPException(422, "an order must have a buyer")
    return {"number": order.number, "task": task}


@api.get("/orders")
async def orders() -> list[str]:
    """Return the buyers of all orders."""
    async with sessions() as session:
        return list(await session.scalars(select(Order.buyer).order_by(Order.number)))


@api.get("/tasks/{task_id}")
async def show(task_id: int) -> dict[str, object]:
    """Return the status of a task."""
    try:
        task = await app.async_client().get(task_id)
    except TaskNotFound as error:
        raise HTTPException(404, str(error)) from error
    return {"status": task.status, "result": task.result}


api.mount("/jobs", dashboard)
