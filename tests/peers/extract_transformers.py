"""The extraction peer: pair vectors with transformers on the CPU, in f32, as a careful user would compute them.

    python extract_transformers.py --model DIR --pairs pairs.jsonl --layers 4 --out vectors.safetensors \
        [--batch-tokens 8192] [--threads 2] [--repetitions 1]

Works as well as plain transformers can: only the layers up to the last one asked for, no output projection, no key-value
cache, inference mode, sequences sorted by length into batches of at most --batch-tokens padded tokens, right padding, and
no attention mask, so that scaled_dot_product_attention takes its fast causal path (padding comes after every real token
and is never pooled). One warm-up batch is not counted. The clock covers reading the pairs, rendering, tokenising, the
forward passes, pooling and writing the file.

Each pair's response tokens are found as Whence defines them: the tokens that carry the last assistant message's content.

Prints one line of JSON per repetition: seconds, processor seconds, tokens, versions, threads.
"""

import argparse
import json
import platform
import time

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import processors
from transformers import AutoModel, AutoTokenizer

MARKER = "\ue000\ue001\ue002"


def response_span(tokenizer, conversation, text):
    """Where the last message's content stands in `text`, in characters."""
    marked = tokenizer.apply_chat_template([*conversation[:-1], {**conversation[-1], "content": MARKER}], tokenize=False)
    before, after = marked.split(MARKER)
    return len(before), len(text) - len(after)


def encode(tokenizer, conversations, max_tokens):
    """Token ids and [start, end) of the response tokens of every conversation."""
    texts = tokenizer.apply_chat_template(conversations, tokenize=False)
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    result = []
    for conversation, text, ids, offsets in zip(
        conversations, texts, encoded["input_ids"], encoded["offset_mapping"], strict=True
    ):
        start, end = response_span(tokenizer, conversation, text)
        inside = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
        first, last = inside[0], inside[-1] + 1
        result.append((ids[:max_tokens], first, min(last, max_tokens)))
    return result


def batches(sequences, batch_tokens):
    """Indices of sequences, longest first, in batches of at most `batch_tokens` padded tokens."""
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i][0]))
    while order:
        n = max(1, batch_tokens // len(sequences[order[0]][0]))
        yield order[:n]
        order = order[n:]


class Reader:
    """A model cut off after the deepest layer asked for, whose residuals at `layers` are collected by hooks."""

    def __init__(self, path, layers):
        self.model = AutoModel.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa").eval()
        self.model.layers = self.model.layers[: max(layers)]
        # The stream is read un-normed, so the final norm is not computed either.
        self.model.norm = torch.nn.Identity()
        self.layers = layers
        self.states = {}
        self.model.embed_tokens.register_forward_hook(lambda _m, _i, out: self._keep(0, out))
        for i, layer in enumerate(self.model.layers):
            layer.register_forward_hook(lambda _m, _i, out, at=i + 1: self._keep(at, out))

    def _keep(self, layer, out):
        if layer in self.layers:
            self.states[layer] = out[0] if isinstance(out, tuple) else out

    def means(self, batch):
        """Per layer `[batch_size, d_model]`: mean over each sequence's response tokens."""
        length = max(len(ids) for ids, _, _ in batch)
        input_ids = torch.zeros((len(batch), length), dtype=torch.long)
        weights = torch.zeros((len(batch), 1, length))
        for row, (ids, start, end) in enumerate(batch):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            weights[row, 0, start:end] = 1.0 / (end - start)
        self.model(input_ids=input_ids, use_cache=False)
        return {layer: torch.bmm(weights, self.states[layer])[:, 0] for layer in self.layers}


@torch.inference_mode()
def extract(reader, tokenizer, args):
    with open(args.pairs, encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    conversations = [pair["prompt"] + pair[side] for pair in pairs for side in ("chosen", "rejected")]
    sequences = encode(tokenizer, conversations, args.max_tokens)
    means = {layer: torch.empty(len(sequences), reader.model.config.hidden_size) for layer in reader.layers}
    for indices in batches(sequences, args.batch_tokens):
        for layer, values in reader.means([sequences[i] for i in indices]).items():
            means[layer][indices] = values
    vectors = {f"vectors.{layer}": (mean[0::2] - mean[1::2]).contiguous() for layer, mean in means.items()}
    save_file(vectors, args.out)
    return len(pairs), sum(len(ids) for ids, _, _ in sequences)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--layers", required=True, type=lambda text: [int(layer) for layer in text.split(",")])
    parser.add_argument("--out", required=True)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--max-tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=0, help="0 leaves torch's default")
    parser.add_argument("--repetitions", type=int, default=1)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    if isinstance(tokenizer.backend_tokenizer.post_processor, processors.ByteLevel):
        # Else the offsets of a token of nothing but white space are empty, and it would count as no part of a response.
        tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    reader = Reader(args.model, args.layers)
    with torch.inference_mode():
        reader.means([([0] * 64, 8, 60)] * max(1, args.batch_tokens // 64))
    for _ in range(args.repetitions):
        start, cpu_start = time.perf_counter(), time.process_time()
        n_pairs, n_tokens = extract(reader, tokenizer, args)
        secs, cpu_secs = time.perf_counter() - start, time.process_time() - cpu_start
        print(json.dumps({
            "secs": secs, "cpu_secs": cpu_secs, "n_pairs": n_pairs, "n_tokens": n_tokens, "threads": torch.get_num_threads(),
            "versions": f"python {platform.python_version()}, torch {torch.__version__}, "
                        f"transformers {transformers.__version__}",
        }), flush=True)


if __name__ == "__main__":
    main()
