"""Chat models that see pictures, and Florence-2, with random weights.

Their tokenizers know the letters and signs of ASCII, space and new line.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartTokenizer,
    CLIPImageProcessorPil,
    Florence2Config,
    Florence2ForConditionalGeneration,
    GPT2Tokenizer,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    LlamaTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
)

from tests.checkpoints.parts import save

SMALL: Mapping[str, Any] = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4} | {
    "intermediate_size": 64,
    "initializer_range": 0.3,  # with less, a tiny model writes one token over and over
}
MROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SMOL_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% else %}<image>{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | upper }}: "
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}<image>\n"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def vocabulary(*specials: str, blanks: str = "ĠĊ") -> dict[str, int]:
    """`blanks` are how the tokenizer writes a space and a new line."""
    tokens = [*specials, *map(chr, range(ord("!"), ord("~") + 1)), *blanks]
    return {token: number for number, token in enumerate(tokens)}


def write(folder: Path, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text)


def qwen(
    folder: Path,
    config: type[Any],
    model: type[Any],
    vision: Mapping[str, Any],
    processor: str,
    patch: int = 4,
) -> Path:
    """What the Qwen-VL have in common: any size of picture, as a grid of patches."""
    torch.manual_seed(0)
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
    marks += ["<|image_pad|>", "<|video_pad|>"]
    tokens = vocabulary(*marks)
    tokenizer = Qwen2Tokenizer(
        vocab=tokens, merges=[], eos_token="<|im_end|>", additional_special_tokens=marks[1:]
    )
    ids = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    text = {**SMALL, **ids, "vocab_size": len(tokens), "num_key_value_heads": 2}
    text |= {"max_position_embeddings": 512, "rope_parameters": MROPE, "head_dim": 8}
    settings = config(
        text_config=text,
        vision_config={"depth": 2, "num_heads": 4, "patch_size": patch, **vision},
        vision_start_token_id=3,
        vision_end_token_id=4,
        image_token_id=5,
        video_token_id=6,
    )
    built = model(settings)
    # As published: what a chat draws by lot must not reach a batch.
    built.generation_config.update(do_sample=True, temperature=0.7, top_k=20, **ids)
    pictures = Qwen2VLImageProcessorPil(
        patch_size=patch, size={"shortest_edge": 256, "longest_edge": 1024}
    )
    save(folder, "cpu", built, tokenizer, pictures)
    file = folder / "preprocessor_config.json"
    published = {"image_processor_type": "Qwen2VLImageProcessorFast", "processor_class": processor}
    write(folder, file.name, json.loads(file.read_text()) | published)
    write(folder, "chat_template.json", {"chat_template": QWEN_TEMPLATE})
    write(folder, "video_preprocessor_config.json", {"video_processor_type": "X"})
    return folder


def qwen2_vl(folder: Path) -> Path:
    vision = {"embed_dim": 32, "hidden_size": 32, "initializer_range": 0.3}
    return qwen(folder, Qwen2VLConfig, Qwen2VLForConditionalGeneration, vision, "Qwen2VLProcessor")


def qwen2_5_vl(folder: Path) -> Path:
    vision = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32}
    vision |= {"window_size": 16, "fullatt_block_indexes": [1], "initializer_range": 0.3}
    return qwen(
        folder,
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        vision,
        "Qwen2_5_VLProcessor",
    )


def qwen3_vl(folder: Path) -> Path:
    vision = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32}
    vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    vision |= {"initializer_range": 0.3}
    return qwen(folder, Qwen3VLConfig, Qwen3VLForConditionalGeneration, vision, "Qwen3VLProcessor")


def smol(
    folder: Path, config: type[Any], model: type[Any], pictures: type[Any], processor: str
) -> Path:
    """What Idefics3 and SmolVLM have in common: a picture is cut into tiles, and seen whole."""
    torch.manual_seed(0)
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)]
    marks = ["<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<image>", "<global-img>"]
    marks += ["<fake_token_around_image>", *tiles]
    tokens = vocabulary(*marks)
    tokenizer = GPT2Tokenizer(
        vocab=tokens, merges=[], bos_token="<|im_start|>", eos_token="<end_of_utterance>",
        unk_token="<|endoftext|>", pad_token="<|endoftext|>", additional_special_tokens=marks[3:],
    )  # fmt: skip
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    text = {**SMALL, **ids, "model_type": "llama", "vocab_size": len(tokens)}
    text |= {"max_position_embeddings": 512}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    built = model(config(text_config=text, vision_config=vision, image_token_id=3, scale_factor=2))
    built.generation_config.update(**ids)
    images = pictures(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    save(folder, "cpu", built, tokenizer, images)
    settings = {"processor_class": processor, "image_seq_len": 4}
    write(folder, "processor_config.json", settings)
    write(folder, "chat_template.jinja", SMOL_TEMPLATE)
    return folder


def idefics3(folder: Path) -> Path:
    return smol(
        folder,
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessorPil,
        "Idefics3Processor",
    )


def smolvlm(folder: Path) -> Path:
    return smol(
        folder,
        SmolVLMConfig,
        SmolVLMForConditionalGeneration,
        SmolVLMImageProcessorPil,
        "SmolVLMProcessor",
    )


def llava(folder: Path) -> Path:
    """LLaVA: a CLIP vision tower and a Llama, with a tokenizer that writes a space as a letter."""
    torch.manual_seed(0)
    tokens = vocabulary("<unk>", "<s>", "</s>", "<image>", blanks="▁\n")
    tokenizer = LlamaTokenizer(
        vocab=tokens, merges=[], pad_token="</s>", additional_special_tokens=["<image>"]
    )
    text = {**SMALL, "model_type": "llama", "vocab_size": len(tokens), "bos_token_id": 1}
    text |= {"eos_token_id": 2, "pad_token_id": 2, "max_position_embeddings": 512}
    vision = {**SMALL, "model_type": "clip_vision_model", "image_size": 32, "patch_size": 8}
    config = LlavaConfig(text_config=text, vision_config=vision, image_token_index=3)
    side = {"height": 32, "width": 32}
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=side)
    save(folder, "cpu", LlavaForConditionalGeneration(config), tokenizer, pictures)
    settings = {"processor_class": "LlavaProcessor", "patch_size": 8}
    settings |= {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    write(folder, "processor_config.json", settings)
    write(folder, "chat_template.json", {"chat_template": LLAVA_TEMPLATE})
    return folder


def florence2(folder: Path) -> Path:
    """Florence-2: a DaViT whose features are the first tokens of a BART."""
    torch.manual_seed(0)
    tokens = vocabulary("<s>", "<pad>", "</s>", "<unk>", "<image>", "<mask>")
    tokenizer = BartTokenizer(
        vocab=tokens, merges=[], extra_special_tokens={"image_token": "<image>"}
    )
    text = {
        "model_type": "bart", "vocab_size": len(tokens), "d_model": 32, "encoder_layers": 2,
        "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 128,
        "init_std": 0.3,
    }  # fmt: skip
    vision = {
        "depths": [1, 1], "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1],
        "patch_prenorm": [False, True], "embed_dim": [16, 32], "num_heads": [2, 4],
        "num_groups": [2, 4], "window_size": 4, "projection_dim": 32, "initializer_range": 0.3,
    }  # fmt: skip
    config = Florence2Config(
        text_config=text, vision_config=vision, image_token_id=tokens["<image>"]
    )
    built = Florence2ForConditionalGeneration(config)
    built.generation_config.update(forced_bos_token_id=0)
    side = {"height": 32, "width": 32}
    pictures = CLIPImageProcessorPil(size=side, crop_size=side, do_center_crop=False)
    save(folder, "cpu", built, tokenizer, pictures)
    file = folder / "preprocessor_config.json"
    # A picture is 4 x 4 features and their mean.
    published = {"image_seq_length": 17, "processor_class": "Florence2Processor"}
    write(folder, file.name, json.loads(file.read_text()) | published)
    return folder


CHATS: Mapping[str, Callable[[Path], Path]] = {
    "qwen2-vl": qwen2_vl,
    "qwen2.5-vl": qwen2_5_vl,
    "qwen3-vl": qwen3_vl,
    "smolvlm": smolvlm,
    "idefics3": idefics3,
    "llava": llava,
}
BUILDERS: Mapping[str, Callable[[Path], Path]] = {**CHATS, "florence2": florence2}
