"""The peer of `cargo xtask bench index`: the best rows of a layer by cosine, with NumPy and with FAISS.

Reads the same vector files, normalises the rows in f32, and times one query at a time: a matrix-vector product with
NumPy's BLAS and a partial sort, then FAISS's exact flat index (IndexFlatIP). Loading counts for neither.
Prints one line of JSON.
"""

import argparse
import glob
import json
import os
import time

parser = argparse.ArgumentParser()
parser.add_argument("--layer", required=True, help="folder of vector files")
parser.add_argument("--queries", required=True, help="safetensors file with tensor queries [n, d]")
parser.add_argument("-k", type=int, default=100)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--repeats", type=int, default=5)
args = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = str(args.threads)

import faiss  # noqa: E402
import numpy as np  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

faiss.omp_set_num_threads(args.threads)
files = sorted(glob.glob(os.path.join(args.layer, "*.safetensors")))
queries = load_file(args.queries)["queries"].astype(np.float32)
queries /= np.linalg.norm(queries, axis=1, keepdims=True)


def shards():
    for file in files:
        rows = load_file(file)["vectors"].astype(np.float32)
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        yield rows / np.where(norms == 0, 1, norms)


def median_of(search):
    top, secs = [], []
    for query in queries:
        best = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            rows = search(query)
            best.append(time.perf_counter() - start)
        top.append([int(row) for row in rows])
        secs.append(sorted(best)[len(best) // 2])
    return top, float(np.mean(secs))


index = faiss.IndexFlatIP(queries.shape[1])
for rows in shards():
    index.add(rows)
faiss_top, faiss_secs = median_of(lambda query: index.search(query[None], args.k)[1][0])
rows = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)


def by_numpy(query):
    scores = rows @ query
    top = np.argpartition(-scores, min(args.k, len(scores) - 1))[: args.k]
    return top[np.lexsort((top, -scores[top]))]


_, numpy_secs = median_of(by_numpy)
print(
    json.dumps(
        {
            "faiss_secs": faiss_secs,
            "numpy_secs": numpy_secs,
            "top": faiss_top,
            "versions": f"faiss {faiss.__version__}, numpy {np.__version__}, {args.threads} threads",
        }
    )
)
