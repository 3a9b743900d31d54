# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: privatepki.stepca contributors

"""Who may import what: the walls between the core, the host's half and the controller's half, held by their syntax."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
CORE = PLUGINS / "module_utils" / "_core"
COLLECTION = "ansible_collections.privatepki.stepca.plugins"
CORE_FILES = sorted(CORE.rglob("*.py"))
#: Dotted below the core, packages without their own name.
CORE_NAMES = {".".join(path.relative_to(CORE).with_suffix("").parts) for path in CORE_FILES if path.stem != "__init__"}
HOST_FILES = sorted([*(PLUGINS / "module_utils").rglob("*.py"), *(PLUGINS / "modules").glob("*.py")])
ALL_FILES = sorted(PLUGINS.rglob("*.py"))


def relative(path):
    return path.relative_to(PLUGINS).as_posix()


#: The folders of the core. Each imports from those below it, and all from the files that lie in the core itself.
FLOORS = ["inspection", "renewer", "trust", "certificate", "ca", "x509", "files"]
PACKAGES = [CORE, *(CORE / name for name in FLOORS)]
#: Those of the controller's half: packages that others enter, but that enter none of them.
ROOMS = sorted(path.parent for path in (PLUGINS / "plugin_utils").rglob("__init__.py"))


each_core_file = pytest.mark.parametrize("path", CORE_FILES, ids=relative)
each_host_file = pytest.mark.parametrize("path", HOST_FILES, ids=relative)


def absolute(path: Path, node: ast.ImportFrom) -> str:
    """The full name that a relative import of this file means."""
    if not node.level:
        return node.module or ""
    package = [COLLECTION, *path.relative_to(PLUGINS).parent.parts]
    parts = ".".join(package).split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join(parts + ([node.module] if node.module else []))


def imported(path: Path) -> set[str]:
    """Full names of everything that a file imports, at its top or in a function; `from a import b` gives a and a.b."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = absolute(path, node)
            found |= {module} | {"%s.%s" % (module, alias.name) for alias in node.names}
    return found


def importers(library: str) -> list[str]:
    """The files that import this library or a part of it."""
    return [relative(path) for path in ALL_FILES if library in {name.split(".")[0] for name in imported(path)}]


def test_there_are_walls_to_look_at():
    assert {"errors", "library", "x509.names", "certificate.plan", "ca.client", "renewer.command"} <= CORE_NAMES
    assert {path.parent for path in CORE_FILES} == set(PACKAGES), "which floor is this?"
    assert len(HOST_FILES) < len(ALL_FILES)


@each_core_file
def test_the_core_knows_the_standard_library_cryptography_and_itself(path):
    allowed = set(sys.stdlib_module_names) | ({"cryptography"} if path.stem == "library" else set())
    inside = COLLECTION + ".module_utils._core"
    foreign = [
        name
        for name in imported(path)
        if name.split(".")[0] not in allowed and name != inside and not name.startswith(inside + ".")
    ]
    assert foreign == []


