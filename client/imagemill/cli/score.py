"""`imagemill score`: no service is needed."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from imagemill.cli.run import Json
from imagemill.cli.show import print_json, print_rows
from imagemill.score import read_predictions, read_references
from imagemill.score import score as score_captions


def score(
    predictions: Annotated[
        Path, typer.Argument(metavar="CAPTIONS", help="JSON lines, or a batch's output.")
    ],
    references: Annotated[
        Path, typer.Option("--references", metavar="FILE", help="Like captions_val2017.json.")
    ],
    as_json: Json = False,
) -> None:
    """Score captions against the references of a COCO captions file.

    A line holds a caption with image_id, file_name or image.
    BLEU-4 and chrF are sacrebleu's, from 0 to 100: in lower case,
    and with words cut by the rules of mteval-v13a.
    """
    known = read_references(references)
    scores = score_captions(read_predictions(predictions, known), known.captions)
    if as_json:
        print_json(asdict(scores))
        return
    print_rows(
        ("SCORE", "", "HOW"),
        [
            ("BLEU-4", f"{scores.bleu4:.2f}", scores.bleu4_signature),
            ("chrF", f"{scores.chrf:.2f}", scores.chrf_signature),
            ("pictures scored", scores.pictures_scored, ""),
            ("predictions without references", scores.predictions_without_references, ""),
            ("references without predictions", scores.references_without_predictions, ""),
        ],
    )
