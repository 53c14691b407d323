# SPDX-License-Identifier: MIT
"""Makes tests/data/eviction.json: what the papers' caches keep, or read, of one text, by NumPy.

    python make_eviction_fixture.py [--out FILE]

The text: `prompt` tokens read at once, then one token after another up to `tokens`. `weights` are the attention weights of a random model
with a few tokens that many attend to, for each layer, query head and row, of the positions up to the row's; in units of 1 / `unit`, so that
sums are the same in any order. Query heads h · group … (h + 1) · group - 1 read kv head h; a kv head's weights are their sum. Of tokens that
are worth the same the oldest goes; the papers leave that open.

`cases`: `policy`, its options, and `kept`, the positions that survive the prompt and every token after it // (states, layers, kv_heads)
`quest`: integer `queries` (tokens, heads · dim) and `keys` (tokens, kv_heads · dim), and cases with `pages` // (rows, kv_heads)
"""
import argparse
import json
from fractions import Fraction
from pathlib import Path

import numpy as np

TOKENS, PROMPT, LAYERS, KV_HEADS, GROUP, DIM, UNIT = 40, 28, 3, 2, 2, 8, 4096


def make_weights(random):
    """Causal attention of random queries and keys. // (layers, heads, tokens, tokens)"""
    scores = random.normal(0, 1.5, (LAYERS, KV_HEADS * GROUP, TOKENS, TOKENS))
    scores[..., 0] += 2
    for layer in range(LAYERS):
        for head in range(KV_HEADS * GROUP):
            scores[layer, head, :, random.choice(TOKENS, 4, replace=False)] += 2
    scores -= 0.05 * np.abs(np.arange(TOKENS)[:, None] - np.arange(TOKENS))
    scores[..., np.triu(np.ones((TOKENS, TOKENS), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return np.rint(weights / weights.sum(-1, keepdims=True) * UNIT).astype(int)


def best(worth, count):
    """The places of the `count` greatest, ascending; of equals the later ones."""
    order = np.argsort(worth, kind="stable")
    return np.sort(order[len(order) - min(count, len(order)):])


def streaming_llm(budget, sinks):
    """Xiao et al. 2023: the first tokens and a rolling cache of the last ones."""
    for n in range(PROMPT, TOKENS + 1):
        yield list(range(min(sinks, n))) + list(range(max(sinks, n - (budget - sinks)), n)) if n > budget else list(range(n))


def h2o(weights, budget):
    """Zhang et al. 2023, algorithm 1 and section 5: half of the cache for the tokens of the greatest accumulated attention, half for the
    last ones. // weights: (tokens, tokens)"""
    kept, score, local = np.arange(PROMPT), weights[:PROMPT, :PROMPT].sum(0), budget // 2
    for n in range(PROMPT, TOKENS + 1):
        if n > PROMPT:
            kept, score = np.append(kept, n - 1), np.append(score, 0)
            score = score + weights[n - 1, kept]
        if len(kept) > budget:
            older = best(score[:-local] if local else score, budget - local)
            stay = np.concatenate([older, np.arange(len(kept) - local, len(kept))])
            kept, score = kept[stay], score[stay]
        yield kept.tolist()


def tova(weights, budget):
    """Oren et al. 2024, section 3.3: the tokens that the last one attends to most, by the mean over heads. // (heads, tokens, tokens)"""
    mean, kept = weights.mean(0), np.arange(PROMPT)
    for n in range(PROMPT, TOKENS + 1):
        if n > PROMPT:
            kept = np.append(kept, n - 1)
        if len(kept) > budget:
            kept = kept[best(mean[n - 1, kept], budget)]
        yield kept.tolist()


def snapkv(weights, budget, window, pool):
    """Li et al. 2024, listing 1 with max pooling: what the prompt's last rows attend to, and these. // (tokens, tokens)"""
    before = PROMPT - window
    votes = weights[before:PROMPT, :before].sum(0)
    padded = np.pad(votes.astype(float), pool // 2, constant_values=-np.inf)
    pooled = np.lib.stride_tricks.sliding_window_view(padded, pool).max(-1)
    return best(pooled, budget - window).tolist() + list(range(before, PROMPT))


def pyramid_budget(layer, budget, window, steepness):
    """Cai et al. 2024, section 4.2: an arithmetic sequence around the mean, whose last member is a `steepness`th of it, besides the
    window; rounded down."""
    mean = budget - window
    last = mean // steepness
    first = 2 * mean - last
    return window + int(first - Fraction(first - last, LAYERS - 1) * layer)


def quest(queries, keys, budget, page, first_page):
    """Tang et al. 2024, algorithm 1, for every row: the page it stands in, and those of the greatest bounds, added over the query heads
    of a kv head."""
    for p in range(TOKENS):
        own, row = p // page, []
        for h in range(KV_HEADS):
            whole = keys[:own * page, h].reshape(own, page, DIM)
            least, greatest = whole.min(1), whole.max(1)
            q = queries[p, h * GROUP:(h + 1) * GROUP, None]
            bounds = np.maximum(q * least, q * greatest).sum((0, 2)).astype(float)
            if first_page and own > 0:
                bounds[0] = np.inf
            row.append(best(bounds, budget // page - 1).tolist() + [own])
        yield row


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "data" / "eviction.json")
    out = arguments.parse_args().out
    random = np.random.default_rng(2024)
    weights = make_weights(random)
    of_head = weights.reshape(LAYERS, KV_HEADS, GROUP, TOKENS, TOKENS).sum(2)
    heads = [(layer, h) for layer in range(LAYERS) for h in range(KV_HEADS)]

    def states(kept_of):
        """kept_of(layer, kv head), a list of states each, as (states, layers, kv_heads)."""
        each = {at: list(kept_of(*at)) for at in heads}
        return [[[each[layer, h][i] for h in range(KV_HEADS)] for layer in range(LAYERS)] for i in range(len(each[0, 0]))]

    cases = [{"policy": "sinks", "budget": b, "sinks": s, "kept": states(lambda *_: streaming_llm(b, s))} for b, s in ((12, 4), (9, 0))]
    cases += [{"policy": "h2o", "budget": b, "kept": states(lambda layer, h: h2o(of_head[layer, h], b))} for b in (12, 9, 1)]
    cases += [{"policy": "tova", "budget": b, "kept": states(lambda layer, _: tova(weights[layer], b))} for b in (12, 5)]
    for b, w, k in ((12, 4, 3), (16, 8, 7), (6, 4, 1)):
        kept = states(lambda layer, h: [snapkv(of_head[layer, h], b, w, k)])
        cases.append({"policy": "snapkv", "budget": b, "window": w, "pool": k, "kept": kept})
    for b, w, k, s in ((12, 4, 3, 4), (15, 4, 5, 20)):
        kept = states(lambda layer, h: [snapkv(of_head[layer, h], pyramid_budget(layer, b, w, s), w, k)])
        cases.append({"policy": "pyramid", "budget": b, "window": w, "pool": k, "steepness": s, "kept": kept})

    queries = random.integers(-3, 4, (TOKENS, KV_HEADS * GROUP, DIM))
    keys = random.integers(-3, 4, (TOKENS, KV_HEADS, DIM))
    chosen = [{"budget": b, "page": p, "first_page": f, "pages": list(quest(queries, keys, b, p, f))}
              for b, p, f in ((16, 4, True), (16, 4, False), (9, 3, True), (5, 1, False))]
    fixture = {"prompt": PROMPT, "tokens": TOKENS, "layers": LAYERS, "kv_heads": KV_HEADS, "group": GROUP, "unit": UNIT,
               "weights": [[[weights[layer, h, p, :p + 1].tolist() for p in range(TOKENS)] for h in range(KV_HEADS * GROUP)]
                           for layer in range(LAYERS)],
               "cases": cases,
               "quest": {"dim": DIM, "queries": queries.reshape(TOKENS, -1).tolist(), "keys": keys.reshape(TOKENS, -1).tolist(),
                         "cases": chosen}}
    out.write_text(json.dumps(fixture, separators=(",", ":")).replace("],[[", "],\n[[") + "\n")
    print(out, out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
