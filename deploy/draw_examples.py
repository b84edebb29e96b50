"""Draws the two pictures that `make run` blends: `python -m deploy.draw_examples`."""

from deploy.run_example import FIRST, SECOND
from workers.training.world import Scene, render

SIDE = 256  # pixels


def main() -> None:
    FIRST.parent.mkdir(exist_ok=True)
    render(Scene("circle", "red", "large", "white"), SIDE, SIDE).save(FIRST)
    render(Scene("square", "blue", "large", "gray"), SIDE, SIDE).save(SECOND)


if __name__ == "__main__":
    main()
