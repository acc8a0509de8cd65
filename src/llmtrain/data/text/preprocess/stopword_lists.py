"""Lists of stop words: the stopwordsiso package's, as plain data for 58 languages, or a user's own file."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from llmtrain.core.errors import ConfigError, DataError
from llmtrain.core.files import read_regular
from llmtrain.data.sources.encodings import decoded

PACKAGE = "stopwordsiso"
SEGMENTERS = ("jieba", "longest")
UNSPACED = ("ja", "th")
AUTO = ("en", "zh")
LONGEST_LIST = 256 << 10  # bytes of a user's own: a run stores the words, and its configuration is read up to 1 MiB


@cache
def words_of(language: str) -> frozenset[str]:
    """The library's list, small letters, entries without a letter or digit left out (Chinese lists hold marks).

    Raises:
        ConfigError: The library is not installed, or has no such language.
    """
    if find_spec(PACKAGE) is None:
        raise ConfigError(f"stop words need the package {PACKAGE}, which is not installed; run: pip install "
                          "'llmtrain[preprocess]', or give words or a file")
    import stopwordsiso

    if not stopwordsiso.has_lang(language):
        raise ConfigError(f"there is no list of stop words for language={language}; choose from auto, "
                          f"{', '.join(sorted(stopwordsiso.langs()))}, or give words or a file")
    return frozenset(word.lower().replace("’", "'") for word in stopwordsiso.stopwords(language)
                     if any(character.isalnum() for character in word))


@cache
def digest_of(language: str) -> str:
    """Names the content of a language's list (of both for ``auto``)."""
    listed = [sorted(words_of(name)) for name in (AUTO if language == "auto" else (language,))]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:12]


def check(language: str, digest: str | None) -> None:
    """Raises ConfigError where the library's list is not the one that ``digest`` names (None: no certain one)."""
    if digest in (None, digest_of(language)):
        return
    from importlib.metadata import version

    raise ConfigError(f"the stop words of language={language} in {PACKAGE} {version(PACKAGE)} are not those that the "
                      f"model was trained with; install the {PACKAGE} it was trained with")


def segmenter(wanted: str) -> str:
    """jieba or longest. Raises ConfigError when jieba is asked for and not installed."""
    installed = find_spec("jieba") is not None
    if wanted == "jieba" and not installed:
        raise ConfigError("segment=jieba needs the package jieba, which is not installed; run: pip install "
                          "'llmtrain[chinese]', or use segment=longest for a new run")
    return ("jieba" if installed else "longest") if wanted == "auto" else wanted


def read_list(path: str) -> list[str]:
    """The words of a file, one a line; blank lines and those that begin with # are none. Raises ConfigError."""
    try:
        lines = decoded(Path(path), read_regular(Path(path).expanduser(), LONGEST_LIST)).splitlines()
    except OSError as error:
        raise ConfigError(f"no list of stop words at {path} ({error.strerror}); check file") from error
    except DataError as error:
        raise ConfigError(f"no list of stop words: {error}") from error
    except ValueError as error:
        raise ConfigError(f"no list of stop words at {path} ({error}); give a shorter text file") from error
    words = list(dict.fromkeys(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")))
    if not words:
        raise ConfigError(f"no words in the list at {path}; give one a line")
    return words
