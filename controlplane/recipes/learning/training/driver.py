"""The driver: starts a rank on every booked seat, hands on what they say, passes a stop to all of them."""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO

import ray
import ray.train.torch
from ray.actor import ActorHandle

from .. import storage, surroundings
from ..board import Board, Record
from ..surroundings import Surroundings
from . import examples
from .outlets import BoardOutlet
from .parameter_server import training as serving
from .rank import Assignment, Rank
from .ranks import Ranks
from .settings import STOPPED, Settings, StrategyName

LOOK_EVERY_SECONDS: Final = 0.2
NODE_LABEL: Final = "ray.io/node-id"
ELASTIC_FAILURES: Final = 16
"""Losses of nodes that an elastic training survives."""

RESIZE_EVERY_SECONDS: Final = 30.0
"""A resize starts all ranks again, which costs as long."""

ray_train: Final[Any] = ray.train
"""Untyped, as its static types are those of Train V1, and what runs is V2."""


def drive(settings: Settings) -> bool:
    """Whether training came to its end."""
    here = surroundings.read(os.environ, workers=settings.workers)
    _connect()
    stop = _stop_asked()
    _say(f"starting {len(here.seats)} ranks for {settings.epochs} epochs")
    board = _board()
    fitting = _in_background(partial(_fit, here, settings, board))
    with Path(here.records or os.devnull).open("a", encoding="utf-8") as records:
        _attend(fitting, board=board, stop=stop, records=records, grace_seconds=here.grace_seconds)
    return fitting.result()


def _connect() -> None:
    # Ray Train itself looks every 2 s, and holds up a rank that reports an epoch until then.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(LOOK_EVERY_SECONDS))
    # A drained node is for the platform to answer, with a stop.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    # Ray Train's actors ask the state API, which guesses, and fails where a machine has several Rays.
    address = os.environ.get("RAY_ADDRESS")
    environment = {"env_vars": {"RAY_ADDRESS": address}} if address else None
    ray.init(logging_level=logging.WARNING, runtime_env=environment)


def _stop_asked() -> threading.Event:
    """Set by SIGTERM and by Ctrl-C. Comes after ray.init, which brings a handler of its own."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _board() -> ActorHandle[Board]:
    here = {NODE_LABEL: ray.get_runtime_context().get_node_id()}
    actor: Any = ray.remote(num_cpus=0, label_selector=here)(Board)  # typed as the class it wraps
    board: ActorHandle[Board] = actor.remote()
    return board


def _fit(here: Surroundings, settings: Settings, board: ActorHandle[Board]) -> bool:
    """Whether training came to its end."""
    training, held_out = examples.load(settings)
    assignment = Assignment(
        settings=settings,
        training=training,
        held_out=held_out,
        checkpoints=storage.below(here.checkpoint_uri, here.attempt),
        outputs_uri=here.outputs_uri,
        resume_from=here.resume_from,
    )
    if settings.strategy is StrategyName.PARAMETER_SERVER:
        return serving.train(assignment, board, here.seats)
    trainer = ray_train.torch.TorchTrainer(
        train_rank,
        train_loop_config={"assignment": assignment, "board": board},
        scaling_config=_scaling(here, settings),
        run_config=ray_train.RunConfig(
            name=here.attempt,
            storage_path=here.checkpoint_uri,
            failure_config=_failures(settings),
            # Its warnings tell of its own start-up; what fails is raised by fit.
            logging_config=ray_train.LoggingConfig(log_level="ERROR"),
        ),
    )
    return bool(trainer.fit().return_value)


def train_rank(config: Mapping[str, Any]) -> bool:
    """Runs in each of Ray Train's processes."""
    # Ray Train also logs each report, past the level that it was given.
    logging.getLogger().setLevel(logging.WARNING)
    context = ray_train.get_context()
    ranks = Ranks(
        number=context.get_world_rank(),
        count=context.get_world_size(),
        device=ray_train.torch.get_device(),
    )
    place = f"node {ray.get_runtime_context().get_node_id()}"
    with closing(BoardOutlet(RemoteBoard(config["board"]), asks=ranks.is_first, place=place)) as outlet:
        return Rank(config["assignment"], ranks, outlet).train()


class RemoteBoard:
    """The driver's board, for a rank that Ray Train started."""

    def __init__(self, board: ActorHandle[Board]) -> None:
        self._board: Any = board  # its type knows one argument at most

    def begin_step(self, *measured: Record) -> bool:
        return bool(ray.get(self._board.begin_step.remote(*measured)))

    def post(self, *records: Record) -> None:
        ray.get(self._board.post.remote(*records))


def _failures(settings: Settings) -> Any:  # noqa: ANN401 - see ray_train
    """Whoever booked the seats decides what happens after a failure, unless the ranks may be fewer or more."""
    allowed = ELASTIC_FAILURES if settings.least_workers else 0
    return ray_train.FailureConfig(
        max_failures=allowed, controller_failure_limit=allowed, max_preemption_failures=allowed
    )


def _scaling(here: Surroundings, settings: Settings) -> Any:  # noqa: ANN401 - see ray_train
    """One rank on each seat, exactly where and as large as it was booked; elastic, wherever nodes are left."""
    resources = dict(here.seats[0].resources)
    count, least = len(here.seats), settings.least_workers
    booked = [{NODE_LABEL: seat.node_id} for seat in here.seats if seat.node_id]
    return ray_train.ScalingConfig(
        num_workers=(least, count) if least else count,
        # Logical GPUs are custom resources under another name.
        use_gpu="GPU" in resources,
        resources_per_worker=resources,
        label_selector=None if least else booked or None,
        elastic_resize_monitor_interval_s=RESIZE_EVERY_SECONDS,
    )


def _in_background(fit: Callable[[], bool]) -> Future[bool]:
    """In a daemon thread: signals reach the main thread at once, and a fit that hangs cannot keep it."""
    fitting: Future[bool] = Future()

    def settle() -> None:
        try:
            fitting.set_result(fit())
        except BaseException as failure:  # noqa: BLE001 - raised again where the result is read
            fitting.set_exception(failure)

    threading.Thread(target=settle, daemon=True).start()
    return fitting


def _attend(
    fitting: Future[bool],
    *,
    board: ActorHandle[Board],
    stop: threading.Event,
    records: TextIO,
    grace_seconds: float,
) -> None:
    """Hands on records until training is over."""
    give_up_at: float | None = None
    over = False
    while not over:
        over = bool(wait([fitting], timeout=LOOK_EVERY_SECONDS).done)
        _hand_on(board, records)
        if stop.is_set() and give_up_at is None:
            _say("stopping: the step in flight is finished and saved")
            give_up_at = time.monotonic() + grace_seconds
            if not ray.get(board.stop.remote()):
                _abandon("stopped before the first step")
        if not over and give_up_at is not None and time.monotonic() > give_up_at:
            _abandon(f"no checkpoint within {grace_seconds:g} s")


def _hand_on(board: ActorHandle[Board], records: TextIO) -> None:
    taken: list[Record] = ray.get(board.take.remote())
    for record in taken:
        records.write(json.dumps(record) + "\n")
        if "message" in record:
            _say(record["message"])
    records.flush()


def _abandon(reason: str) -> None:
    """Ends at once; Ray ends the ranks of a driver that is gone. An orderly exit would wait for them."""
    _say(reason)
    os._exit(STOPPED)


def _say(line: str) -> None:
    print(line, flush=True)
