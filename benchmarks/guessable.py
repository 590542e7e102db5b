"""How often would a newcomer open the right file first? Guesses that were made from names alone, against the code.

The questions, and the lines by which the code that answers them is known, were written by one who had read only the
tree as it was before its modules were named anew; the guesses by one who had seen only a list of the new tree's files
and CONTRIBUTING.md. They were kept before they were compared.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from benchmarks.bench import ROOT, table

GOAL = 27


def main() -> list[str]:
    """Print what was guessed, and return the goals missed."""
    questions = tomllib.loads((Path(__file__).parent / "guessable.toml").read_text("utf-8"))["question"]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in _files()}
    rows, hits = [], 0
    for number, question in enumerate(questions, 1):
        truth = [name for name, text in texts.items() if question["where"] in text]
        hit = question["guess"] in truth
        hits += hit
        rows.append((str(number), "yes" if hit else "no", question["guess"], ", ".join(truth) or "gone"))
    table("Where would you look?", ("", "hit", "guessed first", "where it is"), rows)
    print(f"{hits} of {len(questions)} guessed (goal: {GOAL})")
    return [] if hits >= GOAL else [f"only {hits} of {len(questions)} files were guessed"]


def _files() -> list[Path]:
    found = [*(ROOT / "notifybot").rglob("*.py"), *(ROOT / "templates").rglob("*.j2")]
    return sorted(found)


if __name__ == "__main__":
    raise SystemExit(bool(main()))
