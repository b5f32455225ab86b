"""Kernels from a warm process: seconds from asking for a kernel to the end of its first cell, which imports PyTorch and makes one step of an optimizer.
Run: python benchmarks/warm_kernels.py [--repeats N]

Usual and warm kernels by turns, through nbclient. The first warm kernel waits for the imports and stands on a line of its own.
"""

import argparse
import os
import statistics
import time

import nbclient
import nbformat

from clfnb.runs import provisioner

FIRST = """import pandas, torch
weight = torch.ones(1, requires_grad=True)
optimizer = torch.optim.Adam([weight])
(weight**2).sum().backward()
optimizer.step()"""


def seconds(name):
    "One kernel of a provisioner: until its first cell has ended."
    os.environ["JUPYTER_DEFAULT_PROVISIONER_NAME"] = name
    provisioner.KernelProvisionerFactory.clear_instance()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(FIRST)])
    client, begin = nbclient.NotebookClient(notebook, timeout=300), time.perf_counter()
    with client.setup_kernel():
        client.execute_cell(notebook.cells[0], 0)
        return time.perf_counter() - begin


def main():
    "Print one line a kind."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=8)
    repeats = parser.parse_args().repeats
    print(f"first warm kernel: {seconds(provisioner.PROVISIONER):.2f} s")
    times = {"local-provisioner": [], provisioner.PROVISIONER: []}
    for _ in range(repeats):
        for name, found in times.items():
            found.append(seconds(name))
    for name, found in times.items():
        spread = f"{min(found):.2f}..{max(found):.2f} s, n={len(found)}"
        print(f"{name}: median {statistics.median(found):.2f} s ({spread})")


if __name__ == "__main__":
    main()
