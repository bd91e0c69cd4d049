"""A small language model of some dialogues, for trying discovery on real text where no pretrained model is at hand.

    python small_lm.py --data FILE.jsonl.gz --out DIR [--seconds 600] [--width 256]

FILE has `chosen` and `rejected` on every line, as Human/Assistant text. Trains a tokenizer (byte-level BPE, 4,096 tokens) and an
OLMo 2 of four layers on both sides of all dialogues, for so many seconds on two threads, and writes a checkpoint that
`whence extract --model DIR` reads. It has read nothing else: its vectors know the words of these dialogues, no more.
"""

import argparse
import gzip
import json
import math
import random
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Olmo2Config, Olmo2ForCausalLM, PreTrainedTokenizerFast

END = "<|endoftext|>"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ ('\n\nHuman: ' if m['role'] == 'user' else '\n\nAssistant: ') + m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\n\nAssistant:' }}{% endif %}"
)
BATCH, LENGTH, RATE = 16, 256, 2e-3


def tokenizer_of(texts):
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=4096, special_tokens=[END], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def model_of(width):
    heads = width // 32
    config = Olmo2Config(
        vocab_size=4096, hidden_size=width, intermediate_size=width * 8 // 3 // 16 * 16, num_hidden_layers=4,
        num_attention_heads=heads, num_key_value_heads=heads, max_position_embeddings=1024,
        bos_token_id=0, eos_token_id=0, pad_token_id=0, tie_word_embeddings=False,
    )
    return Olmo2ForCausalLM(config)


def train(model, ids, seconds):
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)
    start, step, mean = time.time(), 0, None
    while (share := (time.time() - start) / seconds) < 1:
        rate = RATE * min(1, (step + 1) / 50) * (0.475 * (1 + math.cos(math.pi * share)) + 0.05)
        for group in optimizer.param_groups:
            group["lr"] = rate
        first = torch.randint(0, len(ids) - LENGTH - 1, (BATCH,))
        rows = torch.stack([ids[i : i + LENGTH] for i in first])
        loss = model(input_ids=rows, labels=rows).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 50 == 0:
            print(f"step {step}, {time.time() - start:.0f} s, loss {mean:.3f}", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--out", required=True)
    arguments.add_argument("--seconds", type=float, default=600)
    arguments.add_argument("--width", type=int, default=256)
    options = arguments.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(2)
    with gzip.open(options.data, "rt", encoding="utf-8") as lines:
        texts = [row[side] for row in map(json.loads, lines) for side in ("chosen", "rejected")]
    random.Random(1).shuffle(texts)
    tokenizer = tokenizer_of(texts)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END)
    fast.chat_template = TEMPLATE
    fast.save_pretrained(options.out)
    ids = torch.tensor([token for text in texts for token in [0, *tokenizer.encode(text).ids]])
    model = model_of(options.width)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(ids):,} tokens")
    train(model, ids, options.seconds)
    model.save_pretrained(options.out)


if __name__ == "__main__":
    main()
