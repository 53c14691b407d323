# SPDX-License-Identifier: MIT
"""Precompiled character maps of SentencePiece: a double-array trie (the layout of darts-clone) and strings, made from a dict."""


def build_map(rules):
    """The bytes of the map that makes each key of `rules` its value; few short keys."""
    root, strings, units, used = {}, b"", {}, {0}
    for key, value in rules.items():
        node = root
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[None] = value.encode() + b"\0"

    def place(node, position, label):
        nonlocal strings
        labels = [child or 0 for child in node]
        base = next(b for b in range(1, 1 << 21) if all(b ^ child not in used for child in labels))
        used.update(base ^ child for child in labels)
        units[position] = label | (0x100 if None in node else 0) | (position ^ base) << 10
        for child, below in node.items():
            if child is None:
                units[base] = 0x80000000 | len(strings)
                strings += below
            else:
                place(below, base ^ child, child)

    place(root, 0, 0)
    trie = b"".join(units.get(i, 0).to_bytes(4, "little") for i in range(-(-(max(units) + 1) // 256) * 256))
    return len(trie).to_bytes(4, "little") + trie + strings
