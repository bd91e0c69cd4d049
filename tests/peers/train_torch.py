"""The training peer: what Whence's preference optimization is measured against, in PyTorch on the CPU or on CUDA, in f32.

    python train_torch.py --model DIR --work FILE [--threads 2] [--way plain|trl] [--device cuda]

FILE is JSON: pairs (chosen and rejected, each with ids and response_start), reference (summed log-probabilities of both
sides), steps (rows of every optimizer step), settings (loss_type sigmoid, beta, learning_rate, weight_decay,
max_grad_norm; the learning rate is constant).

- plain: the loop that one writes with transformers: both sides of a step in one batch filled up on the right, attention
  by scaled_dot_product_attention without a mask (padding comes after every real token), logits of all positions, AdamW.
- trl: DPOTrainer with the reference's log-probabilities computed beforehand, rows in the given order.

The clock covers the steps; it does not cover loading the model, nor the first step, which warms up (it is taken again
from the same weights). Prints one line of JSON: seconds, processor seconds, losses, versions, threads.
"""

import argparse
import copy
import json
import tempfile
import time

import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModelForCausalLM


def batch_of(pairs, rows):
    sequences = [pairs[row][side] for side in ("chosen", "rejected") for row in rows]
    longest = max(len(s["ids"]) for s in sequences)
    ids = torch.zeros(len(sequences), longest, dtype=torch.long)
    mask = torch.zeros(len(sequences), longest - 1)
    for i, s in enumerate(sequences):
        n = len(s["ids"])
        ids[i, :n] = torch.tensor(s["ids"])
        mask[i, s["response_start"] - 1 : n - 1] = 1
    return ids, mask


def plain(model, work):
    settings, pairs = work["settings"], work["pairs"]
    reference = {side: torch.tensor(work["reference"][side], device=model.device) for side in ("chosen", "rejected")}
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["learning_rate"], betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=settings["weight_decay"])

    def step(rows):
        ids, mask = (x.to(model.device) for x in batch_of(pairs, rows))
        optimizer.zero_grad()
        logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
        logps = F.log_softmax(logits, dim=-1).gather(2, ids[:, 1:, None])[..., 0]
        sums = (logps * mask).sum(1)
        chosen, rejected = sums.chunk(2)
        h = (chosen - rejected) - (reference["chosen"][rows] - reference["rejected"][rows])
        loss = -F.logsigmoid(settings["beta"] * h).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["max_grad_norm"])
        optimizer.step()
        return loss.item()

    start, state = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    step(work["steps"][0])
    model.load_state_dict(start)
    optimizer.load_state_dict(state)
    clock, processor = time.perf_counter(), time.process_time()
    losses = [step(rows) for rows in work["steps"]]
    return losses, time.perf_counter() - clock, time.process_time() - processor


def with_trl(model, work):
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import PreTrainedTokenizerFast, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    settings, pairs = work["settings"], work["pairs"]
    rows = [row for step in work["steps"] for row in step]
    data = Dataset.from_dict({
        "prompt_ids": [pairs[r]["chosen"]["ids"][: pairs[r]["chosen"]["response_start"]] for r in rows],
        "chosen_ids": [pairs[r]["chosen"]["ids"][pairs[r]["chosen"]["response_start"] :] for r in rows],
        "rejected_ids": [pairs[r]["rejected"]["ids"][pairs[r]["rejected"]["response_start"] :] for r in rows],
        "ref_chosen_logps": [work["reference"]["chosen"][r] for r in rows],
        "ref_rejected_logps": [work["reference"]["rejected"][r] for r in rows],
    })
    clock = {}

    class Clock(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            clock.setdefault("start", (time.perf_counter(), time.process_time()))

        def on_step_end(self, args, state, control, **kwargs):
            clock["end"] = (time.perf_counter(), time.process_time())

    class InOrder(DPOTrainer):
        def _precompute_ref_logps(self, dataset, *args, **kwargs):
            return dataset

        def _prepare_dataset(self, dataset, *args, **kwargs):
            return dataset

        def _get_train_sampler(self, *args, **kwargs):
            return SequentialSampler(self.train_dataset)

    from tokenizers import Tokenizer, models

    vocabulary = {f"t{i}": i for i in range(model.config.vocab_size)}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="t0")),
                                        pad_token="t0", eos_token="t0")
    with tempfile.TemporaryDirectory() as folder:
        args = DPOConfig(
            output_dir=folder, per_device_train_batch_size=len(work["steps"][0]), num_train_epochs=1,
            learning_rate=settings["learning_rate"], lr_scheduler_type="constant", warmup_steps=0, beta=settings["beta"],
            weight_decay=settings["weight_decay"], max_grad_norm=settings["max_grad_norm"], use_cpu=True, bf16=False,
            gradient_checkpointing=False, report_to=[], logging_steps=1, save_strategy="no", max_length=None,
            precompute_ref_log_probs=True, disable_tqdm=True,
        )
        trainer = InOrder(model=model, args=args, train_dataset=data, processing_class=tokenizer, callbacks=[Clock()])
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    secs, cpu_secs = (b - a for a, b in zip(clock["start"], clock["end"]))
    return losses, secs, cpu_secs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--way", choices=["plain", "trl"], default="plain")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for --way plain")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with open(options.work, encoding="utf-8") as file:
        work = json.load(file)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, attn_implementation="sdpa")
    model.train().to(options.device)
    losses, secs, cpu_secs = (plain if options.way == "plain" else with_trl)(model, work)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    if options.way == "trl":
        import trl

        versions += f", trl {trl.__version__}"
    print(json.dumps(dict(secs=secs, cpu_secs=cpu_secs, losses=losses, versions=versions, threads=options.threads)))


if __name__ == "__main__":
    main()
