"""Holds gpuenv's choice of wheel variants against uv's and variantlib's, on releases and machines made by chance.

    python -m venv oracles && oracles/bin/pip install uv==0.13.9 variantlib==0.2.2
    python benchmarks/variants.py --uv oracles/bin/uv --python oracles/bin/python --cases 3000 --seed 1

uv (preview feature `wheel-variants`) installs made wheels for machines that it is told of, and what lies there says
which it chose: one winner is compared for each release and machine. variantlib is asked for whole orders: of free
namespaces on free machines by its sorting alone, and of static lists through its API. No plugin runs, nothing is
fetched. It prints how many are the same, and the first differences; it exits with 1 where a difference is not
explained by the standard's text.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

# in place of this folder, the `inspect` of which would hide that of Python
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from tests.properties.variants_oracles import (  # noqa: E402
    Difference,
    against_uv,
    against_variantlib,
    machines,
    made_case,
    made_free,
)

SHOWN = 3
MACHINES = 20


def main() -> int:
    """Compare; 1 where something differs that nothing explains."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", type=Path, help="uv 0.13.9")
    parser.add_argument("--python", type=Path, help="an interpreter that has variantlib 0.2.2")
    parser.add_argument("--cases", type=int, default=1000, help="pairs of release and machine for each comparison")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    found: list[Difference] = []
    if asked.python:
        chance = random.Random(asked.seed)
        free = [made_free(chance, f"free{n}") for n in range(asked.cases)]
        found += report("variantlib, sorting", lambda: against_variantlib(asked.python, free))
        lists = [(made_case(chance, f"list{n}", vendored=()), None) for n in range(asked.cases)]
        found += report("variantlib, lists", lambda: against_variantlib(asked.python, lists))
    if asked.uv:
        chance = random.Random(asked.seed)
        cases = [made_case(chance, f"made{n}") for n in range(-(-asked.cases // MACHINES))]
        with tempfile.TemporaryDirectory() as folder:
            found += report("uv", lambda: against_uv(asked.uv, Path(folder), cases, machines(chance, MACHINES)))
    return 1 if any(not one.reason for one in found) else 0


def report(name: str, compare: Callable[[], tuple[int, list[Difference]]]) -> list[Difference]:
    """Compare, print what came of it, and return the differences."""
    start = time.perf_counter()
    same, differences = compare()
    reasons = Counter(one.reason or "not explained" for one in differences)
    told = "".join(f", {count} {reason}" for reason, count in reasons.items())
    print(f"{name}: {same} of {same + len(differences)} alike{told} ({time.perf_counter() - start:.1f} s)")
    for one in [*(one for one in differences if not one.reason), *differences][:SHOWN]:
        print(f"  ours {list(one.ours)}, theirs {list(one.theirs)} {one.reason}\n    {json.dumps(one.case.document)}")
    return differences


if __name__ == "__main__":
    sys.exit(main())
