"""The paths that the server answers: the page and what it loads, ``POST /predict``, what is served, ``/healthz``."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from llmtrain.core.errors import LlmtrainError, one_line, shorten
from llmtrain.core.logging import warn
from llmtrain.data.sources.rows_to_predict import AskedRow
from llmtrain.demo.batching import Batcher, ClosingError, GivenUpError, Job, QueueFullError
from llmtrain.demo.forms import Models
from llmtrain.demo.guard import Guard, RefusedError
from llmtrain.demo.served_files import FILES, ServedFile
from llmtrain.demo.served_model import Answered, ServedModel

LONGEST_ERROR = 2000  # characters of a refusal's line
POLL = 0.5  # seconds after which a client that left is noticed


class Asked(BaseModel):
    """What ``POST /predict`` is given."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"rows": ["a text"]}]})

    rows: Annotated[list[str | dict[str, Any]], Field(min_length=1, description=(
        "What is to be answered: texts, or objects of the columns that the task reads ({\"context\": ..., "
        "\"question\": ...}); GET /models names them."))]
    model: Annotated[str | None, Field(description="One model by its name; default: every model of the task.")] = None
    task: Annotated[str | None, Field(description="Which task is meant, where models of several are served.")] = None
    generation: Annotated[dict[str, Any], Field(description=(
        "Decode settings of this request alone, under transformers' names ({\"num_beams\": 4}); models that write "
        "nothing have none."))] = {}
    evidence: Annotated[bool, Field(description="Also tell what a page highlights.")] = False


class OneModel(BaseModel):
    """What one model answers."""

    name: Annotated[str, Field(description="The model's.")]
    task: Annotated[str, Field(description="Its task, by the name that it has in the run.")]
    answers: Annotated[list[dict[str, Any]], Field(description=(
        "One for each row, in order, as llmtrain predict predict.format=jsonl writes it: \"prediction\", and what "
        "the task can tell of it."))]
    cut: Annotated[list[int], Field(description="Numbers of the rows, from 0, of which the model did not read all.")]
    seconds: Annotated[float, Field(description="From the request to these answers.")]
    evidence: Annotated[list[dict[str, Any] | None] | None, Field(description=(
        "Where asked for, of each row: its inputs, its prediction, stretches of them that belong together (marks) and "
        "probabilities (chances); null of a row without text."))] = None


class Answers(BaseModel):
    """What ``POST /predict`` answers."""

    models: Annotated[list[OneModel], Field(description="In the order in which they are served.")]


class Refusal(BaseModel):
    """Why a request was refused, in one line."""

    error: str


class Health(BaseModel):
    """How the server is."""

    status: Annotated[str, Field(description="\"ok\"")]
    models: Annotated[list[str], Field(description="Their names.")]
    waiting: Annotated[int, Field(description="Rows that wait to be answered.")]


REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Refusal, "description": why} for status, why in (
        (400, "the body is no JSON, or not of this form"), (403, "asked for another machine, or by another page"),
        (413, "longer than demo.max_characters, or more rows than may wait"), (415, "not declared as JSON"),
        (422, "a row, a setting, a model or a task that cannot be"), (429, "demo.queue rows wait already"),
        (500, "a bug; the terminal tells more"), (503, "the server stops, or is out of memory"),
        (504, "not answered within demo.timeout_seconds"))}


