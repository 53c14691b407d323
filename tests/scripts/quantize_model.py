# SPDX-License-Identifier: MIT
"""Writes a GGUF model again with its matrices in another format.

    python quantize_model.py IN.gguf OUT.gguf --type q8_0|q4_0|q4_1|bf16|f16|f32 [--embedding-type TYPE]

Every tensor of two dimensions takes the type, vectors stay float32. What llama-quantize keeps at a better precision, the output
head (which is the token embedding, where the two are tied), is stored as q8_0 for the 4-bit types (llama-quantize: Q6_K);
--embedding-type says otherwise for both. Rows that are no whole number of blocks are refused. Needs: gguf, numpy.
"""
import argparse

import gguf_tools as tools

HEADS = ("token_embd.weight", "output.weight")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--type", required=True, choices=tools.FORMATS)
    parser.add_argument("--embedding-type", choices=tools.FORMATS)
    args = parser.parse_args()

    reader = tools.open_file(args.source)
    names = {tensor.name for tensor in reader.tensors}
    head = "output.weight" if "output.weight" in names else "token_embd.weight"

    def format_of(name):
        if name in HEADS and args.embedding_type:
            return args.embedding_type
        return "q8_0" if name == head and args.type in ("q4_0", "q4_1") else args.type

    writer = tools.start_file(args.target, reader.fields["general.architecture"].contents(), args.type)
    tools.copy_metadata(reader, writer)
    for tensor in reader.tensors:
        name = format_of(tensor.name) if len(tensor.shape) == 2 else "f32"
        tools.add_tensor(writer, tensor.name, tools.read_tensor(tensor), name)
    tools.finish(writer)


if __name__ == "__main__":
    main()
