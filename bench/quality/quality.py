# SPDX-License-Identifier: MIT
"""What quantization and integer arithmetic cost in quality, skald beside llama.cpp.

    python quality.py types MODEL-F16.gguf --text FILE [--imatrix FILE] [--types Q4_0,Q4_K_M,...] [--out TABLE.md]
    python quality.py compute MODEL.gguf... --text FILE [--out TABLE.md]

types: MODEL written in each format by `skald quantize` and by llama.cpp's own quantizer, with and without an importance matrix, and
the KL divergence of each file's predictions from MODEL's over the text, all computed by `skald logits --compute exact`.
compute: for each file its perplexity by skald's exact and native compute and by llama.cpp, and the KL divergence of the last two
from the first, which decodes weights and multiplies floats.
Runs with a Python that has llama-cpp-python, numpy and gguf, as the one of bench/compare. The text is cut into windows that lie
apart; tokens after the first 32 of a window count.
"""
import argparse
import ctypes
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import llama_cpp as lib
import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
FILE_TYPES = {"Q8_0": 7, "Q6_K": 18, "Q5_1": 9, "Q5_0": 8, "Q5_K_M": 17, "Q5_K_S": 16, "Q4_1": 3, "Q4_0": 2, "Q4_K_M": 15,
              "Q4_K_S": 14, "IQ4_NL": 25, "IQ4_XS": 30, "MXFP4": 38, "Q3_K_L": 13, "Q3_K_M": 12, "Q3_K_S": 11, "IQ3_XXS": 23,
              "Q2_K": 10, "IQ2_M": 29, "IQ2_S": 28, "IQ2_XS": 20, "IQ2_XXS": 19, "IQ1_M": 31, "IQ1_S": 24}  # llama.cpp's llama_ftype
NEED_IMPORTANCE = {"IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M", "IQ1_S"}  # llama.cpp refuses to write them without
PURE = {"MXFP4"}  # llama.cpp's mixture of that name has it for experts only: both write every matrix in it here
CONTEXT_START = 32
ROWS = 48  # of logits that are compared at a time


@lib.llama_log_callback
def silent(level, text, user_data):
    pass


def note(text):
    print(text, file=sys.stderr, flush=True)


def log_softmax(x):
    x = x.astype(np.float32) - x.max(-1, keepdims=True).astype(np.float32)
    return x - np.log(np.exp(x).sum(-1, keepdims=True, dtype=np.float64)).astype(np.float32)


class Divergence:
    """Sums over tokens of how far predictions are from a reference's, and of how well they foretell the text."""

    def __init__(self, reference, tokens):
        self.reference, self.tokens = reference, np.asarray(tokens)
        self.kl, self.loss, self.same = [], [], []

    def add(self, window, first, logits):
        """logits: (rows, vocabulary), of the positions from `first` on."""
        skip = max(CONTEXT_START - first, 0)
        got = log_softmax(logits[skip:])
        rows = slice(first + skip, first + len(logits))
        want = log_softmax(np.asarray(self.reference[window, rows]))
        self.kl.append((np.exp(want) * (want - got)).sum(-1, dtype=np.float64))
        self.same.append(want.argmax(-1) == got.argmax(-1))
        following = self.tokens[window, first + skip + 1:first + len(logits) + 1]
        self.loss.append(-got[np.arange(len(following)), following])

    def result(self):
        kl = np.concatenate(self.kl)
        return {"kl": float(kl.mean()), "error": float(kl.std() / len(kl)**.5), "same_best": float(np.concatenate(self.same).mean()),
                "perplexity": float(np.exp(np.concatenate(self.loss).mean(dtype=np.float64)))}


class Bench:
    def __init__(self, args, folder):
        self.skald, self.folder, self.threads = args.skald, Path(folder), args.threads
        self.text, self.windows, self.length = args.text, args.windows, args.window
        self.windows_file = self.folder / "windows.json"

    def run(self, *command, **options):
        return subprocess.run([str(self.skald), *(str(c) for c in command)], check=True, **options)

    def read_text(self, model):
        """The windows' tokens, from the whole text evenly."""
        ids = [int(i) for i in self.run("tokenize", model, stdin=self.text.open("rb"), stdout=subprocess.PIPE).stdout.split()]
        if len(ids) < self.windows * self.length:
            raise SystemExit(f"{self.text} has {len(ids)} tokens; {self.windows} windows of {self.length} need more")
        apart = (len(ids) - self.length) // max(self.windows - 1, 1)
        self.tokens = [ids[i * apart:i * apart + self.length] for i in range(self.windows)]
        self.windows_file.write_text(json.dumps(self.tokens))

    def skald_logits(self, model, name, compute):
        out = self.folder / name
        self.run("logits", model, "--tokens", self.windows_file, "--out", out, "--compute", compute, "--chunk", self.length, "-t",
                 self.threads)
        return np.load(out, mmap_mode="r")

    def compare(self, reference, logits):
        sums = Divergence(reference, self.tokens)
        for window in range(len(logits)):
            for first in range(0, self.length - 1, ROWS):
                sums.add(window, first, logits[window, first:min(first + ROWS, self.length - 1)])
        return sums.result()

    def compare_skald(self, reference, model, compute):
        result = self.compare(reference, self.skald_logits(model, "skald.npy", compute))
        (self.folder / "skald.npy").unlink()
        return result

    def compare_llama_cpp(self, reference, model):
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = self.length
        params.n_threads = params.n_threads_batch = self.threads
        loaded = lib.llama_model_load_from_file(str(model).encode(), lib.llama_model_default_params())
        context = lib.llama_init_from_model(loaded, params)
        if not context:
            raise SystemExit(f"llama.cpp could not load {model}")
        vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(loaded))
        batch = lib.llama_batch_init(self.length, 0, 1)
        sums = Divergence(reference, self.tokens)
        for window, tokens in enumerate(self.tokens):
            lib.llama_memory_clear(lib.llama_get_memory(context), True)
            batch.n_tokens = self.length
            for i, token in enumerate(tokens):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, 1
            if lib.llama_decode(context, batch) != 0:
                raise SystemExit("llama_decode failed")
            logits = np.ctypeslib.as_array(lib.llama_get_logits(context), shape=(self.length, vocabulary))
            for first in range(0, self.length - 1, ROWS):
                sums.add(window, first, logits[first:min(first + ROWS, self.length - 1)])
        lib.llama_batch_free(batch)
        lib.llama_free(context)
        lib.llama_model_free(loaded)
        return sums.result()


