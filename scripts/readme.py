"""Write the table of groups in README.md anew, from the options themselves.

python scripts/readme.py
"""

from pathlib import Path

from dlfound.options.configure import full_catalog

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- groups: scripts/readme.py -->\n", "<!-- end of groups -->\n"


def table() -> str:
    """A line a group: its options (the default in bold) and all settings that they have."""
    known = full_catalog()
    lines = ["| group | options | settings |", "|---|---|---|"]
    for group in known.paths:
        words = [f"**{w}**" if w == known.defaults.get(group) else w for w in known.words(group)]
        options = [known.option(group, w) for w in known.words(group)] if group in known.groups else []
        settings = list(dict.fromkeys(s for option in options for s in option.settings))
        lines.append(f"| `{group}` | {' '.join(words)} | {' '.join(f'`{s}`' for s in settings)} |")
    lines += [
        f"| `{node}` | | {' '.join(f'`{s}`' for s in option.settings)} |"
        for node, option in known.plain.items()
    ]
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """README's text with the table between its two marks replaced."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
