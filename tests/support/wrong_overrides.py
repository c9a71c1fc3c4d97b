"""Run `dlfound train` with wrong overrides, and read what it reports."""

import re

from dlfound.cli import main

FOREIGN = (  # words of Python's, Hydra's, OmegaConf's and the parser's own messages
    "Traceback", "HydraException", "omegaconf", "DictConfig", "ListConfig", "cannot be composed", "full_key",
    "object_type", "is not in struct", "Interpolation key", "LexerNoViable", "no viable alternative",
    "token recognition", "mismatched input", "extraneous input", "error[bug]",
)  # fmt: skip


def reported(capsys, *overrides, code=2, options=("--cfg",)):
    """The problems that `dlfound train` reports for wrong overrides, as (message, fix) pairs."""
    assert main(["train", *options, *overrides]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert not [word for word in FOREIGN if word in err], err
    assert all(c.isprintable() or c == "\n" for c in err), "a control character reached the terminal"
    lines = err.splitlines()
    assert len(lines) % 2 == 0
    pairs = list(zip(lines[::2], lines[1::2], strict=True))
    for message, fix in pairs:
        assert re.match(r"dlfound: error\[\w+\]: .", message) and fix.startswith("  fix: "), err
    return pairs


def touched(override):
    """The node that an override is about: of two wrong ones about one node, only the last may be reported."""
    return re.split("[=.@/]", override.lstrip("+~"))[0]