@each_core_file
def test_the_core_imports_its_own_files_relatively(path):
    """Else it would not run where it is copied alone."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in nodes if not node.level and (node.module or "").startswith("ansible")] == []
    assert {node.level for node in nodes} <= ({0, 1} if path.parent == CORE else {0, 1, 2})


@pytest.mark.parametrize("floor", [*FLOORS, "."])
def test_a_floor_of_the_core_stands_on_those_below_it(floor):
    """Imports inside functions count: what is not loaded at once is needed all the same."""
    inside = COLLECTION + ".module_utils._core."
    above = FLOORS[: FLOORS.index(floor)] if floor in FLOORS else FLOORS
    upward = [
        (relative(path), name)
        for path in sorted((CORE / floor).glob("*.py"))
        for name in imported(path)
        if name.startswith(inside) and name[len(inside) :].split(".")[0] in above
    ]
    assert upward == []


@pytest.mark.parametrize("package", [*PACKAGES, *ROOMS], ids=relative)
def test_packages_themselves_are_empty(package):
    assert (package / "__init__.py").read_text(encoding="utf-8") == ""


@each_host_file
def test_what_runs_on_hosts_is_written_for_python_3_7(path):
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 7))


@each_host_file
def test_what_runs_on_hosts_knows_nothing_of_the_controllers_half(path):
    other = (COLLECTION + ".plugin_utils", COLLECTION + ".action", COLLECTION + ".lookup")
    assert [name for name in imported(path) if name.startswith(other)] == []


@pytest.mark.parametrize(
    "library, files",
    [("requests", ["plugin_utils/_http.py"]), ("jwt", ["plugin_utils/_credentials/jwk.py"])],
    ids=["requests", "jwt"],
)
def test_a_library_of_the_controller_is_imported_in_one_file(library, files):
    assert importers(library) == files


def test_the_secrets_of_the_controller_are_in_two_rooms():
    """Whoever wants one has to name its option. Credentials are given some, and a disposable CA makes its own."""
    options = loaded("module_utils/_options.py").PROVISIONER
    secret = {name for name, option in options.items() if option.get("no_log")} | {
        name for name in options if name.endswith(("_key_path", "_password_file"))
    }
    assert len(secret) >= 5
    asking = {
        path.relative_to(PLUGINS).parent.as_posix()
        for path in ALL_FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in secret and path.name != "_options.py"
    }
    assert asking == {"plugin_utils/_credentials", "plugin_utils/_disposable"}


def test_hosts_need_cryptography_and_nothing_else():
    allowed = set(sys.stdlib_module_names) | {"ansible", "ansible_collections", "cryptography"}
    needed = {
        (relative(path), name) for path in HOST_FILES for name in imported(path) if name.split(".")[0] not in allowed
    }
    assert needed == set()


@pytest.fixture(name="copy", scope="module")
def _copy(tmp_path_factory):
    """The core alone in an empty folder, as a package of another name."""
    folder = tmp_path_factory.mktemp("alone")
    shutil.copytree(CORE, folder / "core", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(code: str, folder: Path) -> str:
    """Standard error of this code in a Python of its own."""
    command = [sys.executable, "-I", "-B", "-c", code, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stderr if done.returncode else ""


@pytest.mark.parametrize("name", sorted(CORE_NAMES))
def test_the_core_runs_alone(copy, name):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import core.%s; sys.exit('ansible' in sys.modules)"
    assert run(code % name, copy) == ""


def test_without_cryptography_the_core_can_still_be_imported_to_say_so(copy):
    names = ", ".join("core." + name for name in sorted(CORE_NAMES))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['cryptography'] = None; import %s; "
        "sys.exit('No' if core.library.is_new_enough() or not core.library.PROBLEM else 0)"
    )
    assert run(code % names, copy) == ""


def rings() -> list[str]:
    """The files that import each other in a ring; imports inside functions count."""
    names = {"%s.%s" % (COLLECTION, relative(path)[:-3].replace("/", ".")): path for path in ALL_FILES}
    edges = {name: imported(path) & set(names) for name, path in names.items()}
    while True:
        leaves = {name for name, needs in edges.items() if not needs}
        if not leaves:
            return sorted(edges)
        edges = {name: needs - leaves for name, needs in edges.items() if name not in leaves}


def test_no_files_import_each_other_in_a_ring():
    assert rings() == []


def loaded(path: str):
    return importlib.import_module("%s.%s" % (COLLECTION, path[: -len(".py")].replace("/", ".")))


def shape(option: dict) -> dict:
    """What the argument spec and the documentation of an option both say."""
    return {key: option.get(key) for key in ("type", "elements", "choices", "default", "required")}


@pytest.mark.parametrize(
    "fragment, groups",
    [("_connection", ["CONNECTION", "EXCHANGE"]), ("_provisioner", ["PROVISIONER"])],
    ids=["connection", "provisioner"],
)
def test_documented_options_are_those_of_the_specs(fragment, groups):
    options = loaded("module_utils/_options.py")
    documentation = yaml.safe_load(loaded("doc_fragments/%s.py" % fragment).ModuleDocFragment.DOCUMENTATION)
    specified = {name: shape(option) for group in groups for name, option in getattr(options, group).items()}
    assert {name: shape(option) for name, option in documentation["options"].items()} == specified


#: It has no CA but its own, and so nothing to be told about one.
WITHOUT_A_CA = {"stepca_disposable_ca"}
MODULES = sorted((PLUGINS / "modules").glob("*.py"))


@pytest.mark.parametrize("path", [path for path in MODULES if path.stem not in WITHOUT_A_CA], ids=relative)
def test_every_module_has_the_fragments_of_both_groups(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    fragments = yaml.safe_load(texts["DOCUMENTATION"])["extends_documentation_fragment"]
    assert {"privatepki.stepca._connection", "privatepki.stepca._provisioner"} <= set(fragments)
