"""The command line as a user meets it, in processes of its own."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from helpers import SOURCE, run_cli, warm_cli

HEAVY_CHECK = """
import sys
import zipfile
from llmtrain.cli import main
code = main(sys.argv[1:])
loaded = {"torch", "transformers", "accelerate", "datasets"} & set(sys.modules)
assert not loaded, loaded
sys.exit(code)
"""


@pytest.mark.parametrize(("arguments", "code"), [
    (["--help"], 0), (["list"], 0), (["version"], 0), (["train", "+experiment=bert_sum_fp16", "--cfg", "job"], 0),
    (["train", "objective.lamb=1"], 2), (["trian"], 2), (["train", "trainer.max_steps=0"], 2),
])
def test_light_commands_never_import_torch(arguments: list[str], code: int, tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", HEAVY_CHECK, *arguments], cwd=tmp_path, capture_output=True,
                            text=True, env={"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
                            check=False)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.iterdir())


def test_help_shows_the_three_lines(tmp_path: Path) -> None:
    text = run_cli("--help", cwd=tmp_path).stdout
    for line in ("train +experiment=bert_sum_fp16", "eval checkpoint=", "summarize checkpoint="):
        assert line in text


def test_bash_completes_experiments(tmp_path: Path) -> None:
    script = tmp_path / "complete.sh"
    script.write_text(f"""
llmtrain() {{ PYTHONPATH={SOURCE} {sys.executable} -m llmtrain "$@"; }}
eval "$(llmtrain --shell-completion bash)"
COMP_LINE='llmtrain train +experiment=bert_sum_'; COMP_POINT=${{#COMP_LINE}}
COMP_WORDS=(llmtrain train +experiment = bert_sum_); COMP_CWORD=4
_llmtrain
printf '%s\\n' "${{COMPREPLY[@]}}"
""")
    result = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["bert_sum_bf16", "bert_sum_fp16", "bert_sum_fp32"], result.stderr


def test_list_shows_plugin_kinds_and_refuses_unknown_ones(tmp_path: Path) -> None:
    assert "transformer" in warm_cli("list", "heads", cwd=tmp_path).stdout
    result = warm_cli("list", "headz", cwd=tmp_path)
    assert result.returncode == 2
    assert "heads" in result.stderr


def test_config_explains_every_key_and_its_origin(tmp_path: Path) -> None:
    text = warm_cli("config", "--defaults", "+experiment=bert_sum_bf16", "objective.lam=0.3", cwd=tmp_path).stdout
    assert "objective.lam: 0.3  # lambda" in text
    assert "set by the command line" in text
    assert "set by configs/precision/bf16.yaml" in text


def test_the_wheel_carries_the_configs(tmp_path: Path) -> None:
    root = SOURCE.parent
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w",
                    str(tmp_path), str(root)], check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    unpacked = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    assert (unpacked / "llmtrain/configs/train.yaml").is_file()
    result = subprocess.run([sys.executable, "-m", "llmtrain", "train", "+experiment=bert_sum_bf16", "--cfg", "job"],
                            cwd=tmp_path, env={"PYTHONPATH": str(unpacked), "HOME": str(tmp_path)},
                            capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "name: bf16" in result.stdout
