# SPDX-License-Identifier: MIT
"""What the scripts here share: reading a GGUF file's tensors as float32, copying its metadata, and adding tensors in a format by name.

Formats are those skald computes with: f32, f16, bf16, q8_0, q4_0, q4_1. Needs: gguf, numpy.
"""
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize

FORMATS = {
    "f32": GGMLQuantizationType.F32,
    "f16": GGMLQuantizationType.F16,
    "bf16": GGMLQuantizationType.BF16,
    "q8_0": GGMLQuantizationType.Q8_0,
    "q4_0": GGMLQuantizationType.Q4_0,
    "q4_1": GGMLQuantizationType.Q4_1,
}

FILE_TYPES = {
    "f32": LlamaFileType.ALL_F32,
    "f16": LlamaFileType.MOSTLY_F16,
    "bf16": LlamaFileType.MOSTLY_BF16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q4_0": LlamaFileType.MOSTLY_Q4_0,
    "q4_1": LlamaFileType.MOSTLY_Q4_1,
}

# Keys the writer or the caller sets anew.
OWN_KEYS = ("general.architecture", "general.file_type", "general.quantization_version")


def to_format(values, name):
    """The bytes of a float array in the named format, as an array whose last axis is a row's bytes (or values, for f32 and f16)."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    if name == "f32":
        return values
    if name == "f16":
        return values.astype(np.float16)
    return quantize(values, FORMATS[name])


def rounded(values, name):
    """The float32 values that remain after storing them in the named format."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    return dequantize(to_format(values, name), FORMATS[name]).reshape(values.shape).astype(np.float32)


def add_tensor(writer, tensor_name, values, format_name):
    """Adds a tensor, given in the shape numpy shows (rows, cols)."""
    writer.add_tensor(tensor_name, to_format(values, format_name), raw_dtype=FORMATS[format_name])


def read_tensor(tensor):
    """A reader's tensor as float32, rows first."""
    shape = [int(n) for n in reversed(tensor.shape)]
    return dequantize(tensor.data, tensor.tensor_type).reshape(shape).astype(np.float32)


def copy_metadata(reader, writer, replaced=None):
    """Copies every key but OWN_KEYS with its type; `replaced` gives new values, of the old type, for some."""
    replaced = replaced or {}
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in OWN_KEYS:
            continue
        value = replaced.get(key, field.contents())
        if field.types[0] == GGUFValueType.ARRAY:
            writer.add_key_value(key, value, GGUFValueType.ARRAY, sub_type=field.types[-1])
        else:
            writer.add_key_value(key, value, field.types[0])


def start_file(path, architecture, format_name):
    """A writer for a file most of whose matrices are in that format. Tensors are kept in memory until `finish`."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    writer = GGUFWriter(path, architecture)
    writer.add_file_type(FILE_TYPES[format_name])
    if format_name.startswith("q"):
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    return writer


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def open_file(path):
    return GGUFReader(path)
