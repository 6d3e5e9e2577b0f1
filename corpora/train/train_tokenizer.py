#!/usr/bin/env python3
"""Train the model's tokenizer: the GPT-NeoX pipeline with a small vocabulary.

Ids: 0 <|endoftext|>, 1 <|padding|>, the 256 byte symbols, the BPE merges, and
last, as in GPT-NeoX, the runs of 24, 23, ... 2 spaces.
"""
import argparse
import pathlib

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

LONGEST_SPACE_RUN = 24


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("texts", type=pathlib.Path, help="folder of training texts (OUT/train of prepare.py)")
    ap.add_argument("out", type=pathlib.Path, help="tokenizer.json to write")
    ap.add_argument("--vocab", type=int, default=8192, help="ids in all (default %(default)s)")
    args = ap.parse_args()

    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    tok.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
    tok.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)

    runs = [" " * n for n in range(LONGEST_SPACE_RUN, 1, -1)]
    trainer = trainers.BpeTrainer(
        vocab_size=args.vocab - len(runs),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(t, special=True, normalized=False)
                        for t in ("<|endoftext|>", "<|padding|>")])
    tok.train([str(p) for p in sorted(args.texts.glob("*.txt"))], trainer)
    tok.add_tokens([AddedToken(run, special=False, normalized=True) for run in runs])

    assert tok.get_vocab_size() == args.vocab
    assert tok.token_to_id("<|endoftext|>") == 0 and tok.token_to_id("<|padding|>") == 1
    assert tok.token_to_id("  ") == args.vocab - 1
    tok.save(str(args.out))
    print(f"{args.out}: {tok.get_vocab_size()} ids")


if __name__ == "__main__":
    main()
