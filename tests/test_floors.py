"""The floors of the house: each package imports only what stands below it, and each outside library has its rooms."""

import ast
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path

import pytest

import orchestrator

ROOT = Path(orchestrator.__file__).parent
FLOORS = {
    "core": 0,
    "limits": 1,
    "providers": 2,
    "manifest": 2,
    "journal": 2,
    "lookalike": 3,
    "engine": 3,
    "forecast": 3,
    "report": 4,
    "hooks": 5,
    "app": 6,
    "testing": 6,
    "cli": 7,
}
# packages of one floor that may know each other, and rooms that may look up
BESIDE = {("manifest", "providers"), ("journal", "providers"), ("forecast", "engine"), ("engine", "forecast")}
LOOK_ALIKE = ("app/rehearse.py", "cli/sandbox.py", "providers/registry.py", "testing/*", "lookalike/*")
ROOMS = {  # yaml: what people write for us, with positions; what services and their clients write
    "aiohttp": ("providers/kit/*", "lookalike/kit/*"),
    "yaml": ("manifest/*", "providers/kit/plain_yaml.py"),
    "psycopg": ("journal/*",),
    "sqlite3": ("journal/*", "testing/__init__.py"),
    "asyncio": ("providers/kit/*", "lookalike/kit/*", "journal/*"),
    "click": ("cli/*",),
    "rich": ("cli/*", "report/wrap.py"),  # there how wide a text is drawn
    "pytest": ("testing/contract.py",),
    "jwt": ("providers/github/app.py", "lookalike/github/apps.py"),
}
PRINTS = ("cli/*", "__main__.py")
# What is still against the rules, by module; each goes, none is added.
EXCEPTIONS: dict[str, set[str]] = {}


def modules():
    return sorted(path for path in ROOT.rglob("*.py"))


def name_of(path):
    return str(path.relative_to(ROOT))


def imports(path, *, types=False):
    """The modules that a file imports, anywhere in it; those only for types on demand."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and not types:
            hidden |= {id(inner) for one in node.body for inner in ast.walk(one)}
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(name):
    return FLOORS.get(name.split(".")[1]) if name.count(".") else None


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_nothing_is_imported_from_above(path):
    name = name_of(path)
    room = name.partition("/")[0]
    if room not in FLOORS:
        return
    above = set()
    for one in imports(path, types=True):
        if not one.startswith("orchestrator."):
            continue
        other = one.split(".")[1]
        if other == room or other not in FLOORS:
            continue
        if other == "lookalike":
            wrong = not any(fnmatch(name, rule) for rule in LOOK_ALIKE)
        else:
            wrong = FLOORS[other] > FLOORS[room] or (FLOORS[other] == FLOORS[room] and (room, other) not in BESIDE)
        if wrong:
            above.add(other)
    assert above - EXCEPTIONS.get(name, set()) == set()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_libraries_stay_in_their_rooms(path):
    name = name_of(path)
    used = {one.split(".")[0] for one in imports(path)} & set(ROOMS)
    astray = {one for one in used if not any(fnmatch(name, room) for room in ROOMS[one])}
    assert astray - EXCEPTIONS.get(name, set()) == set()


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_the_command_line_prints(path):
    if any(fnmatch(name_of(path), room) for room in PRINTS):
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    assert not {"print", "input"} & set(calls)


def test_no_circle_of_imports():
    """What a module imports as it is loaded, without what it imports later or only for types."""
    known = {".".join(("orchestrator", *path.relative_to(ROOT).with_suffix("").parts)): path for path in modules()}
    known = {name.removesuffix(".__init__"): path for name, path in known.items()}
    wants = defaultdict(set)
    for name, path in known.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom):
                inner = {f"{node.module}.{alias.name}" for alias in node.names} & known.keys()
                wants[name] |= inner or ({node.module} & known.keys())
            elif isinstance(node, ast.Import):
                wants[name] |= {alias.name for alias in node.names} & known.keys()
        wants[name].discard(name)
    while free := {name for name in known if not wants[name] & known.keys()}:
        for name in free:
            del known[name]
    assert sorted(known) == []
