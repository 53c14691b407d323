# SPDX-License-Identifier: MIT
"""The raw figures of kv.py as Markdown tables and a picture."""
import os
import sys
from pathlib import Path
from statistics import median

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "compare")]

from report import group, processor, spread  # noqa: E402

LLAMA = "llama.cpp "


def base_of(cache, raw):
    """The cache that a cache is compared with: skald's base, or the first that was asked for of llama.cpp's."""
    return raw["llama_base"] if cache.startswith(LLAMA) else raw["base"]


def in_order(raw):
    """The results, caches as they were asked for: rounds measure them in one order and the other."""
    return sorted(raw["results"], key=lambda r: raw["order"].index(r["cache"]))


def only(rows, key):
    """The latest row with that figure, or one that says why there is none."""
    found = [r for r in rows if key in r] or [r for r in rows if "why" in r]
    return found[-1] if found else {}


def table(head, rows):
    lines = [f"| {' | '.join(head)} |", "| --- " + "| ---: " * (len(head) - 1) + "|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def short(why):
    """What an error line says before it advises, in a cell."""
    return why.split("error: ")[-1].split(";")[0].replace("|", "/")[:120]


def quality_table(rows, raw):
    """Memory, perplexity and what was found again, a line a cache."""
    caches = group(rows, "cache")
    needles = group([r for r in rows if r["test"].startswith("needle")], "length")
    has_kl = any("kl" in r for r in rows)
    context = next((r["context"] for r in rows if "context" in r), 0)
    head = ["cache", "bytes a token", f"MB at {context}", "of the base", "perplexity", "of the base's"] + ["divergence"] * has_kl + \
        [f"found at {n}: {', '.join(str(d) for (d,) in group(here, 'depth'))} %" for (n,), here in needles.items()] + \
        [f"log p at {n}" for (n,) in needles]
    lines = []
    for (cache,), own in caches.items():
        base = caches.get((base_of(cache, raw),), [])
        size, base_size = (only([r for r in here if r["test"] == "size"], "bytes_per_token") for here in (own, base))
        value, base_value = (only([r for r in here if r["test"] == "perplexity"], "perplexity") for here in (own, base))
        memory, base_memory = (s.get("context_bytes", s.get("bytes_per_token", 0) * context) for s in (size, base_size))
        cells = [cache, f"{size['bytes_per_token']:.0f}" if "bytes_per_token" in size else "", f"{memory / 1e6:.1f}" if memory else "",
                 f"{memory / base_memory:.2f}" if memory and base_memory else "",
                 f"{value['perplexity']:.4f}" if "perplexity" in value else short(value.get("why", "")),
                 f"{value['perplexity'] / base_value['perplexity']:.4f}" if "perplexity" in value and "perplexity" in base_value else ""]
        if has_kl:
            cells.append(f"{value['kl']:.6f}" if "kl" in value else "")
        here = [group([r for r in own if r.get("length") == n and r["test"].startswith("needle")], "depth") for (n,) in needles]
        for depths in here:
            got = [only(r, "found") for r in depths.values()]
            cells.append(", ".join(f"{g['found']}/{g['trials']}" for g in got if "found" in g))
        for depths in here:
            got = [g["logprob"] for g in (only(r, "logprob") for r in depths.values()) if "logprob" in g]
            cells.append(f"{sum(got) / len(got):.2f}" if got else "")
        lines.append(cells)
    return table(head, lines)


def ratio(ours, base, key):
    """The median over rounds of a figure over the base's of the same round."""
    rounds = {r["round"]: r[key] for r in base if key in r}
    ratios = [r[key] / rounds[r["round"]] for r in ours if key in r and r["round"] in rounds]
    return f" ({median(ratios):.2f})" if ratios else ""


def speed_table(rows, raw):
    """Prompt and decode speed at each depth, a line a cache; in brackets how often the base's."""
    speeds = [r for r in rows if r["test"] == "speed"]
    depths = sorted({r["depth"] for r in speeds if "depth" in r})
    caches = group(speeds, "cache")
    lines = []
    for (cache,), own in caches.items():
        base = caches.get((base_of(cache, raw),), [])
        cells = [cache]
        for key in ("prompt_tok_s", "decode_tok_s"):
            for depth in depths:
                here, there = ([r for r in some if r.get("depth") == depth] for some in (own, base))
                values = [r[key] for r in here if key in r]
                cells.append(f"{median(values):.0f}{ratio(here, there, key)}" if values else "")
        deepest = max((r["depth"] for r in own if "depth" in r), default=0)
        reads = [r["read_gb_s"] / p["read_gb_s"] for r in own for p in raw["probes"]
                 if r.get("depth") == deepest and "read_gb_s" in r and p["round"] == r["round"]]
        cells.append(f"{median(reads):.0%}" if reads else "")
        if not any("depth" in r for r in own):
            cells[1:2] = [short(own[-1].get("why", ""))]
        lines.append(cells)
    return table(["cache"] + [f"prompt {d}" for d in depths] + [f"decode @{d}" for d in depths] + ["of the roof"], lines)


def step_times(rows, test, key="length"):
    """{length: milliseconds of a token}, medians."""
    return {value: median(r["step_ms"] for r in here) for (value,), here in
            sorted(group([r for r in rows if r["test"] == test and "step_ms" in r], key).items())}


def totals(times):
    """Seconds to write as many tokens one by one as each length, by the trapezoids between the lengths that were measured."""
    out, sum_ms, before = {}, 0.0, (0, next(iter(times.values()), 0))
    for length, ms in times.items():
        sum_ms += (length - before[0]) * (ms + before[1]) / 2
        before = (length, ms)
        out[length] = sum_ms / 1e3
    return out


def plain_table(rows):
    cached, alone = step_times(rows, "cached"), step_times(rows, "no-cache")
    total, total_alone = totals(cached), totals(alone)
    lines = [[str(n), f"{cached[n]:.2f}", f"{alone[n]:.2f}", f"{alone[n] / cached[n]:.1f}", f"{total[n]:.2f}", f"{total_alone[n]:.2f}"]
             for n in cached if n in alone]
    return table(["tokens before", "ms a token, cache", "without", "factor", "s for all so far, cache", "without"], lines) if lines else ""


def batch_table(rows):
    groups = sorted(group([r for r in rows if r["test"] == "batch" and "tok_s" in r], "sequences").items())
    if not groups:
        return ""
    one = median(r["tok_s"] for r in groups[0][1])
    lines = [[str(n), spread([r["tok_s"] for r in here]), f"{median(r['tok_s'] for r in here) / one:.2f}",
              f"{median(r['step_ms'] for r in here):.1f}", f"{median(r['step_ms_p95'] for r in here):.1f}"] for (n,), here in groups]
    return table(["sequences", "tok/s, all together", "times the first", "ms a token of each", "95 %"], lines)


def markdown(raw):
    probes = [f"{spread([p['read_gb_s'] for p in rows])} GB/s read by {t} thread{'s' * (t > 1)}"
              for (t,), rows in group(raw["probes"], "threads").items()]
    facts = f"{processor()}, {os.cpu_count()} processors, {raw['date']}; {raw['rounds']} rounds of speed, medians; load at the start " \
            f"{raw['load']:.1f}. Roof: {'; '.join(probes) or 'no probe'}. Text: {raw['text']}. The base is {raw.get('base')}, for " \
            "llama.cpp's caches the first of them."
    out = [facts, *(f"{name} is absent ({why})." for name, why in raw["absent"].items())]
    for (model,), rows in group(in_order(raw), "model").items():
        out.append(f"## {model}")
        out.append(quality_table(rows, raw))
        if any(r["test"] == "speed" for r in rows):
            out += ["Tokens a second of a prompt, and of tokens decoded after it; in brackets times the base.", speed_table(rows, raw)]
        if plain := plain_table(rows):
            out += ["One token more with a cache, and by reading all before it again.", plain]
        if batch := batch_table(rows):
            depth = next(r["depth"] for r in rows if r["test"] == "batch" and "depth" in r)
            out += [f"Sequences decoded together, each after {depth} tokens.", batch]
    return "\n\n".join(part for part in out if part) + "\n"


def looks(caches):
    """{cache: colour, line, marker}: codecs of skald's caches by colour, storages by marker, llama.cpp's dashed."""
    codecs = list(dict.fromkeys(c.split(":")[-1].removeprefix(LLAMA) for c in caches))
    storages = list(dict.fromkeys(c.split(":")[0] for c in caches if not c.startswith(LLAMA)))
    out = {}
    for c in caches:
        llama = c.startswith(LLAMA)
        out[c] = {"color": f"C{codecs.index(c.split(':')[-1].removeprefix(LLAMA)) % 10}", "linestyle": "--" if llama else "-",
                  "marker": "x" if llama else "osD^vP*"[storages.index(c.split(":")[0]) % 7]}
    return out


def draw_memory(ax, rows, raw, look):
    """What a cache's memory buys: its perplexity, or its needles where there is none, as times the base's."""
    for (cache,), own in group(rows, "cache").items():
        base = [r for r in rows if r["cache"] == base_of(cache, raw)]
        size, value = only([r for r in own if r["test"] == "size"], "bytes_per_token"), only(own, "perplexity")
        base_value, context = only(base, "perplexity"), next((r["context"] for r in rows if "context" in r), 0)
        if "perplexity" in value and "perplexity" in base_value and size:
            memory = size.get("context_bytes", size["bytes_per_token"] * context) / max(context, 1)
            ax.plot(memory, value["perplexity"] / base_value["perplexity"], markersize=7, **look[cache] | {"linestyle": "none"})
    ax.set(title="perplexity against memory", xlabel=f"bytes a token, context {context}", ylabel="times the base's perplexity", yscale="log")


def draw_lines(ax, rows, x, y, look, **how):
    for (cache,), own in group([r for r in rows if y in r and x in r], "cache").items():
        points = sorted((at, median(r[y] for r in here)) for (at,), here in group(own, x).items())
        ax.plot([p[0] for p in points], [p[1] for p in points], markersize=5, linewidth=1.2, **look[cache])
    ax.set(**{"xscale": "log", "ylim": (0, None)} | how)


def ticks(ax, values):
    ax.set_xticks(values, [str(v) for v in values])
    ax.minorticks_off()


def picture(raw, path):
    """A row of panels a model: memory, needles, prompt, decode, with and without a cache, batches; those that were measured."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    look = looks(list(dict.fromkeys(r["cache"] for r in in_order(raw))))
    panels = []  # (model, draws)
    for (model,), rows in group(in_order(raw), "model").items():
        tests = {r["test"] for r in rows if "why" not in r}
        speeds, needles = ([r for r in rows if r["test"].startswith(t)] for t in ("speed", "needle"))
        if "perplexity" in tests:
            panels.append((model, lambda ax, rows=rows: draw_memory(ax, rows, raw, look)))
        if any("logprob" in r for r in needles):
            longest = max(r["length"] for r in needles)
            panels.append((model, lambda ax, rows=[r for r in needles if r["length"] == longest], n=longest: draw_lines(
                ax, rows, "depth", "logprob", look, title=f"a number hidden in {n} tokens", xlabel="where, in percent",
                ylabel="log p of the number", xscale="linear", ylim=(None, 0))))
        if any("depth" in r for r in speeds):
            for key, what in (("prompt_tok_s", "prompt"), ("decode_tok_s", "decode")):
                panels.append((model, lambda ax, rows=speeds, key=key, what=what: (
                    draw_lines(ax, rows, "depth", key, look, title=what, xlabel="tokens of context", ylabel="tokens / s"),
                    ticks(ax, sorted({r["depth"] for r in rows if "depth" in r})))))
        if "no-cache" in tests:
            panels.append((model, lambda ax, rows=rows: draw_plain(ax, rows)))
        if "batch" in tests:
            panels.append((model, lambda ax, rows=rows: draw_batch(ax, rows)))
    if not panels:
        return
    columns = min(len(panels), 3)
    lines = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(lines, columns, squeeze=False, figsize=(4.6 * columns, 3.2 * lines), layout="constrained")
    for ax, (model, draw) in zip(axes.flat, panels):
        draw(ax)
        ax.set_title(f"{model}: {ax.get_title()}", fontsize=9)
        ax.grid(alpha=0.25)
    for ax in list(axes.flat)[len(panels):]:
        ax.axis("off")
    handles = [pyplot.Line2D([], [], label=cache, **style) for cache, style in look.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=7)
    figure.savefig(path, dpi=100)


def draw_plain(ax, rows):
    for test, label, color in (("cached", "with a cache", "C0"), ("no-cache", "all read again", "C3")):
        times = step_times(rows, test)
        ax.plot(list(times), list(times.values()), "o-", color=color, label=label, markersize=4)
    ax.set(title="one token more", xlabel="tokens before", ylabel="ms", xscale="log", yscale="log")
    ticks(ax, list(step_times(rows, "cached")))
    ax.legend(fontsize=7)


def draw_batch(ax, rows):
    groups = sorted(group([r for r in rows if r["test"] == "batch" and "tok_s" in r], "sequences").items())
    at = [n for (n,), _ in groups]
    ax.plot(at, [median(r["tok_s"] for r in here) for _, here in groups], "o-", color="C0", markersize=4)
    ax.set(title="sequences together", xlabel="sequences", ylabel="tokens / s, all together", xscale="log")
    ax.yaxis.label.set_color("C0")
    ax.set_ylim(bottom=0)
    ticks(ax, at)
    other = ax.twinx()
    for key, style in (("step_ms", "s-"), ("step_ms_p95", "s:")):
        other.plot(at, [median(r[key] for r in here) for _, here in groups], style, color="C1", markersize=4)
    other.set_ylabel("ms a token of each (dotted: 95 %)", color="C1")
    other.set_ylim(bottom=0)
