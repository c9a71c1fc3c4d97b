"""The code, read as text: imports go down, nothing forbidden is in it, nothing is too long."""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "dlfound"
FILES = sorted(HOUSE.rglob("*.py"))
LEVELS = {
    "errors": 0, "streams": 0, "terminal": 0, "config": 0,
    "nn": 1, "objective": 1, "optim": 1, "data": 1,
    "training": 2,
    "options": 3,
    "runs": 4,
    "reports": 5,
    "checks": 6, "sweeps": 6,
    "commands": 7,
    "cli": 8, "__init__": 8, "__main__": 9,
}  # fmt: skip
GROUND = ("errors", "streams", "terminal")  # modules without a room, for all to use; of each other, errors
BY_NAME = ("__init__", "cli")  # where a module of our own is imported by its name
HYDRA = ("hydra", "omegaconf")
UNSAFE = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "random")
CALLS = ("eval", "exec", "compile", "__import__")
GLOBAL_TORCH = (
    "save",
    "load",
    "manual_seed",
    "seed",
    "initial_seed",
    "set_rng_state",
    "get_rng_state",
    "random",
    "default_generator",
)
DRAWS = (
    "rand",
    "randn",
    "randint",
    "randperm",
    "normal",
    "bernoulli",
    "multinomial",
    "poisson",
    "rand_like",
    "randn_like",
)
DRAWS_INTO = (
    "normal_",
    "uniform_",
    "bernoulli_",
    "random_",
    "exponential_",
    "cauchy_",
    "geometric_",
    "log_normal_",
    "trunc_normal_",
)
OWN_GENERATORS = ("Generator", "default_rng", "SeedSequence", "PCG64", "Philox", "BitGenerator")


def room(path):
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def name(path):
    return path.relative_to(ROOT).as_posix()


@cache
def parsed():
    return {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in FILES}


def dotted(node):
    """a.b.c of an expression; empty where it is more than names."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


def imports(tree):
    """Every module that is imported, wherever it stands; `from a import b` counts as a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func).endswith("lazy_loader.load"):
            yield node.args[0].value


def own_imports(tree):
    """The rooms (or modules) of ours that are imported."""
    return {module.split(".")[1] for module in imports(tree) if module.startswith("dlfound.")}


def forbidden(tree):
    """What no file of the house may do."""
    for module in imports(tree):
        if module.split(".")[0] in UNSAFE:
            yield f"import {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _forbidden_call(node)
        elif isinstance(node, ast.Attribute):
            path = dotted(node)
            if path in [f"torch.{word}" for word in GLOBAL_TORCH] or path.startswith(
                "torch.cuda.manual_seed"
            ):
                yield path
            if re.match(r"(np|numpy)\.random\.", path) and node.attr not in OWN_GENERATORS:
                yield path


def _forbidden_call(node):
    path, keywords = dotted(node.func), {keyword.arg for keyword in node.keywords}
    attribute = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if path in CALLS or path.endswith("import_module") or attribute in ("instantiate", "fork_rng"):
        yield path or attribute
    if "generator" not in keywords:
        if path in [f"torch.{word}" for word in DRAWS] or attribute in DRAWS_INTO:
            yield f"{path or attribute} without a generator"
        if path.startswith("torch.nn.init.") and not attribute.startswith(
            ("constant", "zeros", "ones", "eye", "dirac")
        ):
            yield f"{path} without a generator"
    if "allow_pickle" in keywords and not any(
        k.arg == "allow_pickle" and dotted_false(k.value) for k in node.keywords
    ):
        yield "allow_pickle"
    if re.fullmatch(r"(np|numpy)\.random\.default_rng", path) and not node.args:
        yield "default_rng without a seed"


def dotted_false(node):
    return isinstance(node, ast.Constant) and node.value is False


def definitions(tree, kind):
    """Name and length of every function, or of every class."""
    for node in ast.walk(tree):
        if isinstance(node, kind):
            yield node.name, node.end_lineno - node.lineno + 1


# ---- the code


def test_every_room_has_a_level():
    rooms = {room(path) for path in FILES}
    assert rooms <= set(LEVELS)
    assert {"config", "nn", "objective", "optim", "data", "training", "runs", "commands", "cli"} <= rooms
    assert len(FILES) > 35


def test_imports_only_go_down():
    seen, up = 0, []
    for path, tree in parsed().items():
        here = room(path)
        for there in own_imports(tree):
            seen += 1
            is_room = there in LEVELS
            if is_room and (there == here or there in GROUND or LEVELS[there] < LEVELS[here]):
                continue
            up.append(f"{name(path)} imports {there}")
    assert seen > 60 and up == []


def test_the_ground_stands_on_nothing():
    for path, tree in parsed().items():
        if room(path) in GROUND:
            assert own_imports(tree) <= {"errors"}, name(path)


