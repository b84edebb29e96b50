"""Questions about the world's scenes, and their answers. Free of torch, as the world is."""

from workers.training.world import Scene

PHRASES: dict[str, tuple[str, ...]] = {
    "colour": (
        "what {colour} is {it}?",
        "which {colour} is {it}?",
        "what is the {colour} of {it}?",
        "what {colour} does {it} have?",
    ),
    "shape": (
        "what shape is {it}?",
        "which shape is {it}?",
        "what kind of shape is {it}?",
        "what is the shape of {it}?",
        "what shape does {it} have?",
        "what shape do you see?",
        "what shape is in the picture?",
        "what is {it}?",
    ),
    "size": (
        "how large is {it}?",
        "how big is {it}?",
        "how small is {it}?",
        "what size is {it}?",
        "what is the size of {it}?",
    ),
    "large": ("is {it} large?", "is {it} big?", "is {it} a large one?", "is {it} a big one?"),
    "small": ("is {it} small?", "is {it} little?", "is {it} a small one?", "is {it} tiny?"),
    "background": (
        "what {colour} is the background?",
        "which {colour} is the background?",
        "what is the {colour} of the background?",
        "what is the background {colour}?",
        "what {colour} does the background have?",
        "what is the {colour} behind {it}?",
        "on what {colour} is {it}?",
    ),
}
"""How each topic may be asked about; `{it}` is any name of the shape. `large` and `small` are
answered with yes or no."""

_SPELLINGS = ("colour", "color")
_NAMES = ("it", "this", "the shape", "the object", "the figure")


def questions(topic: str, shape: str = "") -> list[str]:
    """Every question about a topic of `PHRASES`, some calling the shape what it is.

    shape: a word of `world.SHAPES`; without it (and where it is what is asked for) no question
    holds one.
    """
    names = _NAMES if not shape or topic == "shape" else (*_NAMES, f"the {shape}")
    asked = [
        phrase.format(colour=spelling, it=name)
        for phrase in PHRASES[topic]
        for spelling in _SPELLINGS
        for name in names
    ]
    return list(dict.fromkeys(asked))


def answer(scene: Scene, topic: str) -> str:
    """The right answer, one word; ValueError for a topic that is none of `PHRASES`."""
    if topic in ("large", "small"):
        return "yes" if scene.size == topic else "no"
    if topic not in PHRASES:
        raise ValueError(f"nothing is asked about {topic!r}: one of {', '.join(PHRASES)}")
    return str(getattr(scene, topic))
