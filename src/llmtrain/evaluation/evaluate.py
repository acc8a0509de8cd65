"""Score a split: predictions against references, baselines beside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llmtrain import __version__
from llmtrain.config.schema import EvalConfig
from llmtrain.data.examples import Example
from llmtrain.data.text.preprocess.pipeline import Pipeline
from llmtrain.data.text.words import words
from llmtrain.evaluation.confidence import Interval, interval
from llmtrain.tasks.summarization.baselines import best_lead_length, lead, lead_unit, oracle
from llmtrain.tasks.summarization.rouge import METRICS, Rouge

Intervals = dict[str, Interval]
Share = Callable[[Callable[[], Any]], Any]


@dataclass(slots=True)
class SplitScores:
    """Scores of one split; ``rows`` are the lines of predictions.jsonl."""

    metrics: Intervals
    baselines: dict[str, Intervals]
    extras: dict[str, float]
    signature: str
    rows: list[dict[str, Any]]
    seconds: float | None = None  # of decoding, where a model ran


def score_split(examples: list[Example], predictions: list[str], config: EvalConfig, *, decoding: str,
                lead_from: list[Example] | None = None, baselines: bool = True,
                details: list[dict[str, Any]] | None = None) -> SplitScores:
    """Score predictions, one for each example.

    Args:
        decoding: Decode settings for the signature, or where the predictions come from.
        lead_from: Validation examples that choose the lead baseline's length; default: the scored ones, said so.
        details: What else each line of predictions.jsonl says.
    """
    rouge = Rouge(config.language, config.references, examples)
    scored = [rouge.score(p, e) for p, e in zip(predictions, examples, strict=True)]
    found: dict[str, Intervals] = {}
    signature = f"{rouge.signature}; {decoding}; llmtrain {__version__}"
    if baselines:
        length = config.lead or best_lead_length(lead_from or examples, rouge)
        source = "as asked" if config.lead else f"chosen on {'validation' if lead_from else 'the scored rows'}"
        signature += f"; lead {length} {lead_unit(rouge.language)} {source}"
        makers: dict[str, Callable[[Example], str]] = {
            "lead": lambda e: lead(e.document, length, rouge.language),
            "oracle": lambda e: oracle(e, rouge.language)}
        for name, make in makers.items():
            found[name] = intervals([rouge.score(make(e), e) for e in examples], config)
    rows = [{"id": e.id, "document": e.document, "references": list(e.references), "prediction": p, **scores,
             **detail} for e, p, scores, detail
            in zip(examples, predictions, scored, details or [{}] * len(examples), strict=True)]
    return SplitScores(intervals(scored, config), found, extras(examples, predictions, rouge.language), signature, rows)


def leads(examples: list[Example], config: EvalConfig) -> list[str]:
    """The first ``eval.lead`` words or characters of each document, as predictions."""
    assert config.lead is not None
    language = Rouge(config.language, config.references, examples).language
    return [lead(example.document, config.lead, language) for example in examples]


def intervals(rows: list[dict[str, float]], config: EvalConfig) -> Intervals:
    return {name: interval([row[name] for row in rows], config.bootstrap_samples) for name in METRICS}


def extras(examples: list[Example], predictions: list[str], language: str) -> dict[str, float]:
    """Length ratio, repeated trigrams, novel n-grams (shares of all n-grams written) and empty outputs."""
    written = wanted = 0
    total: dict[str, float] = {"repeated_trigrams": 0.0, "novel_unigrams": 0.0, "novel_bigrams": 0.0}
    counts = dict.fromkeys(total, 0)
    for example, prediction in zip(examples, predictions, strict=True):
        units, source = words(prediction, language), words(example.document, language)
        written += len(units)
        wanted += len(words(example.summary, language))
        trigrams = ngrams(units, 3)
        total["repeated_trigrams"] += len(trigrams) - len(set(trigrams))
        counts["repeated_trigrams"] += len(trigrams)
        for name, size in (("novel_unigrams", 1), ("novel_bigrams", 2)):
            known = set(ngrams(source, size))
            own = ngrams(units, size)
            total[name] += sum(gram not in known for gram in own)
            counts[name] += len(own)
    shares = {name: total[name] / max(1, counts[name]) for name in total}
    return {"length_ratio": written / max(1, wanted), **shares,
            "empty_outputs": float(sum(not p.strip() for p in predictions))}


def ngrams(units: list[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(units[i:i + size]) for i in range(len(units) - size + 1)]


def at_once(work: Callable[[], Any]) -> Any:
    return work()


def generate_and_score(model: Any, tokenizer: Any, examples: list[Example], features: Any, config: Any, precision: Any,
                       *, accelerator: Any = None, baselines: bool = True, citations: bool = True,
                       lead_from: list[Example] | None = None, share: Share = at_once) -> SplitScores:
    """Summarise every example (shared out over the processes) and score the lot on each process alike.

    Args:
        features: Features of the examples, in order.
        config: Holds ``data.preprocess``, ``generation``, ``eval`` and ``run.seed``.
        citations: Let a head that can say which sentences each summary comes from.
        share: Calls what this process does alone, before all exchange what they have.
    """
    from llmtrain.core.logging import Counting
    from llmtrain.inference.predict import documents_of, loses_spelling, spell_as_written, summarize_batches
    from llmtrain.tasks.summarization.citations import cite

    rank, world = (accelerator.process_index, accelerator.num_processes) if accelerator is not None else (0, 1)
    mine = list(range(rank, len(examples), world))
    cites = citations and bool(model.head.cites)
    started = time.perf_counter()
    with Counting("summarizing", len(mine)) as bar, _seeded(config):
        texts = [examples[i].document for i in mine]
        documents = documents_of(features, texts, mine)
        found = share(lambda: summarize_batches(model, tokenizer, documents, config.generation, precision,
                                                progress=bar.add, evidence=cites))
    read = Pipeline(config.data.preprocess).summary
    found = spell_as_written(tokenizer, texts, found, read)
    if cites:
        found = cite(tokenizer, found, model.head.options.cite)
    seconds = time.perf_counter() - started
    made = [(i, one.text, one.detail()) for i, one in zip(mine, found, strict=True)]
    if world > 1:
        from accelerate.utils import gather_object

        made = gather_object(made)
    made.sort(key=lambda row: row[0])
    decoding = model.describe_decoding(config.generation)
    if model.can_generate():
        decoding += f", seed {config.run.seed}" if config.generation.do_sample else ""
        decoding += ", the document's spelling" if loses_spelling(tokenizer, read) else ""
    scores = score_split(examples, [text for _, text, _ in made], config.eval, decoding=decoding, lead_from=lead_from,
                         baselines=baselines, details=[detail for _, _, detail in made])
    scores.seconds = seconds
    return scores


@contextmanager
def _seeded(config: Any) -> Iterator[None]:
    """Sampling draws from run.seed, the same each time, and leaves the run's own random state alone."""
    if not config.generation.do_sample:
        yield
        return
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(config.run.seed)
        yield
