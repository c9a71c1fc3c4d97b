"""Write the table of groups in README.md, from the options.

python scripts/readme.py
"""

from pathlib import Path

from dlfound.options.configure import full_catalog

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- groups: scripts/readme.py -->\n", "<!-- end of groups -->\n"


def table() -> str:
    """One line per group: its options (the default in bold) and all their settings."""
    catalog = full_catalog()
    lines = ["| group | options | settings |", "|---|---|---|"]
    for group in catalog.paths:
        words = [f"**{w}**" if w == catalog.defaults.get(group) else w for w in catalog.words(group)]
        options = [catalog.option(group, w) for w in catalog.words(group)] if group in catalog.groups else []
        settings = list(dict.fromkeys(s for option in options for s in option.settings))
        lines.append(f"| `{group}` | {' '.join(words)} | {' '.join(f'`{s}`' for s in settings)} |")
    lines += [
        f"| `{node}` | | {' '.join(f'`{s}`' for s in option.settings)} |"
        for node, option in catalog.plain.items()
    ]
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """The text of the README with a new table between the two marks."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
