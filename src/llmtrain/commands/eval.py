"""``llmtrain eval``: score a checkpoint, or somebody's predictions without any model."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any, cast

from llmtrain.config.load import path_value, to_dict
from llmtrain.config.over import compose_over
from llmtrain.config.schema import EvaluateConfig
from llmtrain.data.examples import Example
from llmtrain.data.sources import load_splits
from llmtrain.errors import ConfigError, DataError


def run(overrides: list[str]) -> int:
    """Score what the overrides name: ``checkpoint=PATH`` or ``predictions=FILE``."""
    predictions, checkpoint = path_value(overrides, "predictions"), path_value(overrides, "checkpoint")
    if (predictions is None) == (checkpoint is None):
        raise ConfigError("eval needs one of checkpoint=PATH and predictions=FILE; name one of them")
    if predictions is not None:
        return _score_file(Path(predictions), cast(EvaluateConfig, compose_over(None, overrides, "eval")))
    assert checkpoint is not None
    return _score_checkpoint(Path(checkpoint), overrides)


def _score_file(path: Path, config: EvaluateConfig) -> int:
    from llmtrain.evaluation.evaluate import score_split
    from llmtrain.evaluation.report import build_results

    split = config.eval.split.value
    examples = _examples(config, split)
    scores = score_split(examples, read_predictions(path, examples), config.eval,
                         decoding=f"predictions from {path.name}", baselines=config.eval.baselines)
    results = build_results(validation=scores if split == "validation" else None,
                            test=scores if split == "test" else None)
    _show(results, None if config.eval.output is None else Path(config.eval.output), scores.rows)
    return 0


def read_predictions(path: Path, examples: list[Example]) -> list[str]:
    """One prediction for each example: plain lines in order, or JSONL rows matched by ``id`` where all have one.

    Raises:
        DataError: The file is missing, not UTF-8, or does not fit the examples.
    """
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at {path}; save the predictions as UTF-8") from error
    except OSError as error:
        raise DataError(f"cannot read predictions at {path} ({error.strerror}); check predictions=") from error
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1)] if ".jsonl" in path.suffixes else None
    found = lines if rows is None else [text for _, text in rows]
    if len(found) != len(examples):
        raise DataError(f"{len(found)} predictions at {path} for {len(examples)} documents; they must be as many")
    if rows is not None and all(identity is not None for identity, _ in rows):
        by_id = dict(rows)
        missing = [e.id for e in examples if e.id not in by_id]
        if not missing:
            return [by_id[e.id] for e in examples]
        if len(missing) < len(examples):
            raise DataError(f"no prediction for id {missing[0]!r} at {path} ({len(missing)} missing); add them")
    return found


def _row(path: Path, number: int, line: str) -> tuple[str | None, str]:
    try:
        row = json.loads(line)
        text = row.get("prediction", row.get("summary"))
    except (ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"not a JSON object at {path}:{number}; each line needs a \"prediction\"") from error
    if not isinstance(text, str):
        raise DataError(f"no text under \"prediction\" at {path}:{number}; each line needs one")
    return None if row.get("id") is None else str(row["id"]), text


def _score_checkpoint(path: Path, overrides: list[str]) -> int:
    from llmtrain.checkpoint import locate_model, read_model_config

    folder = locate_model(path)
    stored = read_model_config(folder)
    config = cast(EvaluateConfig, compose_over(stored["config"], overrides, "eval", at=str(folder / "llmtrain.json")))
    split = config.eval.split.value
    examples = _examples(config, split)
    validation = _validation(config, split)

    from llmtrain.data.features import tokenize
    from llmtrain.evaluation.evaluate import generate_and_score
    from llmtrain.evaluation.report import build_results
    from llmtrain.log import quiet_libraries
    from llmtrain.summarizer import load_published

    quiet_libraries()
    loaded = load_published(folder, config.precision, config.trainer.device)
    features = tokenize(examples, loaded.tokenizer, config.data)
    loaded.precision.watch(loaded.first_linear())
    scores = generate_and_score(loaded.model, loaded.tokenizer, examples, features.input_ids, config, loaded.precision,
                                baselines=config.eval.baselines, lead_from=validation)
    results = build_results(validation=scores if split == "validation" else None,
                            test=scores if split == "test" else None,
                            precision={"requested": loaded.precision.requested,
                                       "effective": loaded.precision.effective})
    results |= {"checkpoint_step": stored["step"]}
    output = Path(config.eval.output) if config.eval.output else _default_output(folder, stored["step"], split, config)
    _show(results, output, scores.rows)
    return 0


def _examples(config: EvaluateConfig, split: str) -> list[Example]:
    splits = load_splits(config.data, split)
    for note in splits.notes:
        print(f"data: {note}", file=sys.stderr)
    examples: list[Example] = getattr(splits, split)
    if not examples:
        raise DataError(f"no {split} rows in {splits.source}; choose eval.split or name data.{split}")
    return examples


def _validation(config: EvaluateConfig, split: str) -> list[Example] | None:
    """Rows that choose the lead baseline's length, where the data have them."""
    if split == "validation" or not config.eval.baselines or (config.data.name == "files" and not
                                                             config.data.validation):
        return None
    return load_splits(config.data, "validation").validation or None


def _default_output(folder: Path, step: int, split: str, config: EvaluateConfig) -> Path:
    """RUN/eval/STEP-SPLIT-HASH, or beside a lone model folder."""
    chosen = {name: to_dict(config)[name] for name in ("data", "generation", "eval", "precision")}
    short = hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:8]
    parents = folder.resolve().parents
    root = parents[2] if len(parents) > 2 and parents[1].name == "checkpoints" else parents[0]
    return root / "eval" / f"{step}-{split}-{short}"


def _show(results: dict[str, Any], output: Path | None, rows: list[dict[str, Any]]) -> None:
    from rich.console import Console

    from llmtrain.evaluation.report import PLAIN_WIDTH, print_report, write_outputs

    if output is not None:
        write_outputs(output, results, rows)
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    print_report(console, results, None if output is None else output / "predictions.jsonl")
    if output is not None:
        print(f"written: {output}")
