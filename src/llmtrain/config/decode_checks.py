"""Decode settings against each other: what cannot be asked for together, and what does nothing beside the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from llmtrain.config.convert import did_you_mean
from llmtrain.config.sections.generation import GenerationConfig

SAMPLING = ("temperature", "top_k", "top_p")  # they shape what is drawn from
BEAMS = ("length_penalty", "early_stopping")  # they rank and end what is searched
NO_DECODING = ("max_new_tokens", "batch_tokens")  # of a head that writes nothing: limits and speed, no decision


def decoding_problems(generation: GenerationConfig) -> Iterator[str]:
    """One line for each setting that cannot stand beside the others."""
    if generation.min_new_tokens > generation.max_new_tokens:
        yield (f"generation.min_new_tokens={generation.min_new_tokens} is more than generation.max_new_tokens="
               f"{generation.max_new_tokens}; change one of them")
    if isinstance(word := generation.early_stopping, str) and word != "never":
        yield (f"generation.early_stopping={word} is not one of true, false, never; "
               + did_you_mean(word, ("true", "false", "never"), "choose one of them"))
    several, beams = generation.num_return_sequences, generation.num_beams
    if several > 1 and beams == 1 and not generation.do_sample:
        yield (f"generation.num_return_sequences={several} needs generation.num_beams={several} or more, or "
               "generation.do_sample=true; greedy decoding has one output")
    elif several > beams > 1:
        yield (f"generation.num_return_sequences={several} is more than generation.num_beams={beams}; raise that to "
               f"{several}")


def idle_settings(generation: GenerationConfig, writes: bool = True) -> list[str]:
    """One line for each setting that was changed and does nothing.

    Args:
        writes: Whether the head writes; one that does not decodes nothing.
    """
    changed = {field.name: _shown(value) for field in fields(generation)
               if (value := getattr(generation, field.name)) != field.default}
    if not writes:
        return [f"generation.{name}={value} does nothing with a head that writes nothing"
                for name, value in changed.items() if name not in NO_DECODING]
    lines = []
    if not generation.do_sample:
        lines += [f"generation.{name}={changed[name]} does nothing without generation.do_sample=true"
                  for name in SAMPLING if name in changed]
    if generation.num_beams == 1:
        lines += [f"generation.{name}={changed[name]} does nothing without generation.num_beams=2 or more"
                  for name in BEAMS if name in changed]
    return lines


def acting_settings(generation: GenerationConfig) -> dict[str, bool | int | float | str]:
    """What decides a written output besides beams and sampling themselves, in the order of a signature.

    Neutral values are left out, but for the length penalty of beams and the tokens that sampling draws from: both act
    at transformers' own defaults.
    """
    neutral = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_new_tokens": 0, "no_repeat_ngram_size": 0,
               "repetition_penalty": 1.0, "early_stopping": False}
    names = ["max_new_tokens", *(SAMPLING if generation.do_sample else ()), "min_new_tokens", "no_repeat_ngram_size",
             "repetition_penalty", *(BEAMS if generation.num_beams > 1 else ())]
    found = {name: getattr(generation, name) for name in names}
    return {name: value for name, value in found.items() if name not in neutral or value != neutral[name]}


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)
