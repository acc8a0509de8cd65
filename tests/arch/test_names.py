"""Files are small, are called what they are about, and no two that are different things are called the same."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.arch.test_layers import FILES, SOURCE, told

LONGEST = 300
LOOSE = 6  # files at the top of the package
VAGUE = {"failing", "surface", "lost", "blame", "killed", "withhold", "over", "known", "origin", "streams"}
ROLES = {  # names that files of several rooms may have, and what such a file is in each of them
    "__init__.py": "what a room offers to the others",
    "base.py": "what the files of its room have in common",
    "build.py": "makes what its room is about from a configuration",
    "head.py": "the network of the head that its folder is named after",
    "options.py": "the keys of what its room registers",
    "task.py": "the declaration of the task that its folder is named after",
    "paths.py": "paths as users give them: in an override, in a key",
    "save.py": "writing a checkpoint: its files, and what of a run goes into them",
    "untrusted.py": "checks of what others made, before anything is done with it",
    "verify.py": "comparing what lies on disk with what was saved: one checkpoint, everything below a folder",
}
SHARED_CLASSES: dict[str, str] = {}  # names of several classes, and why each of them is called that
NAMED_AFTER = ("cli/commands", "config/sections")  # their files are called what the command runs, what the keys set


def test_files_stay_small() -> None:
    lengths = [(path, len(path.read_text(encoding="utf-8").splitlines())) for path in FILES]
    told([f"{path.relative_to(SOURCE)} has {length} lines, more than {LONGEST}; is a room missing?"
          for path, length in lengths if length > LONGEST])


def test_files_of_one_name_are_one_thing() -> None:
    named = defaultdict(list)
    for path in FILES:
        if path.name not in ROLES and str(path.relative_to(SOURCE).parent) not in NAMED_AFTER:
            named[path.name].append(str(path.relative_to(SOURCE)))
    told([f"{', '.join(paths)} have one name; rename one, or say in ROLES what {name} is in every room"
          for name, paths in named.items() if len(paths) > 1])


def test_classes_of_one_name_are_one_thing() -> None:
    named = defaultdict(list)
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                named[node.name].append(str(path.relative_to(SOURCE)))
    told([f"{name} is a class in {', '.join(paths)}; rename one, or say in SHARED_CLASSES why it is called so"
          for name, paths in named.items() if len(paths) > 1 and name not in SHARED_CLASSES])
    told([f"{name} is no name of several classes; take it out of SHARED_CLASSES"
          for name in SHARED_CLASSES if len(named[name]) < 2])


def test_names_tell_what_a_file_holds() -> None:
    told([f"{path.relative_to(SOURCE)} says nothing about what it holds" for path in FILES if path.stem in VAGUE])


def test_the_top_of_the_package_holds_few_files() -> None:
    loose = [path.name for path in FILES if path.parent == SOURCE]
    assert len(loose) <= LOOSE, f"{', '.join(loose)} lie loose at the top of the package; give one a room"


def test_rooms_of_tests_are_rooms_of_the_package() -> None:
    """Whoever looks for the tests of llmtrain/ROOM/FILE.py opens tests/ROOM."""
    rooms = SOURCE.parents[1] / "tests"
    own = {"arch", "docs", "golden", "integration", "scripts", "torture", "warm"}
    told([f"{folder.relative_to(rooms)} is a room of the tests and none of the package"
          for folder in sorted({path.parent for path in rooms.rglob("test_*.py")})
          if folder.relative_to(rooms).parts[0] not in own and not (SOURCE / folder.relative_to(rooms)).is_dir()])
