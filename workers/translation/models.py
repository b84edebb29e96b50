"""Loading a translation model: which architecture it is, and which engine runs it.

Settings of a checkpoint, besides those of `dialects.py` and `chat.py`:

engine        "torch" or "ctranslate2" (default: ctranslate2 where the package and a converted
              model are there, see `ctranslate.py`)
compute_type  CTranslate2's (default: what the model was converted to)
dtype         torch's: "float32", "float16" or "bfloat16" (default: float32 on a CPU, float16 on a
              GPU; T5 and its kin overflow in float16)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from shared.errors import ModelNotAvailable
from workers.dtypes import dtype_of
from workers.predictor import Checkpoint
from workers.translation.calls import WIDTHS
from workers.translation.chat import Chat
from workers.translation.ctranslate import CTRANSLATE2, CTranslateEngine, converted, installed
from workers.translation.decoding import Engine, TorchEngine
from workers.translation.dialects import Dialect, seq2seq_dialect
from workers.weights import check, read_json

LIMIT = 512  # tokens that an encoder is given at most


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in memory. A piece has less than `limit` tokens; `positions` bounds what is
    written, of a chat model (`causal`) together with what it reads."""

    dialect: Dialect
    engine: Engine
    limit: int
    positions: int
    causal: bool

    def most(self, width: int, params: Mapping[str, Any]) -> int:
        """Tokens of a translation. Twice the input is more than any takes: the rest would be a
        model gone astray."""
        room = self.positions - (width if self.causal else 2)
        return min(params.get("max_tokens") or 2 * width + 16, room)


def load(checkpoint: Checkpoint, device: str) -> Loaded:
    """A checkpoint, by the engine that suits it. Raises ModelNotAvailable, or what transformers
    raises."""
    name, path, settings = checkpoint.model, checkpoint.path, checkpoint.settings
    if not (path / "config.json").is_file():
        raise ModelNotAvailable(f"{path} holds no checkpoint: no config.json")
    tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    kind, positions = architecture(path, tokenizer)
    causal = is_chat(name, kind, tokenizer)
    dialect: Dialect
    if causal:
        dialect = Chat(name, tokenizer, settings)
        limit = min(WIDTHS[-1], positions // 3)  # the answer follows, and may be twice as long
    else:
        dialect = seq2seq_dialect(name, kind, tokenizer, settings)
        limit = min(LIMIT, positions)
    limit = min(limit, tokenizer.model_max_length)
    engine = start(checkpoint, device, tokenizer, causal)
    return Loaded(dialect, engine, limit, positions, causal)


def architecture(path: Path, tokenizer: Any) -> tuple[str | None, int]:
    """The model's type, None for a converted model by itself, and its positions."""
    unbounded = 3 * WIDTHS[-1]
    if converted(path) == path and "model_type" not in read_json(path / "config.json"):
        return None, min(unbounded, tokenizer.model_max_length)
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    text = config.get_text_config()
    return config.model_type, getattr(text, "max_position_embeddings", None) or unbounded


def is_chat(name: str, kind: str | None, tokenizer: Any) -> bool:
    """Whether this is a chat model, else an encoder-decoder. Raises ModelNotAvailable where it is
    neither."""
    if tokenizer.chat_template and (kind is None or kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        return True
    if kind is None or kind in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return False
    raise ModelNotAvailable(
        f"{name}: {kind} is no translator: neither an encoder-decoder nor, without a chat "
        "template, a chat model"
    )


def start(checkpoint: Checkpoint, device: str, tokenizer: Any, causal: bool) -> Engine:
    """The engine with the model loaded. Raises ModelNotAvailable."""
    name, path, settings = checkpoint.model, checkpoint.path, checkpoint.settings
    ready = converted(path)
    engine = settings.get("engine")
    if engine not in (None, "torch", CTRANSLATE2):
        raise ModelNotAvailable(f"{name}: no engine {engine}; known are torch and {CTRANSLATE2}")
    if engine == CTRANSLATE2 and not ready:
        raise ModelNotAvailable(f"{name}: {path / CTRANSLATE2} holds no converted model")
    if ready and engine != "torch" and (engine or installed() or ready == path):
        return CTranslateEngine(
            ready,
            device,
            tokenizer,
            causal,
            generation_settings(path),
            torch.get_num_threads(),
            settings.get("compute_type", "default"),
        )
    check(path)
    architectures = AutoModelForCausalLM if causal else AutoModelForSeq2SeqLM
    model: Any = architectures.from_pretrained(
        path, dtype=dtype_of(checkpoint, device), use_safetensors=True, trust_remote_code=False
    )
    pad = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    return TorchEngine(model.to(device).eval(), pad, causal)


def generation_settings(path: Path) -> Mapping[str, Any]:
    """The checkpoint's own defaults of `generate`."""
    if not (path / "generation_config.json").is_file():
        return {}
    return dict(GenerationConfig.from_pretrained(path).to_dict())
