"""Hosted: prompt, or prompt and picture, → picture, drawn by a model behind the Gemini API.

sample  {"prompt": str, "negative_prompt": str | None, "seed": int, "image": RGB PIL.Image}
params  task ("text-to-image" | "image-to-image"), width, height (pixels; of them the host is told
        the nearest aspect ratio); what else there is concerns diffusion alone, and is not sent
result  {"image": RGB PIL.Image of the host's size, "prompt": what was drawn}

The host is told the seed, but does not promise the same picture for it. No torch here.
"""

import asyncio
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
from google import genai
from google.genai import types
from google.genai.errors import APIError
from PIL import Image

from shared.errors import ImagemillError, InvalidImage, ModelNotAvailable, PredictionFailed
from shared.images import decode
from workers.hosting.retry import Patience, TurnedAway, told_delay_s
from workers.hosting.settings import API_KEY, load_hosted_settings
from workers.predictor import Batch, Checkpoint, Predictor, Result, StepMonitor

TASKS = ("text-to-image", "image-to-image")
ASPECT_RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
API_VERSION = "v1beta"  # the one whose pictures are documented; the SDK's own varies
AT_ONCE = 4  # requests
REQUEST_S = 120.0
TICK_S = 0.1  # between two looks at whether the batch is still wanted
MAX_PIXELS = 2**26  # of an answer; the largest that is on offer has about 2**24
MAX_MESSAGE = 300  # characters of the host's words in an error
# What the SDK stumbles over when an answer is no JSON, or not of the form that was agreed on.
DAMAGE = (AttributeError, LookupError, TypeError, ValueError)
SEEDS = 2**31  # the API's are 32-bit and signed


@dataclass(frozen=True)
class Remote:
    """A model as the API names it, and the size of its pictures ("1K", "2K", …; None: its own)."""

    name: str
    image_size: str | None = None