class ImatrixData(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


def read_importance(path):
    """An imatrix file as llama_model_quantize takes it; the lists keep the numbers alive."""
    import gguf
    tensors = {t.name: np.array(t.data, dtype=np.float32) for t in gguf.GGUFReader(path).tensors}
    kept = []
    for name, sums in tensors.items():
        if name.endswith(".in_sum2"):
            tensor = name.removesuffix(".in_sum2")
            counts = tensors[tensor + ".counts"].reshape(-1, 1)
            kept.append((tensor.encode(), np.ascontiguousarray(sums.reshape(len(counts), -1) / counts).reshape(-1)))
    array = (ImatrixData * (len(kept) + 1))(*(ImatrixData(n, v.ctypes.data, v.size) for n, v in kept), ImatrixData(None, None, 0))
    return array, kept


def llama_cpp_quantize(source, out, kind, importance, threads):
    params = lib.llama_model_quantize_default_params()
    params.nthread, params.ftype, params.pure = threads, FILE_TYPES[kind], kind in PURE
    if importance is not None:
        field = type(params.imatrix)
        address = ctypes.addressof(importance[0])
        params.imatrix = ctypes.cast(address, field) if issubclass(field, ctypes._Pointer) else address
    return lib.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params)) == 0


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", "| --- " * 1 + "| ---: " * (len(head) - 1) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def types(args, bench):
    model = args.models[0]
    bench.read_text(model)
    reference = bench.skald_logits(model, "reference.npy", "exact")
    importances = [None]
    if args.imatrix:
        bench.run("imatrix", model, "-f", args.imatrix, "-o", bench.folder / "imatrix.gguf", "-t", args.threads,
                  stdout=subprocess.DEVNULL)
        importances.append(read_importance(bench.folder / "imatrix.gguf"))
    head = ["type", "imatrix", "skald KL", "llama.cpp KL", "ratio", "skald MB", "llama.cpp MB", "skald same best", "llama.cpp same best"]
    rows = []
    for kind in args.types:
        for importance in importances:
            cells = {}
            for who in ("skald", "llama.cpp"):
                out = bench.folder / f"{who}.gguf"
                if who == "skald":
                    extra = ["--imatrix", bench.folder / "imatrix.gguf"] if importance else []
                    extra += ["--tensor-type", f".={kind.lower()}"] if kind in PURE else []
                    done = bench.run("quantize", model, out, "--type", kind, "-q", "-t", args.threads, *extra).returncode == 0
                else:
                    done = (importance is not None or kind not in NEED_IMPORTANCE) and \
                        llama_cpp_quantize(model, out, kind, importance, args.threads)
                if done:
                    cells[who] = bench.compare_skald(reference, out, "exact") | {"size": out.stat().st_size}
                out.unlink(missing_ok=True)
            ours, theirs = cells.get("skald"), cells.get("llama.cpp")
            show = lambda key, form: [format(c[key], form) if c else "" for c in (ours, theirs)]
            ratio = f"{ours['kl'] / theirs['kl']:.3f}" if ours and theirs else ""
            rows.append([kind, "yes" if importance else "no", *show("kl", ".6f"), ratio,
                         *(f"{c['size'] / 1e6:.1f}" if c else "" for c in (ours, theirs)), *show("same_best", ".2%")])
            note(" | ".join(rows[-1]))
    return table(head, rows)


def compute(args, bench):
    head = ["file", "perplexity exact", "native", "llama.cpp", "native / llama.cpp", "KL native from exact", "KL llama.cpp from exact", "ratio"]
    rows = []
    for model in args.models:
        bench.read_text(model)
        reference = bench.skald_logits(model, "reference.npy", "exact")
        exact = bench.compare(reference, reference)
        native, theirs = bench.compare_skald(reference, model, "native"), bench.compare_llama_cpp(reference, model)
        rows.append([model.stem, *(f"{r['perplexity']:.4f}" for r in (exact, native, theirs)),
                     f"{100 * (native['perplexity'] / theirs['perplexity'] - 1):+.3f}%", f"{native['kl']:.7f}", f"{theirs['kl']:.7f}",
                     f"{native['kl'] / theirs['kl']:.3f}"])
        note(" | ".join(rows[-1]))
    return table(head, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["types", "compute"])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="what the predictions are compared on")
    parser.add_argument("--imatrix", type=Path, help="a text, not that of --text, to make an importance matrix from")
    parser.add_argument("--types", type=lambda s: s.split(","), default=list(FILE_TYPES))
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--window", type=int, default=384, help="tokens of a window")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--skald", type=Path, default=ROOT / "build/release/bin/skald")
    parser.add_argument("--out", type=Path, help="where the table goes besides the terminal")
    args = parser.parse_args()
    lib.llama_log_set(silent, ctypes.c_void_p(0))
    lib.llama_backend_init()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(args, folder)
        result = {"types": types, "compute": compute}[args.what](args, bench)
    print(result)
    if args.out:
        args.out.write_text(result + "\n")


if __name__ == "__main__":
    main()
