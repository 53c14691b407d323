# SPDX-License-Identifier: MIT
"""The raw figures of compare.py as a Markdown table and a picture."""
import os
import platform
from pathlib import Path
from statistics import median


def processor():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def spread(values):
    digits = 0 if median(values) >= 100 else 1
    return f"{median(values):.{digits}f}" + (f" ({min(values):.{digits}f}–{max(values):.{digits}f})" if len(values) > 1 else "")


def group(rows, *keys):
    """{values of the keys: rows}, in the order they came."""
    out = {}
    for row in rows:
        out.setdefault(tuple(row.get(k) for k in keys), []).append(row)
    return out


def roof_share(row, raw):
    """What a decode test read, or a prompt test multiplied, of what its round's probe reached; None where that is not known."""
    probe = next((p for p in raw["probes"] if p["round"] == row["round"] and p["threads"] == row["threads"]), None)
    facts = raw["models"].get(row["model"])
    if not probe or not facts or "tok_s" not in row:
        return None
    if row["test"].startswith("pp"):
        return 2 * facts["matrix_parameters"] * row["tok_s"] / (probe["int8_gops"] * 1e9)
    if " x" in row["test"]:
        return None  # bound by neither alone
    if row.get("read_gb_s"):
        return row["read_gb_s"] / probe["read_gb_s"]
    if " @" in row["test"]:
        return None  # what a cache has to read is not known
    return (row.get("weight_bytes") or facts["weight_bytes"]) * row["tok_s"] / (probe["read_gb_s"] * 1e9)


def ratio(ours, theirs):
    """skald's figure over the engine's, round by round."""
    rounds = {r["round"]: r["tok_s"] for r in theirs if "tok_s" in r}
    ratios = [r["tok_s"] / rounds[r["round"]] for r in ours if "tok_s" in r and r["round"] in rounds]
    return f"{median(ratios):.2f}" if ratios else ""


def speed_table(raw):
    lines = ["| model | test | threads | engine | tok/s | skald is faster | of the roof |", "| --- | --- | ---: | --- | ---: | ---: | ---: |"]
    speeds = [r for r in raw["results"] if r["test"] != "perplexity"]
    for (model, test, threads), rows in group(speeds, "model", "test", "threads").items():
        engines = group(rows, "engine")
        for engine, found in ((e, engines[(e,)]) for e in raw["engines"] if (e,) in engines):
            rates = [r["tok_s"] for r in found if "tok_s" in r]
            shares = [s for s in (roof_share(r, raw) for r in found) if s is not None]
            cells = [model, test, str(threads), engine, spread(rates) if rates else found[0].get("why", ""),
                     "" if engine == "skald" else ratio(engines.get(("skald",), []), found), f"{median(shares):.0%}" if shares else ""]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def other_table(raw):
    lines = ["| model | engine | load s | peak memory MB | perplexity |", "| --- | --- | ---: | ---: | ---: |"]
    for (model, engine), rows in group(raw["results"], "model", "engine").items():
        loads = [r["load_s"] for r in rows if r.get("load_s")]
        peaks = [r["peak_bytes"] for r in rows if r.get("peak_bytes")]
        told = [r for r in rows if r["test"] == "perplexity"]
        value = (f"{told[0]['value']:.4f}" if "value" in told[0] else told[0]["why"]) if told else ""
        if loads or value:
            cells = [model, engine, f"{median(loads):.2f}" if loads else "", f"{max(peaks) / 1e6:.0f}" if peaks else "", value]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def markdown(raw):
    probes = [f"{t} thread{'s' * (t > 1)}: {spread([p['read_gb_s'] for p in rows])} GB/s read, {spread([p['int8_gops'] for p in rows])} "
              f"Gop/s 8-bit dot products" for (t,), rows in group(raw["probes"], "threads").items()]
    facts = f"{processor()}, {os.cpu_count()} processors, {raw['date']}; {raw['rounds']} rounds, medians (least–greatest); " \
            f"load at the start {raw['load']:.1f}. Roofs, measured each round: {'; '.join(probes) or 'no probe'}."
    out = ["; ".join(f"{name} is absent ({why})" for name, why in raw["absent"].items())]
    return "\n\n".join(part for part in [facts, *out, speed_table(raw), other_table(raw)] if part) + "\n"


def picture(raw, path):
    """Bars of tokens a second: a panel a test and number of threads, in it the engines side by side for each model."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    panels = group([r for r in raw["results"] if "tok_s" in r], "test", "threads")
    if not panels:
        return
    engines = [e for e in raw["engines"] if any(r["engine"] == e for r in raw["results"])]
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    figure, axes = pyplot.subplots(lines, columns, squeeze=False, figsize=(6 * columns, 3 * lines), layout="constrained")
    for ax, ((test, threads), rows) in zip(axes.flat, panels.items()):
        models = list(dict.fromkeys(r["model"] for r in rows))
        width = 0.8 / len(engines)
        for e, engine in enumerate(engines):
            found = group([r for r in rows if r["engine"] == engine], "model")
            for m, model in enumerate(models):
                if values := [r["tok_s"] for r in found.get((model,), [])]:
                    middle = median(values)
                    ax.bar(m + (e - (len(engines) - 1) / 2) * width, middle, width, color=f"C{e}",
                           yerr=[[middle - min(values)], [max(values) - middle]], error_kw={"linewidth": 0.8})
        ax.set_title(f"{test}, {threads} thread{'s' * (threads > 1)}")
        ax.set_xticks(range(len(models)), models, fontsize=8)
        ax.set_ylabel("tokens / s")
    for ax in list(axes.flat)[len(panels):]:
        ax.axis("off")
    figure.legend([pyplot.Rectangle((0, 0), 1, 1, color=f"C{e}") for e in range(len(engines))], engines, loc="outside lower center",
                  ncols=len(engines))
    figure.savefig(path, dpi=120)
