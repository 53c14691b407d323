# SPDX-License-Identifier: MIT
"""The virtual environment that the other engines run in. Each is installed for itself, and one that cannot be is left out."""
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent

CONVERSION = ["numpy==2.4.6", "gguf==0.19.0", "transformers==5.5.4", "torch==2.15.0", "accelerate==1.15.0", "sentencepiece==0.2.3"]
PACKAGES = {  # the modules to ask for, and what gives them
    "skald": ([], []),
    "llama.cpp": (["llama_cpp", "numpy"], ["llama-cpp-python==0.3.36", "numpy==2.4.6"]),
    "openvino": (["openvino_genai", "optimum.intel", "nncf"],
                 ["openvino==2026.4.1", "openvino-genai==2026.4.1.0", "openvino-tokenizers==2026.4.1.0", "optimum-intel==2.2.0",
                  "nncf==3.4.0", *CONVERSION]),
    "ctranslate2": (["ctranslate2", "transformers", "torch"], ["ctranslate2==4.8.5", *CONVERSION]),
    "transformers": (["transformers", "torch", "accelerate", "gguf"], CONVERSION),
    "plot": (["matplotlib"], ["matplotlib==3.11.2"]),
}


def note(text):
    print(text, file=sys.stderr, flush=True)


def build_settings():
    """llama.cpp is compiled for this processor."""
    env = dict(os.environ, CMAKE_BUILD_PARALLEL_LEVEL=str(os.cpu_count() or 1))
    env["CMAKE_ARGS"] = f"{env.get('CMAKE_ARGS', '')} -DGGML_NATIVE=ON".strip()
    for flags in ("CFLAGS", "CXXFLAGS"):
        env[flags] = f"{env.get(flags, '')} -include {HERE / 'gcc_ldtilecfg.h'}".strip()
    return env


class Environment:
    def __init__(self, folder):
        self.folder = folder
        self.python = folder / "bin/python"

    def has(self, name):
        """Whether the modules are there; they are looked up, not loaded."""
        modules = PACKAGES[name][0]
        if not modules:
            return True
        look = f"import importlib.util as u, sys; sys.exit(any(u.find_spec(m) is None for m in {modules}))"
        return self.python.exists() and subprocess.run([self.python, "-c", look], capture_output=True).returncode == 0

    def install(self, name):
        """Installs what is not there. Returns None, or why it could not be."""
        if self.has(name):
            return None
        if not self.python.exists():
            venv.create(self.folder, with_pip=True)
        note(f"installing {name} in {self.folder}; this may take some minutes")
        command = [self.python, "-m", "pip", "install", "-q", "--no-binary", "llama-cpp-python", *PACKAGES[name][1]]
        done = subprocess.run(command, env=build_settings(), capture_output=True, text=True)
        return None if done.returncode == 0 else "cannot be installed: " + done.stderr.strip()[-200:]