def test_the_configuration_imports_no_room():
    files = {path: tree for path, tree in parsed().items() if room(path) == "config"}
    assert len(files) >= 8
    for path, tree in files.items():
        assert own_imports(tree) <= {"config", *GROUND}, name(path)
        assert not [m for m in imports(tree) if m.split(".")[0] in ("torch", "numpy", "rich")], name(path)


def test_only_the_configuration_imports_hydra():
    with_hydra = {
        room(p) for p, tree in parsed().items() if any(m.split(".")[0] in HYDRA for m in imports(tree))
    }
    assert with_hydra == {"config"}


def test_nothing_forbidden_is_called():
    breaches = []
    for path, tree in parsed().items():
        by_name = room(path) in BY_NAME
        breaches += [
            name(path) + what
            for what in forbidden(tree)
            if not (by_name and what == "importlib.import_module")
        ]
    assert breaches == []


def test_no_target_is_named():
    texts = {
        path: path.read_text(encoding="utf-8") for path in [*FILES, *sorted((ROOT / "conf").rglob("*.yaml"))]
    }
    assert len(texts) > 80
    assert [name(path) for path, text in texts.items() if "_target_" in text or "!!python" in text] == []


def test_no_file_class_function_or_line_is_too_long():
    long = []
    seen = 0
    for path, tree in parsed().items():
        if path.parent.name == "data":  # still too long: rewritten with the table engine
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        long += [f"{name(path)} has {len(lines)} lines"] if len(lines) > 300 else []
        long += [f"{name(path)}: a line of {len(line)} columns" for line in lines if len(line) > 110]
        for kind, limit in ((ast.ClassDef, 150), (ast.FunctionDef, 45)):
            for definition, count in definitions(tree, kind):
                seen += 1
                long += [f"{name(path)}: {definition} has {count} lines"] if count > limit else []
    assert seen > 200 and long == []


def test_every_folder_is_a_package_and_every_package_is_named():
    with (ROOT / "pyproject.toml").open("rb") as file:
        tools = tomllib.load(file)["tool"]["setuptools"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in HOUSE.rglob("__init__.py")}
    assert len(folders) >= 9
    assert set(tools["packages"]) == {*folders, "dlfound.conf"} and len(tools["packages"]) == len(folders) + 1
    assert tools["package-dir"] == {"dlfound.conf": "conf"} and (ROOT / "conf" / "__init__.py").is_file()
    assert {".".join(path.parent.relative_to(ROOT).parts) for path in FILES} == folders, (
        "a folder without __init__.py"
    )


# ---- the scans can fail


@pytest.mark.parametrize(
    "text",
    [
        "import pickle", "from joblib import dump", "import random", "def f():\n    import dill", "eval('1')",
        "exec('1')", "__import__('os')", "importlib.import_module(name)", "torch.save(x, f)", "torch.load(f)",
        "torch.manual_seed(1)", "torch.cuda.manual_seed_all(1)", "torch.random.fork_rng()",
        "torch.get_rng_state()",
        "np.random.seed(1)", "numpy.random.rand(3)", "np.random.permutation(3)", "np.random.default_rng()",
        "torch.rand(3)", "torch.randperm(3)", "x.normal_()", "x.weight.uniform_(-1, 1)",
        "torch.nn.init.kaiming_uniform_(x)", "np.load(f, allow_pickle=True)", "np.load(f, allow_pickle=flag)",
        "hydra.utils.instantiate(c)", "class A:\n    def f(self):\n        return torch.randn(2)",
    ],
)  # fmt: skip
def test_the_scan_sees_what_is_forbidden(text):
    assert list(forbidden(ast.parse(text))) != []


@pytest.mark.parametrize(
    "text",
    [
        "network.eval()", "loader.exec_module(m)", "torch.rand(3, generator=g)", "x.normal_(generator=g)",
        "np.random.default_rng(3)", "np.random.Generator(np.random.PCG64(1))",
        "torch.Generator().manual_seed(1)",
        "np.load(f, allow_pickle=False)", "torch.nn.init.constant_(x, 1)", "import secrets",
        "torch.normal(0.0, s, size, generator=g)",
    ],
)  # fmt: skip
def test_the_scan_lets_the_rest_pass(text):
    assert list(forbidden(ast.parse(text))) == []


def test_the_scan_sees_imports_wherever_they_stand():
    late = "def f():\n    from dlfound.runs import folder\n    from dlfound import training\n"
    tree = ast.parse(f"import dlfound.nn\n{late}torch = lazy_loader.load('torch')")
    assert own_imports(tree) == {"nn", "runs", "training"} and "torch" in set(imports(tree))


def test_the_scan_counts_lines():
    tree = ast.parse("def short():\n    pass\n\nclass A:\n    def long(self):\n" + "        pass\n" * 65)
    assert dict(definitions(tree, ast.FunctionDef)) == {"short": 2, "long": 66}
    assert dict(definitions(tree, ast.ClassDef)) == {"A": 67}