class Hosted(Predictor):
    """One request for each picture, never one for the empty places of a batch."""

    def __init__(self, device: str, patience: Patience | None = None) -> None:
        super().__init__(device)
        self._patience = patience or Patience()
        self._models: dict[str, Remote] = {}

    def load(self, checkpoint: Checkpoint) -> None:
        """Settings: `api_model` (else the model's own name), `image_size`. Asks the host nothing.

        Raises ModelNotAvailable without a key, SettingsError for a wrong one or a wrong address.
        """
        self._settings = load_hosted_settings()
        if not self._settings.api_key.get_secret_value():
            raise ModelNotAvailable(f"{checkpoint.model} is hosted: set {API_KEY}")
        self._models[checkpoint.model] = Remote(
            checkpoint.settings.get("api_model", checkpoint.model),
            checkpoint.settings.get("image_size"),
        )

    def unload(self, model: str) -> None:
        """Later batches may not name it."""
        self._models.pop(model, None)

    def predict(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        """In place of a picture stands PredictionFailed where the host refuses it, and
        HostUnavailable where it can give none for now: the others are paid for."""
        task = batch.params.get("task", TASKS[0])
        if task not in TASKS:
            raise PredictionFailed(f"{batch.model} cannot do {task}")
        return asyncio.run(self._draw(batch, monitor))

    async def _draw(self, batch: Batch, monitor: StepMonitor) -> Sequence[Result]:
        """All pictures; the requests are dropped when nobody wants them."""
        remote, count = self._models[batch.model], len(batch.samples)
        config = configuration(remote, batch.params)
        free = asyncio.Semaphore(AT_ONCE)
        async with httpx2.AsyncClient() as http:
            client = self._client(http)

            async def draw(sample: Mapping[str, Any]) -> Result:
                told = config.model_copy(update={"seed": sample["seed"] % SEEDS})

                async def ask() -> Image.Image:
                    return await self._ask(client, remote, contents(sample), told)

                try:
                    async with free:
                        drawn = await self._patience.insist(ask)
                except ImagemillError as error:
                    return error
                return {"image": drawn, "prompt": sample["prompt"]}

            tasks = [asyncio.create_task(draw(sample)) for sample in batch.samples]
            try:
                done: set[Any] = set()
                while len(done) < count:
                    done, _ = await asyncio.wait(tasks, timeout=TICK_S)
                    if not monitor.step(len(done), count, f"picture {len(done)} of {count}"):
                        return []
                return [task.result() for task in tasks]
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _client(self, http: httpx2.AsyncClient) -> genai.Client:
        """The SDK's client. With no `retry_options` it asks once."""
        return genai.Client(
            vertexai=False,
            api_key=self._settings.api_key.get_secret_value(),
            http_options=types.HttpOptions(
                base_url=str(self._settings.url) or None,
                api_version=API_VERSION,
                timeout=round(REQUEST_S * 1000),
                httpx_async_client=http,
            ),
        )

    async def _ask(
        self,
        client: genai.Client,
        remote: Remote,
        parts: list[types.Part],
        config: types.GenerateContentConfig,
    ) -> Image.Image:
        """One request. Raises TurnedAway and PredictionFailed, both in the host's words."""
        try:
            response = await client.aio.models.generate_content(
                model=remote.name, contents=types.UserContent(parts=parts), config=config
            )
        except APIError as error:
            failure = self._refusal(error)
        except httpx2.TransportError as error:
            failure = TurnedAway(f"no answer: {self._words(error)}")
        except DAMAGE as error:
            failure = PredictionFailed(f"the host's answer is damaged: {type(error).__name__}")
        else:
            return picture(response)
        # Not while the other one is handled: it may hold what no log should.
        raise failure

    def _refusal(self, error: APIError) -> TurnedAway | PredictionFailed:
        message = f"HTTP {error.code}: {self._words(error.message or error.status)}"
        if error.code != 429 and error.code < 500:
            return PredictionFailed(f"the host refuses: {message}")
        headers = getattr(error.response, "headers", {})
        return TurnedAway(message, told_delay_s(headers, error.details))

    def _words(self, text: object) -> str:
        """The host's words on one line, without the key if it repeats that."""
        key = self._settings.api_key.get_secret_value()
        return one_line(str(text or "no reason given").replace(key, "***"))


def configuration(remote: Remote, params: Mapping[str, Any]) -> types.GenerateContentConfig:
    """What all requests of a batch have in common."""
    ratio = aspect_ratio(params.get("width"), params.get("height"))
    wanted = types.ImageConfig(aspect_ratio=ratio, image_size=remote.image_size)
    return types.GenerateContentConfig(
        response_modalities=["IMAGE"],
        image_config=wanted if ratio or remote.image_size else None,
    )


def aspect_ratio(width: int | None, height: int | None) -> str | None:
    """The nearest one that the API knows; None, where either side is open, leaves it to the
    host, which then follows a given picture."""
    if not width or not height:
        return None

    def distance(ratio: str) -> float:
        wide, high = map(int, ratio.split(":"))
        return abs(math.log(width / height * high / wide))

    return min(ASPECT_RATIOS, key=distance)


def contents(sample: Mapping[str, Any]) -> list[types.Part]:
    """Prompt and picture. The API has no negative prompt, but its models understand a sentence."""
    parts = [types.Part.from_text(text=sample["prompt"])]
    if negative := sample.get("negative_prompt"):
        parts.append(types.Part.from_text(text=f"The picture must not show: {negative}"))
    if "image" in sample:
        file = io.BytesIO()
        sample["image"].save(file, format="PNG")
        parts.append(types.Part.from_bytes(data=file.getvalue(), mime_type="image/png"))
    return parts


def picture(response: types.GenerateContentResponse) -> Image.Image:
    """The first picture of an answer, thoughts left out. Raises PredictionFailed."""
    for part in response.parts or ():
        if part.inline_data and part.inline_data.data and not part.thought:
            try:
                return decode(part.inline_data.data, MAX_PIXELS)
            except InvalidImage as error:
                raise PredictionFailed(f"the host's picture is damaged: {error.message}") from None
    raise PredictionFailed(f"the host drew no picture: {one_line(why_none(response))}")


def why_none(response: types.GenerateContentResponse) -> str:
    """What an answer without a picture gives as its reason."""
    feedback = response.prompt_feedback
    if feedback and feedback.block_reason:
        said = feedback.block_reason_message
        return f"the prompt is blocked ({feedback.block_reason.value}) {said or ''}"
    if not response.candidates:
        return "the answer is empty"
    first = response.candidates[0]
    ended = first.finish_reason.value if first.finish_reason else "no reason given"
    texts = (part.text for part in response.parts or () if part.text and not part.thought)
    return f"{ended} {first.finish_message or ' '.join(texts)}"


def one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}…"


PREDICTOR = Hosted
