"""Compares `whence map` with umap-learn and scikit-learn: how far maps of the same rows can be trusted, and whether what
Whence says of its own maps is what scikit-learn says.

Run by hand, with a built whence binary:

    python map_umap.py --whence target/release/whence

Needs numpy, scikit-learn, umap-learn and safetensors. Makes a study of each set of rows in a temporary folder with `whence
import` and `whence convert`, maps it, and prints a table: sklearn.manifold.trustworthiness with 15 neighbours of the unit rows,
for both UMAPs with three seeds (15 neighbours, min_dist 0.1; umap-learn with its default spectral start and with `init="pca"`)
and for both PCAs; and the seconds of the whole command and of umap-learn's `fit_transform` after a first run that compiles it.
Fails when a mean of Whence's trustworthiness is more than 0.02 below that of umap-learn, or a number does not agree.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "2")

import numpy as np  # noqa: E402
import sklearn  # noqa: E402
import umap  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.manifold import trustworthiness  # noqa: E402

SEEDS = (1, 2, 3)
N_NEIGHBORS = 15
TOLERANCE = 0.02


def blobs(n, width, k, spread):
    random = np.random.default_rng(5)
    centres = random.normal(size=(k, width))
    return centres[np.arange(n) % k] + spread * random.normal(size=(n, width))


def decaying(n, width, k):
    """Like activations: variance falls from column to column, in groups that overlap."""
    random = np.random.default_rng(6)
    scale = (1 + np.arange(width)) ** -0.7
    centres = random.normal(size=(k, width)) * scale
    return (centres[random.integers(0, k, n)] + 0.7 * random.normal(size=(n, width)) * scale) @ np.linalg.qr(
        random.normal(size=(width, width))
    )[0]


SETS = {
    "digits, 1797 × 64": lambda: load_digits().data,
    "20 blobs, 3000 × 50": lambda: blobs(3000, 50, 20, 0.6),
    "decaying spectrum, 3000 × 256": lambda: decaying(3000, 256, 12),
}


def study(whence, folder, rows):
    lines = (json.dumps({"id": str(i), "prompt": f"question {i}", "chosen": "yes", "rejected": "no"}) for i in range(len(rows)))
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    np.save(folder / "rows.npy", rows.astype(np.float32))
    where = ["--study", str(folder / "study")]
    run(whence, "import", str(folder / "pairs.jsonl"), *where)
    run(whence, "convert", *where, "--layer", "1", "--vectors", str(folder / "rows.npy"))
    return where


def run(whence, *args):
    return subprocess.run([whence, *args], check=True, capture_output=True, text=True).stdout


def mapped(whence, folder, where, *args):
    start = time.perf_counter()
    said = json.loads(run(whence, "map", *where, "--layer", "1", "--name", "m", "--json", *args))
    secs = time.perf_counter() - start
    return load_file(folder / "study/maps/m.safetensors")["points"], said, secs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--whence", required=True)
    whence = os.path.abspath(parser.parse_args().whence)
    warnings.simplefilter("ignore")
    umap.UMAP(random_state=1).fit_transform(np.random.default_rng(1).normal(size=(200, 5)))
    faults = []
    print("| rows | method | Whence | umap-learn / scikit-learn | umap-learn from PCA | seconds | |")
    print("|---|---|---|---|---|---|---|")
    for name, make in SETS.items():
        rows = make().astype(np.float32)
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        trust = lambda points: trustworthiness(unit, points, n_neighbors=N_NEIGHBORS)  # noqa: B023, E731
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            where = study(whence, folder, rows)
            ours, theirs, theirs_pca, secs, their_secs = [], [], [], [], []
            for seed in SEEDS:
                points, said, took = mapped(whence, folder, where, "--method", "umap", "--seed", str(seed))
                ours.append(trust(points))
                secs.append(took)
                if len(rows) <= 2000 and abs(said["trustworthiness"] - ours[-1]) > 1e-3:
                    faults.append(f"{name}: Whence says {said['trustworthiness']}, scikit-learn {ours[-1]}")
                for found, init in ((theirs, "spectral"), (theirs_pca, "pca")):
                    start = time.perf_counter()
                    points = umap.UMAP(n_neighbors=N_NEIGHBORS, min_dist=0.1, init=init, random_state=seed).fit_transform(unit)
                    if init == "spectral":
                        their_secs.append(time.perf_counter() - start)
                    found.append(trust(points))
            ours, theirs, theirs_pca = map(np.mean, (ours, theirs, theirs_pca))
            print(f"| {name} | UMAP | {ours:.4f} | {theirs:.4f} | {theirs_pca:.4f} | {np.median(secs):.1f} | {np.median(their_secs):.1f} |")
            if ours < max(theirs, theirs_pca) - TOLERANCE:
                faults.append(f"{name}: UMAP {ours:.4f} against {theirs:.4f} and {theirs_pca:.4f}")
            points, said, took = mapped(whence, folder, where, "--method", "pca")
            expected = PCA(2, svd_solver="full").fit(unit)
            their_points = expected.transform(unit)
            print(f"| {name} | PCA | {trust(points):.4f} | {trust(their_points):.4f} | | {took:.1f} | |")
            shares = np.array(said["settings"]["explained"])
            largest = np.abs(their_points).max()
            apart = min(np.abs(points - their_points * sign).max() for sign in ([1, 1], [1, -1], [-1, 1], [-1, -1]))
            if np.abs(shares - expected.explained_variance_ratio_).max() > 1e-5 or apart > 1e-3 * largest:
                faults.append(f"{name}: PCA {shares} against {expected.explained_variance_ratio_}, points {apart} apart")
    print(f"\nscikit-learn {sklearn.__version__}, umap-learn {umap.__version__}, numpy {np.__version__}")
    for fault in faults:
        print("FAULT", fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
