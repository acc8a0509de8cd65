"""Keys of decoding, under transformers' own names."""

from __future__ import annotations

from dataclasses import dataclass

from llmtrain.config.keys import SPEED, key


@dataclass(kw_only=True, slots=True)
class GenerationConfig:
    """Decoding, under transformers' own names."""

    num_beams: int = key(1, "beams (1: greedy)", "beams", min=1, max=1000)
    do_sample: bool = key(False, "sample instead of taking the most probable token")
    temperature: float = key(1.0, "sampling temperature", min=1e-30)  # below it logits are no numbers any more
    top_k: int = key(50, "sampling draws from so many of the likeliest tokens (0: from all)", "tokens", late=True,
                     min=0)
    top_p: float = key(1.0, "nucleus sampling mass", "probability", min=0, max=1)
    max_new_tokens: int = key(32, "longest output", "tokens", min=1)
    min_new_tokens: int = key(0, "shortest output", "tokens", min=0)
    length_penalty: float = key(1.0, "beam search: exponent of the length", min=-100,
                                max=100)  # beyond it powers of a length are no numbers any more
    early_stopping: bool | str = key(False, "beam search ends: true, with num_beams finished outputs; false, when a "
                                     "better one is unlikely; never, when none can be better", late=True)
    no_repeat_ngram_size: int = key(3, "no n-gram of this size twice (0: off)", "tokens", min=0)
    repetition_penalty: float = key(1.0, "divides the probability of tokens that are written already: more than 1, "
                                    "fewer repetitions (1: off)", late=True, above=0)
    num_return_sequences: int = key(1, "outputs for each row, at most num_beams or else sampled; scores are the "
                                    "first's, with beams the best", "outputs", late=True, min=1, max=1000)
    batch_tokens: int = key(8192, "source tokens decoded together, padding included", "tokens", affects=SPEED, min=1)
