# SPDX-License-Identifier: MIT
"""What caches are measured on: real text that every Python carries, and sentences hidden in it that a model has to find again."""
import random
import sys

DIGITS = 6
PLACES = ["lighthouse", "library", "harbour", "observatory", "bakery", "theatre", "station", "museum"]


def default_text():
    """The documentation of Python's language, as its help() shows it: some 460 KB of English."""
    from pydoc_data.topics import topics
    return "\n\n".join(topics[name] for name in sorted(topics))


def default_name():
    return f"the language documentation of Python {sys.version_info.major}.{sys.version_info.minor}"


def needle(text, characters, depth, trial):
    """(prompt, answer): at `depth` percent of the text's first characters a sentence gives a number, and the prompt ends where the same
    sentence, begun anew, would give it. The same for every cache; another number, place and word for every trial."""
    rng = random.Random(f"{characters} {depth} {trial}")
    number = "".join(rng.choice("0123456789") for _ in range(DIGITS))
    sentence = f"The secret number of the {rng.choice(PLACES)} is"
    start = rng.randrange(max(len(text) - characters, 1))
    hay = text[start:start + characters]
    cut = hay.find("\n\n", len(hay) * depth // 100)  # between paragraphs
    cut = cut if cut >= 0 else len(hay) * depth // 100
    return f"{hay[:cut]}\n\n{sentence} {number}.\n\n{hay[cut:]}\n\n{sentence}", f" {number}"
