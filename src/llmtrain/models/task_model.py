"""What training, scoring and publishing ask of every model: a pretrained trunk and a head on its states.

One class for each architecture derives from it (``architectures.py``), since ``generate`` treats each in its own way.

Shapes: B rows, S source tokens, D width of the trunk, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

from llmtrain import registry
from llmtrain.config.sections.generation import GenerationConfig
from llmtrain.config.sentence_input import SentenceInput, wanted_by
from llmtrain.core.errors import ConfigError
from llmtrain.core.logging import say
from llmtrain.data.batch import IGNORED
from llmtrain.data.learnt import PAIRS, Learnt
from llmtrain.models.backbone.base_facts import Base
from llmtrain.models.backbone.families import (
    embeddings,
    family_of,
    ffn_width,
    first_position,
    layers,
    plain_forward,
    positions,
    pretrained_mlm_head,
)
from llmtrain.models.backbone.long_context import embedded, encode_windows
from llmtrain.models.backbone.pretrained import load_trunk, with_weights
from llmtrain.models.heads.base import MOST_POSITIONS, BaseParts, EncoderStates, Head, Removal, Sentences, Sizes
from llmtrain.models.hf_config import facts_of
from llmtrain.models.output import Output
from llmtrain.models.target_vocabulary import same_surface, target_settings, vocabulary_in
from llmtrain.nn.attention import NAME, hiding, tracing
from llmtrain.nn.dropout import cheapen_dropout
from llmtrain.nn.linear import cheapen_linear


class TaskModel(PreTrainedModel):
    """A published model: a pretrained trunk with a head on its states.

    transformers builds it from a configuration with ``base`` and ``head``.
    """

    base_model_prefix = "trunk"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    instead_of_writing: ClassVar[str] = "makes its own output"  # of one without generate()
    good_for: ClassVar[tuple[str, ...]] = ("model.init_from",)  # keys that may name a published one
    auto_class: ClassVar[str] = "AutoModel"  # transformers' class that loads it once llmtrain.hf is imported
    _supports_sdpa = True

    def __init__(self, config: Any, made: tuple[Any, Any] | None = None) -> None:
        """``made``: a trunk and a head that are there, for a model that has no weights of its own."""
        super().__init__(config)
        if made is not None:
            self.trunk, self.head = made
            config.num_hidden_layers, config.num_attention_heads = self.head.cache_layers, self.head.cache_heads
            return
        base = AutoConfig.for_model(**config.base)
        plain_forward(base)
        # the format that the whole model is made in, not the one that the base was stored in: fp32, but for who asks
        # from_pretrained for another
        self.trunk = AutoModel.from_config(base, dtype=torch.get_default_dtype(), attn_implementation=NAME,
                                           **family_of(base).arguments)
        cheapen_dropout(self.trunk)
        cheapen_linear(self.trunk)
        part = head_part(config.head["name"])
        self.head = registry.resolve("head", part.name)(part.options(**config.head), sizes_of(base, config))
        config.num_hidden_layers, config.num_attention_heads = self.head.cache_layers, self.head.cache_heads
        self.post_init()

    @classmethod
    def from_base(cls, base: Base, head: Any, learnt: Learnt | None = None) -> Self:
        """A new model on a pretrained base: the head under torch's current seed, started as its options say.

        Args:
            head: Typed options of a registered head.
            learnt: What the task took from the training rows.

        Raises:
            ConfigError: The head's options do not fit the base (told before weights are read), or those cannot be
                loaded.
        """
        base, config, special = with_weights(base), base.config, base.special
        learnt = learnt or Learnt()
        head, more = cls.settled(base, head)
        ids = {"vocab_size": config.vocab_size, "bos_token_id": special.bos, "eos_token_id": special.eos,
               "pad_token_id": special.pad, "decoder_start_token_id": special.bos}
        model = cls(cls.config_class(
            base=config.to_diff_dict() | {"model_type": config.model_type}, head=asdict(head),
            hidden_size=config.hidden_size, facts=learnt.facts,
            **(ids | target_settings(learnt.facts, special.pad) | more)))
        trunk = model.trunk
        trunk.load_state_dict(load_trunk(base).state_dict())
        model.head.start_from(_parts(trunk, base))
        for part, taken in model.heads_of(learnt):
            if (own := vocabulary_in(taken.facts)) is not None and taken.tokenizer is not None:
                part.copy_by_surface(torch.tensor(
                    same_surface(base.tokenizer, config.vocab_size, taken.tokenizer, (special.eos, own.eos))))
        if base.family.causal and getattr(head, "warm_start", False):
            say(f"head: the layers of a {config.model_type} base are of another kind than the head's, which starts "
                "fresh")
        return model

    def heads_of(self, learnt: Learnt) -> Iterator[tuple[Head, Learnt]]:
        """Each task's head, with what that task took from its training rows."""
        yield self.head, learnt

    @classmethod
    def settled(cls, base: Base, head: Any) -> tuple[Any, dict[str, Any]]:
        """The head's options with what they leave to the base, and what the configuration says besides.

        Raises:
            ConfigError: They do not fit the base.
        """
        return head, {}

    @classmethod
    def source_limit(cls, positions: int, target_tokens: int) -> int:
        """The longest document of a base with so many positions, beside targets of so many tokens."""
        return positions

    def beyond_positions(self, keys: dict[str, int]) -> str | None:
        """What to warn of where targets may be longer than the head has positions; ``keys`` say how long they may be.

        Tokens behind the last position are written as if they stood there.
        """
        limit = getattr(self.head, "positions_limit", None)
        if not (told := [f"{name}={tokens}" for name, tokens in keys.items() if limit is not None and tokens > limit]):
            return None
        return (f"{' and '.join(told)} is more than the {limit} positions of head={self.head.options.name}, which "
                f"cannot tell the tokens behind them apart; use {limit} or less, or a head without positions "
                "(head=gru, lstm)")

    @property
    def hidden_size(self) -> int:
        return int(self.config.hidden_size)

    @property
    def sentence_input(self) -> SentenceInput | None:
        """How it reads documents when it predicts sentence by sentence; None when it needs no sentences."""
        asked = wanted_by(self.head.options)
        return None if asked is None else replace(asked, labels=None)

    @property
    def input_embedding_VD(self) -> Tensor:
        """The trunk's token embeddings."""
        weight: Tensor = self.trunk.get_input_embeddings().weight
        return weight

    def encode(self, input_ids_BS: Tensor, attention_mask_BS: Tensor | None = None,
               noise_BSD: Tensor | None = None) -> EncoderStates:
        """Run the trunk, in windows where the rows are longer than it reads and ``config.window_overlap`` is set.

        ``noise_BSD`` is added to the token embeddings. Without padding no mask is passed, which keeps attention on
        its fastest path.
        """
        if attention_mask_BS is None:
            attention_mask_BS = torch.ones_like(input_ids_BS)
        overlap = getattr(self.config, "window_overlap", None)
        if overlap is not None and input_ids_BS.shape[1] > positions(self.trunk.config):
            hidden_BSD = encode_windows(self, input_ids_BS, attention_mask_BS, overlap, noise_BSD)
        else:
            hidden_BSD = self._encode_whole(input_ids_BS, attention_mask_BS, noise_BSD)
        return EncoderStates(hidden_BSD, attention_mask_BS, input_ids_BS, self.input_embedding_VD)

    def _encode_whole(self, ids_BS: Tensor, mask_BS: Tensor, noise_BSD: Tensor | None) -> Tensor:
        """(B, S, D) in one piece. Padding beyond the base's positions, which batches may have, is not shown to it."""
        width, limit = ids_BS.shape[1], positions(self.trunk.config)
        if not tracing() and width > limit and not bool(mask_BS[:, limit:].any()):
            noise_BSD = None if noise_BSD is None else noise_BSD[:, :limit]
            hidden_BSD = self._encode_whole(ids_BS[:, :limit], mask_BS[:, :limit], noise_BSD)
            return nn.functional.pad(hidden_BSD, (0, 0, 0, width - limit))
        more: dict[str, Any] = {"use_cache": False} if family_of(self.trunk.config).causal else {}
        if (segments_BS := self.segments_of(ids_BS)) is not None:
            more["token_type_ids"] = segments_BS
        out = self.trunk(**embedded(self.trunk, ids_BS, noise_BSD), attention_mask=hiding(mask_BS), **more)
        return cast(Tensor, out.last_hidden_state)

    def segments_of(self, ids_BS: Tensor) -> Tensor | None:
        """(B, S) the segment of each token, 0 up to the first separator, then 1; None where the base has none, or no
        pairs of texts are read.

        Read off the ids, so that every term's pass over a pair has them.
        """
        if not facts_of(self.config).get(PAIRS) or getattr(self.trunk.config, "type_vocab_size", 0) < 2:
            return None
        separator_BS = (ids_BS == self.config.eos_token_id).long()
        return (separator_BS.cumsum(1) - separator_BS).clamp_max(1)

    def read(self, batch: dict[str, Any]) -> EncoderStates:
        """The trunk's states of a batch, which every term shares; an architecture may read more of the batch."""
        states = self.encode(batch["input_ids"], batch["attention_mask"])
        states.sentences = sentences_of(batch)
        return states

    def publish(self, folder: Path, state: dict[str, Tensor] | None) -> None:
        """Write configuration and weights; ``state``: the weights where adapters are to be merged into them."""
        self.save_pretrained(folder, state_dict=state)

    def own_names(self, stored: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a published folder under this model's names; by default they are stored so."""
        return stored

    def parts(self, batch: dict[str, Any]) -> list[tuple[str, TaskModel, dict[str, Any]]]:
        """A batch by the task that its rows are of: (the task's name in the run, the model that reads it, the rows).

        A model of one task reads all of it, and its task needs no name.
        """
        return [("", self, batch)]

    def of_task(self, name: str) -> TaskModel:
        """The model of one of the run's tasks; of the only one, itself."""
        return self

    def task_count(self, batch: dict[str, Any]) -> Tensor:
        """How many items of a batch the task term l2 counts; needs no forward pass."""
        return cast(Tensor, (batch["labels"] != IGNORED).sum())

    def task_nll(self, states: EncoderStates, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """(sum, count) of the task term l2, fp32 and 0-dim."""
        return cast(tuple[Tensor, Tensor], self.head.nll(states, batch["labels"]))

    def removals(self) -> dict[str, Removal]:
        """See :meth:`llmtrain.models.heads.base.Head.removals`; an architecture may have ways of its own."""
        return self.head.removals()  # type: ignore[no-any-return]

    def predict(self, batch: dict[str, Any], config: GenerationConfig, evidence: bool = False) -> list[Output]:
        """Outputs for a batch of documents, as each architecture makes them.

        Args:
            batch: input_ids and attention_mask (B, S); with a head that reads sentences also sentence_start and
                sentence_end (B, N), and under ``sentences`` the texts of each document's.
            config: How to decode.
            evidence: Also say where the output comes from.
        """
        raise NotImplementedError

    def describe_decoding(self, config: GenerationConfig) -> str:
        """How :meth:`predict` decides, for a signature line."""
        raise NotImplementedError

    def get_input_embeddings(self) -> nn.Module:
        return cast(nn.Module, self.trunk.get_input_embeddings())

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif module is self.head:
            cast(Any, module).start()


def head_part(name: str) -> registry.RegisteredPart:
    """The registered head behind a model. Raises ConfigError, which tells how a plugin's head is made known."""
    if name not in {part.name for part in registry.parts("head")}:
        raise ConfigError(f"the model's head {name!r} is unknown; if a plugin file has it, add --plugin FILE, or in "
                          "Python call llmtrain.plugins.load(FILE) first")
    return registry.get("head", name)


def _parts(trunk: Any, base: Base) -> BaseParts:
    if base.family.causal:
        return BaseParts([], None, 0, None, trunk.get_input_embeddings().weight)
    return BaseParts(layers(trunk), embeddings(trunk)[0], first_position(base.config),
                     pretrained_mlm_head(base.folder), trunk.get_input_embeddings().weight)


def sentences_of(batch: dict[str, Any]) -> Sentences | None:
    """The sentences of a batch whose features have them."""
    if "sentence_start" not in batch:
        return None
    return Sentences(batch["sentence_start"], batch["sentence_end"], batch.get("sentence_labels"))


def sizes_of(base: Any, config: Any) -> Sizes:
    written = getattr(config, "written_positions", None) or positions(base)  # stretched ones are for documents
    end = getattr(config, "prompt_end", None)
    facts = facts_of(config)
    own = vocabulary_in(facts)
    return Sizes(width=base.hidden_size, heads=base.num_attention_heads, ffn=ffn_width(base),
                 vocabulary=base.vocab_size if own is None else own.size, positions=min(written, MOST_POSITIONS),
                 start_id=config.decoder_start_token_id if end is None else end, facts=facts,
                 source_vocabulary=None if own is None else base.vocab_size)
