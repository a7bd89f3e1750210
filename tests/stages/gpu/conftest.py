"""Processes with a GPU that is a part of their memory."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny import ROOT
from torch.utils.cpp_extension import include_paths, library_paths

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def gpu(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of the environment: what gives a process the stand-in."""
    if torch.backends.cuda.is_built():
        pytest.skip("torch is built for GPUs; the stand-in is for one that is not")
    if sys.platform != "linux" or shutil.which("g++") is None:
        pytest.skip("no g++ on a Linux to build the stand-in for a GPU with")
    library = tmp_path_factory.mktemp("gpu") / "stand_in.so"
    where = [f"-I{folder}" for folder in include_paths()]
    for folder in library_paths():
        where += [f"-L{folder}", f"-Wl,-rpath,{folder}"]
    command = ["g++", "-std=c++20", "-shared", "-fPIC", str(HERE / "stand_in.cpp"), *where]
    libraries = ["-ltorch", "-ltorch_cpu", "-lc10", "-o", str(library)]
    subprocess.run([*command, *libraries], check=True)
    path = f"{HERE / 'everywhere'}{os.pathsep}{ROOT}"
    return {"PYTHONPATH": path, "GLOW_STAND_IN": str(library)}
