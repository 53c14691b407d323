# SPDX-License-Identifier: MIT
"""A GGUF file's model as a Hugging Face folder, which other engines convert to their own forms."""
import shutil
from pathlib import Path


def made(folder, make):
    """The folder; if it is not there, make(folder) fills another, which takes its name once it is whole."""
    folder = Path(folder)
    if not folder.exists():
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        make(part)
        part.rename(folder)
    return folder


def hf_folder(gguf, forms):
    """The folder, made once: weights decoded to f32, the tokenizer beside."""
    gguf = Path(gguf)

    def make(folder):
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
        read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        read.config.__dict__.pop("quantization_config", None)
        model = AutoModelForCausalLM.from_config(read.config, dtype=torch.float32)  # the one read cannot be saved
        model.load_state_dict(read.state_dict())
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(folder)

    return made(Path(forms) / gguf.stem / "huggingface", make)


def weight_kind(gguf):
    """What the file's matrices mostly are, as engines call it: "int8", "int4", "bf16", "f16" or "f32"."""
    from gguf import GGMLQuantizationType, GGUFReader
    sizes = {}
    for tensor in GGUFReader(gguf).tensors:
        sizes[tensor.tensor_type] = sizes.get(tensor.tensor_type, 0) + int(tensor.n_elements)
    kind = max(sizes, key=sizes.get)
    names = {GGMLQuantizationType.F32: "f32", GGMLQuantizationType.F16: "f16", GGMLQuantizationType.BF16: "bf16"}
    return names.get(kind, "int8" if kind in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q6_K) else "int4")


def tokens_of(form, text):
    """The text's tokens, by the tokenizer of the folder that a form was made from."""
    from tokenizers import Tokenizer
    return Tokenizer.from_file(str(Path(form).parent / "huggingface" / "tokenizer.json")).encode(text).ids
