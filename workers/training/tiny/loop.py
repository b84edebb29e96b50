"""The training loop that the tiny models share: seeded, resumable, with progress."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

Step = Callable[[int], torch.Tensor]
"""From the number of the step to its loss. All its randomness must come from that number, or from
torch's generator, which the loop seeds by it: then a resumed run repeats an uninterrupted one."""


class Average:
    """Exponential moving average of a module's parameters, which samples better than the last."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the parameters after a step; early averages are short."""
        decay = min(self.decay, (step + 1) / (step + 10))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.shadow[name].lerp_(value, 1 - decay)


def rate(step: int, steps: int, peak: float, warmup: int = 100, decay_from: float = 0.5) -> float:
    """Learning rate: linear warm-up, constant, then a cosine to 2 % of the peak.

    decay_from: where the cosine starts, as a fraction of all the steps.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = max(0.0, (step / steps - decay_from) / (1 - decay_from))
    cosine = float(0.5 + 0.5 * torch.cos(torch.tensor(torch.pi * min(progress, 1.0))))
    return peak * (0.02 + 0.98 * cosine)


def train(
    name: str,
    module: nn.Module,
    step: Step,
    *,
    steps: int,
    peak: float,
    folder: Path,
    seed: int,
    decay_from: float = 0.5,
    ema: float | None = None,
    save_every: float = 60.0,
    stop_at: int | None = None,
) -> None:
    """Train `module` to `steps` with AdamW, going on from `folder/NAME.pt` where there is one.

    ema: decay of a moving average, which `module` holds in the end in place of the last weights.
    save_every: seconds between checkpoints; stop_at: step to stop (and save) at, as if cut off.
    """
    optimizer = torch.optim.AdamW(
        module.parameters(), lr=peak, betas=(0.9, 0.99), weight_decay=0.01
    )
    average = Average(module, ema) if ema else None
    path = folder / f"{name}.pt"
    first = 0
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
        if average:
            average.shadow = {k: v.to(average.shadow[k].device) for k, v in state["ema"].items()}
    module.train()
    last = min(steps, stop_at or steps)
    saved = time.monotonic()
    for number, report in progress(name, first, last, steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(number, steps, peak, decay_from=decay_from)
        torch.manual_seed(seed * 1_000_003 + number)
        loss = step(number)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        if average:
            average.update(module, number)
        report(loss)
        if number + 1 == last or time.monotonic() - saved > save_every:
            state = {"module": module.state_dict(), "optimizer": optimizer.state_dict()}
            state |= {"step": number + 1, "ema": average.shadow if average else {}}
            _save(state, path)
            saved = time.monotonic()
    if average:
        module.load_state_dict(average.shadow)
    module.eval()


def weights(name: str, folder: Path) -> dict[str, torch.Tensor]:
    """Weights of the newest checkpoint of a training, the averaged ones where there are any."""
    state = torch.load(folder / f"{name}.pt", map_location="cpu", weights_only=True)
    result: dict[str, torch.Tensor] = state["ema"] or state["module"]
    return result


def progress(
    name: str, first: int, last: int, steps: int
) -> Iterator[tuple[int, Callable[[torch.Tensor], None]]]:
    """Yield (step, report) from first to last: a bar on a terminal, a line every 10 s elsewhere."""
    terminal = sys.stderr.isatty()
    bar = tqdm(total=steps, initial=first, desc=name, disable=not terminal, file=sys.stderr)
    began = told = time.monotonic()
    losses: list[float] = []

    def report(loss: torch.Tensor) -> None:
        losses.append(float(loss.detach()))

    for number in range(first, last):
        yield number, report
        bar.update()
        now = time.monotonic()
        if now - told < (1.0 if terminal else 10.0) and number + 1 != last:
            continue
        told, mean = now, sum(losses) / len(losses)
        losses.clear()
        bar.set_postfix(loss=f"{mean:.4f}")
        if not terminal:
            pace = (now - began) / (number + 1 - first)
            print(
                f"{name}: step {number + 1}/{steps}, loss {mean:.4f}, {pace * 1000:.0f} ms/step, "
                f"{pace * (last - number - 1) / 60:.1f} min left",
                file=sys.stderr,
                flush=True,
            )
    bar.close()


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Write a checkpoint folder beside `folder`, then put it there: readers see no half of one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = (folder.with_name(f".{folder.name}.{word}") for word in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir()
    yield fresh
    for path in fresh.rglob("*"):  # safetensors writes files that only their owner may read
        path.chmod(0o755 if path.is_dir() else 0o644)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def write_json(value: object, path: Path) -> None:
    """Write indented JSON with a newline at its end."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _save(state: dict[str, object], path: Path) -> None:
    """Save and then rename, so that a cut-off run leaves the checkpoint before it whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    torch.save(state, fresh)
    fresh.replace(path)
