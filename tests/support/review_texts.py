"""Generates suites/reviews.csv: short reviews of products with their stars.

``python -m tests.support.review_texts`` writes the file anew.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from harness.api.seeded_choice import SeededChoice

FILE = Path(__file__).parents[2] / "suites" / "reviews.csv"
ROWS = 480
SEED = 11

GOOD = ["excellent", "great", "reliable", "well made", "a joy to use"]
BAD = ["useless", "disappointing", "fragile", "badly made", "a waste of money"]
PARTS = ["battery", "screen", "handle", "lid", "cable", "motor", "manual", "case"]
PRODUCTS = ["kettle", "lamp", "phone", "drill", "toaster", "radio", "camera", "heater"]
OPENINGS = ["Bought it in May.", "A present for my sister.", "Second one of this kind.", "Arrived late."]
ENDINGS = [
    "",
    "\nWould I buy it again? Ask me next year.",
    ' My neighbour calls it "the thing".',
    " 🙂",
    " Délivré à temps.",
]


def rows() -> Iterator[tuple[str, str, str, int]]:
    """Yield id, product, review and stars of distinct reviews; 1 and 2 stars are negative, 4 and 5 positive.

    Reviews with 2 and 4 stars name a fault of a good product, and the reverse.
    """
    rng = SeededChoice(SEED)
    seen: set[str] = set()
    while len(seen) < ROWS:
        stars = [1, 2, 4, 5][len(seen) % 4]
        product = rng.pick(PRODUCTS)
        main, other = (GOOD, BAD) if stars > 2 else (BAD, GOOD)
        part = rng.pick(PARTS)
        sentence = f"The {product} is {rng.pick(main)}"
        if stars in (2, 4):
            sentence += f", although the {part} is {rng.pick(other)}"
        text = f"{rng.pick(OPENINGS)} {sentence}.{rng.pick(ENDINGS)}"
        if text not in seen:
            seen.add(text)
            yield f"r{len(seen)}", product, text, stars


def content() -> str:
    """Return the content of the file."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["id", "product", "review", "stars"])
    writer.writerows(rows())
    return stream.getvalue()


if __name__ == "__main__":
    FILE.write_text(content(), encoding="utf-8")
