"""The extraction peer: what Whence's extraction is measured against, with transformers on the CPU in f32, or on CUDA.

    python extract_transformers.py --mode MODE --model DIR --work FILE --layer N --out rows.safetensors [--threads 2]
        [--device cuda --dtype bf16 --batch-tokens 16384]

Modes:

- forward: the plain forward pass. FILE is a JSON list of token id lists, all of one length; they go through every layer
  as one batch after another of at most --batch-tokens tokens. No output projection and no final norm. Rows are the means of the
  residual stream over all tokens.
- paper: pair vectors by the procedure that the paper describes, written from its description. FILE has one pair per
  line. For each response: render, tokenise, run the whole language model on that one text (logits included, the prompt
  computed again for the second response), keep the hidden states of all layers, take the mean of one layer over the
  response's tokens. Rows are chosen minus rejected.
- careful: the same vectors as a careful user would compute them: no layer after the one asked for, no logits, no
  key-value cache, sequences sorted by length into padded batches, and no attention mask, so that
  scaled_dot_product_attention takes its fast causal path (padding comes after every real token and is never pooled).

All modes run in inference mode, and warm up on one text that is not counted. The clock covers reading FILE, rendering,
tokenising, the forward passes, pooling and writing the rows; it does not cover loading the model. Response tokens are
found as Whence defines them: the tokens that carry the last assistant message's content. `paper` reads hidden_states[N],
which for the last layer would be normed: it must be asked for an earlier one.

Prints one line of JSON: seconds, processor seconds, versions, threads.
"""

import argparse
import json
import platform
import time

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import processors
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

MARKER = "\ue000\ue001\ue002"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def response_span(tokenizer, conversation, text):
    """Where the last message's content stands in `text`, in characters."""
    marked = tokenizer.apply_chat_template([*conversation[:-1], {**conversation[-1], "content": MARKER}], tokenize=False)
    before, after = marked.split(MARKER)
    return len(before), len(text) - len(after)


def encode(tokenizer, conversation):
    """Token ids and [start, end) of the response tokens of a conversation."""
    text = tokenizer.apply_chat_template(conversation, tokenize=False)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    start, end = response_span(tokenizer, conversation, text)
    inside = [i for i, (a, b) in enumerate(encoded["offset_mapping"]) if a < end and b > start]
    return encoded["input_ids"], inside[0], inside[-1] + 1


def conversations(path):
    with open(path, encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    return [pair["prompt"] + pair[side] for pair in pairs for side in ("chosen", "rejected")]


def load(kind, args):
    dtype = DTYPES[args.dtype]
    return kind.from_pretrained(args.model, dtype=dtype, attn_implementation="sdpa").eval().to(args.device)


def body(args, layer):
    """The model cut off after `layer`, un-normed: its output is the residual stream there."""
    model = load(AutoModel, args)
    model.layers = model.layers[:layer]
    model.norm = torch.nn.Identity()
    return model


def forward(args):
    model = body(args, args.layer)

    def run(sequences):
        n = max(1, args.batch_tokens // len(sequences[0]))
        batches = [torch.tensor(sequences[i : i + n]).to(args.device) for i in range(0, len(sequences), n)]
        states = (model(input_ids=batch, use_cache=False).last_hidden_state for batch in batches)
        return torch.cat([x.mean(1, dtype=torch.float32).cpu() for x in states])

    run([[0] * 64])

    def work():
        with open(args.work, encoding="utf-8") as file:
            return run(json.load(file))

    return work


def paper(args):
    tokenizer = whole_offsets(AutoTokenizer.from_pretrained(args.model))
    model = load(AutoModelForCausalLM, args)
    assert args.layer < model.config.num_hidden_layers, "the last of transformers' hidden states is normed"

    def mean(ids, start, end):
        out = model(input_ids=torch.tensor([ids]).to(args.device), output_hidden_states=True)
        return out.hidden_states[args.layer][0, start:end].mean(0, dtype=torch.float32).cpu()

    mean([0] * 64, 0, 64)

    def work():
        means = torch.stack([mean(*encode(tokenizer, conversation)) for conversation in conversations(args.work)])
        return means[0::2] - means[1::2]

    return work


def careful(args):
    tokenizer = whole_offsets(AutoTokenizer.from_pretrained(args.model))
    model = body(args, args.layer)

    def batches(sequences):
        """Indices of sequences, longest first, in batches of at most --batch-tokens padded tokens."""
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i][0]))
        while order:
            n = max(1, args.batch_tokens // len(sequences[order[0]][0]))
            yield order[:n]
            order = order[n:]

    def means_of(batch):
        length = max(len(ids) for ids, _, _ in batch)
        input_ids = torch.zeros((len(batch), length), dtype=torch.long)
        weights = torch.zeros((len(batch), 1, length))
        for row, (ids, start, end) in enumerate(batch):
            input_ids[row, : len(ids)] = torch.tensor(ids)
            weights[row, 0, start:end] = 1.0 / (end - start)
        states = model(input_ids=input_ids.to(args.device), use_cache=False).last_hidden_state
        return torch.bmm(weights.to(args.device), states.float())[:, 0].cpu()

    means_of([([0] * 64, 0, 64)])

    def work():
        sequences = [encode(tokenizer, conversation) for conversation in conversations(args.work)]
        means = torch.empty(len(sequences), model.config.hidden_size)
        for indices in batches(sequences):
            means[indices] = means_of([sequences[i] for i in indices])
        return means[0::2] - means[1::2]

    return work


def whole_offsets(tokenizer):
    if isinstance(tokenizer.backend_tokenizer.post_processor, processors.ByteLevel):
        # Else the offsets of a token of nothing but white space are empty, and it would count as no part of a response.
        tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", required=True, choices=["forward", "paper", "careful"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--layer", required=True, type=int)
    parser.add_argument("--out", required=True)
    parser.add_argument("--threads", type=int, default=0, help="0 leaves torch's default")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="f32", choices=list(DTYPES))
    parser.add_argument("--batch-tokens", type=int, default=4096, help="most tokens in a filled-up batch")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    work = {"forward": forward, "paper": paper, "careful": careful}[args.mode](args)
    start, cpu_start = time.perf_counter(), time.process_time()
    rows = work()
    save_file({"rows": rows.contiguous()}, args.out)
    secs, cpu_secs = time.perf_counter() - start, time.process_time() - cpu_start
    print(json.dumps({
        "secs": secs, "cpu_secs": cpu_secs, "threads": torch.get_num_threads(),
        "versions": f"python {platform.python_version()}, torch {torch.__version__}, "
                    f"transformers {transformers.__version__}",
    }), flush=True)


if __name__ == "__main__":
    main()
