"""Where the cache of the hub's libraries cannot be written, one line names the variable that names another."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from huggingface_hub import constants

from helpers import pairs, write_jsonl
from llmtrain.config.sections.data import HubConfig
from llmtrain.core.errors import ConfigError, LlmtrainError, ResourceError
from llmtrain.data.sources.splits import load_splits
from llmtrain.fetch import reach
from llmtrain.models.backbone.pretrained import load_tokenizer
from llmtrain.tasks.summarization.options import SummarizationData

NAME = "somebody/base"
COMMIT = "86b5e0934494bd15c9632b12f734a8a67f723594"


class Hub(http.server.SimpleHTTPRequestHandler):
    """Answers for one model as the hub does, with the files of a folder."""

    def translate_path(self, path: str) -> str:
        return super().translate_path("/" + path.rpartition("/")[2])

    def end_headers(self) -> None:
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(self.path.encode()).hexdigest()}"')
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(tiny_base))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        # lists a folder of the repository, which this hub cannot: it would be asked again for 45 seconds
        monkeypatch.setattr("transformers.tokenization_utils_base.list_repo_templates", lambda *_, **__: [])
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                            endpoint + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr("transformers.utils.hub.is_offline_mode", lambda: False)
        yield
        server.shutdown()


def cached_at(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_HOME would have it, which the libraries read while they are imported."""
    monkeypatch.setattr(constants, "HF_HOME", home)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", f"{home}/hub")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", Path(home, "datasets"))
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)


CLOSED = {"/proc/nowhere/hf": ResourceError, f"{os.devnull}/hf": ConfigError}


@pytest.mark.parametrize(("home", "kind"), CLOSED.items())
def test_a_base_of_the_hub_that_cannot_be_kept_names_hf_home(home: str, kind: type[LlmtrainError], hub: None,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    cached_at(home, monkeypatch)
    with pytest.raises(kind, match="cache of the Hugging Face libraries; .* environment variable HF_HOME") as caught:
        load_tokenizer(NAME)
    assert len(caught.value.problems) == 1


def test_a_base_of_the_hub_is_had_where_it_can_be_kept(hub: None, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    cached_at(str(tmp_path), monkeypatch)
    assert load_tokenizer(NAME).tokenize("array list") == ["array", "list"]
    assert (tmp_path / f"hub/models--somebody--base/snapshots/{COMMIT}").is_dir()


@pytest.mark.parametrize(("home", "kind"), CLOSED.items())
def test_a_dataset_that_cannot_be_kept_names_hf_home(home: str, kind: type[LlmtrainError], tmp_path: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(tmp_path / "train.jsonl", pairs(12))
    cached_at(home, monkeypatch)
    config = SummarizationData(name="hub", hub=HubConfig(name=str(tmp_path)))
    with pytest.raises(kind, match="cache of the Hugging Face libraries; .* environment variable HF_HOME") as caught:
        load_splits(config)
    assert len(caught.value.problems) == 1
    monkeypatch.setenv("HF_DATASETS_CACHE", f"{home}/datasets")
    with pytest.raises(kind, match="environment variable HF_DATASETS_CACHE"):
        load_splits(config)


def test_other_failures_are_told_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached_at(str(tmp_path / "cache"), monkeypatch)
    for raised in (FileNotFoundError(2, "no", str(tmp_path / "cache/x")), OSError(5, "no", "/proc/elsewhere"),
                   ValueError("no")):
        with pytest.raises(type(raised)) as caught, reach.closed_cache_told():
            raise raised
        assert caught.value is raised