class Server:
    """The application around some models.

    Args:
        models: What is served.
    """

    def __init__(self, models: Models) -> None:
        self.models, self.limits = models, models.all[0].config.demo
        self.by_name = {model.name: model for model in models.all}
        self.answered = 0
        self.batcher = Batcher(self._answer, most_rows=self.limits.batch, most_waiting=self.limits.queue,
                               wait=self.limits.wait_ms / 1000)
        self.app = Guard(self._application(), self.limits.max_characters, 2 * self.limits.queue + 64)

    def _application(self) -> FastAPI:
        app = FastAPI(title="llmtrain demo", version="1", docs_url=None, redoc_url=None, description=(
            "Trained models on this machine. Answers are those of llmtrain predict."))
        for path, file in FILES.items():
            app.add_api_route(path, _sends(file), include_in_schema=False)
        app.add_api_route("/predict", self.predict, methods=["POST"], response_model=Answers, responses=REFUSALS)
        app.add_api_route("/models", self.described)
        app.add_api_route("/healthz", self.health, response_model=Health)
        app.add_exception_handler(RefusedError, _refused)
        app.add_exception_handler(RequestValidationError, _no_such_request)
        app.add_exception_handler(HTTPException, _no_such_path)
        return app

    async def predict(self, asked: Asked, request: Request) -> Response:
        """Answer rows by one model or by several side by side, as llmtrain predict answers them."""
        jobs, models = self._jobs(asked), []
        begun = time.monotonic()
        try:
            self.batcher.submit([job for _, job in jobs])
        except QueueFullError:
            raise RefusedError(429, f"{self.limits.queue} rows may wait (demo.queue) and these do not fit beside those "
                                    "that do; try again") from None
        except ClosingError:
            raise RefusedError(503, "the server stops") from None
        try:
            for model, job in jobs:
                found = await self._wait(job, request)
                models.append(_told(model, found, asked.evidence, time.monotonic() - begun))
        finally:
            for _, job in jobs:
                job.given_up = True
        self.answered += 1
        return _json({"models": models})

    async def described(self) -> Response:
        """The models with the texts that they read and their decode settings, test rows to try, and the limits."""
        return _json(self.models.described())

    async def health(self) -> Response:
        """Answers while the server does, with the number of rows that wait."""
        return _json({"status": "ok", "models": list(self.by_name), "waiting": self.batcher.waiting()})

    def _jobs(self, asked: Asked) -> list[tuple[ServedModel, Job]]:
        """What the request asks of each model.

        Raises:
            RefusedError: It cannot be asked.
        """
        length = sum(len(row) if isinstance(row, str) else _characters(row) for row in asked.rows)
        if length > self.limits.max_characters:
            raise RefusedError(413, f"the texts have {length} characters, more than {self.limits.max_characters} "
                                    "(demo.max_characters); send fewer or shorter ones")
        try:
            models = self.models.asked(asked.model, asked.task)
            writing = [model for model in models if model.writes]
            if asked.generation and not writing:
                raise RefusedError(422, f"{next(iter(asked.generation))} does nothing with a head that writes nothing; "
                                        "leave it out")
            if len(asked.rows) * len(models) > self.limits.queue:
                raise RefusedError(413, f"{len(asked.rows)} rows for {len(models)} models are more than the "
                                        f"{self.limits.queue} that may wait (demo.queue); send fewer at once")
            deadline, jobs = time.monotonic() + self.limits.timeout_seconds, []
            for model in models:
                settings = model.settings(asked.generation if model.writes else {})
                kind = (model.name, json.dumps(asked.generation, sort_keys=True))
                rows = [(row, settings) for row in model.rows(asked.rows)]
                jobs.append((model, Job(kind, rows, deadline, alone=settings.do_sample and model.writes)))
        except LlmtrainError as error:
            raise RefusedError(422, _line(error.problems)) from None
        return jobs

    async def _wait(self, job: Job, request: Request) -> list[Answered]:
        """The answers of a job.

        Raises:
            RefusedError: It failed, or none waits for it any more.
        """
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake(_: Any) -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(done.set)

        job.answers.add_done_callback(wake)
        while not done.is_set() and job.wanted():
            with suppress(TimeoutError):
                await asyncio.wait_for(done.wait(), min(POLL, max(0.001, job.deadline - time.monotonic())))
            if await request.is_disconnected():
                raise RefusedError(499, "the client has left")
        error = job.answers.exception() if done.is_set() else GivenUpError()
        if error is None:
            found: list[Answered] = job.answers.result()
            return found
        if self.batcher.closing:
            raise RefusedError(503, "the server stops")
        raise RefusedError(504, self._too_late()) if isinstance(error, GivenUpError) else _failure(error)

    def _too_late(self) -> str:
        return (f"not answered within {self.limits.timeout_seconds:g} seconds (demo.timeout_seconds); try again, or "
                "ask for fewer beams or tokens")

    def _answer(self, kind: Any, rows: Sequence[tuple[AskedRow, Any]], check: Callable[[], None]) -> Sequence[Answered]:
        return self.by_name[kind[0]].answer([row for row, _ in rows], rows[0][1], check)


def _told(model: ServedModel, found: list[Answered], evidence: bool, seconds: float) -> dict[str, Any]:
    told = {"name": model.name, "task": model.task_name, "answers": [one.answer for one in found],
            "cut": [number for number, one in enumerate(found) if one.cut], "seconds": round(seconds, 4)}
    if evidence:
        told["evidence"] = [None if one.evidence is None else asdict(one.evidence) for one in found]
    return told


def _failure(error: BaseException) -> RefusedError:
    """What the client is told of work that failed; a bug is told on the terminal too."""
    if isinstance(error, LlmtrainError):
        return RefusedError(422, _line(error.problems))
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"MemoryError", "OutOfMemoryError"} or "allocate memory" in str(error).lower():
        warn(f"out of memory while answering ({shorten(str(error), 150)}); lower demo.batch or generation.batch_tokens")
        return RefusedError(503, "out of memory; send shorter texts, or ask for fewer beams")
    warn(f"unexpected {type(error).__name__} while answering: {shorten(str(error), 300)}")
    return RefusedError(500, f"unexpected {type(error).__name__}; the terminal that the server runs in tells more")


def _characters(row: dict[str, Any]) -> int:
    return sum(len(value) if isinstance(value, str) else len(json.dumps(value)) for value in row.values())


def _line(problems: Sequence[str]) -> str:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return shorten(one_line(problems[0]), LONGEST_ERROR) + more


def _json(value: Any, status: int = 200) -> Response:
    """As `llmtrain predict` writes JSON, so that an answer is the same bytes; numbers that JSON has not are null."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(json.loads(json.dumps(value), parse_constant=lambda name: None), ensure_ascii=False)
    return Response(text, status, media_type="application/json")


def _sends(file: ServedFile) -> Callable[[], Response]:
    def send() -> Response:
        return Response(file.content, media_type=file.kind)

    return send


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    made = _json({"error": error.line}, error.status)
    made.headers.update(error.headers)
    return made


async def _no_such_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    return _json({"error": _line([f"{place or 'the body'}: {first['msg']}"])}, 400)


async def _no_such_path(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {404: "there is no such path; / is the page, /docs describes the others",
            405: "this path takes another method; /docs tells which"}
    return _json({"error": told.get(error.status_code, one_line(str(error.detail)))}, error.status_code)
