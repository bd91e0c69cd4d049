"""The peer of `cargo xtask bench cluster`: scipy's Ward linkage, scikit-learn's KMeans and HDBSCAN, on one thread.

Reads rows from a safetensors file (tensor `rows`, f32), clusters them once that is not counted and then `--repeats` times,
and writes labels, or heights of merges, as tensor `result`. The clock covers the call alone; converting f32 to the f64 that
scipy and HDBSCAN want does not count. Prints one line of JSON: the seconds of every repetition, and versions.

- ward: scipy.cluster.hierarchy.linkage(rows, "ward"); result: heights, ascending
- kmeans: KMeans(algorithm="lloyd", tol=0) from the first K rows as centres, `--iterations` iterations; result: inertia
- hdbscan: HDBSCAN by the faster of its algorithms "brute" and "auto", found in the warm-up; result: labels
"""

import argparse
import json
import os
import platform
import time
import warnings

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import scipy  # noqa: E402
import sklearn  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402
from scipy.cluster.hierarchy import linkage  # noqa: E402
from sklearn.cluster import HDBSCAN, KMeans  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--method", required=True, choices=["ward", "kmeans", "hdbscan"])
parser.add_argument("--rows", required=True)
parser.add_argument("--out", required=True)
parser.add_argument("--repeats", type=int, default=3)
parser.add_argument("-k", type=int, default=0)
parser.add_argument("--iterations", type=int, default=0)
parser.add_argument("--min-cluster-size", type=int, default=0)
parser.add_argument("--min-samples", type=int, default=0)
args = parser.parse_args()

rows = load_file(args.rows)["rows"]
wide = rows.astype(np.float64)


def ward():
    return linkage(wide, "ward")[:, 2]


def kmeans():
    model = KMeans(args.k, init=rows[: args.k], n_init=1, max_iter=args.iterations, tol=0, algorithm="lloyd")
    return np.array([model.fit(rows).inertia_])


def hdbscan(algorithm):
    model = HDBSCAN(
        min_cluster_size=args.min_cluster_size, min_samples=args.min_samples, algorithm=algorithm, copy=True
    )
    return model.fit(wide).labels_.astype(np.float64)


def timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


# KMeans warns that it did not converge in so few iterations, which is the point.
warnings.simplefilter("ignore")
if args.method == "hdbscan":
    ways = {name: (lambda name=name: hdbscan(name)) for name in ("brute", "auto")}
    work = ways[min(ways, key=lambda name: timed(ways[name])[0])]
else:
    work = {"ward": ward, "kmeans": kmeans}[args.method]
    work()
runs = [timed(work) for _ in range(args.repeats)]
save_file({"result": np.ascontiguousarray(runs[0][1], dtype=np.float64)}, args.out)
print(json.dumps({
    "secs": [secs for secs, _ in runs],
    "versions": f"python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
                f"scikit-learn {sklearn.__version__}",
}))
