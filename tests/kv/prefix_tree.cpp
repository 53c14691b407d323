// SPDX-License-Identifier: MIT
// The tree of prefixes against a map of token vectors.
#include <map>
#include <optional>
#include <random>
#include <vector>

#include <skald/core/memory.hpp>
#include <skald/kv/prefix_tree.hpp>

#include "support/catch.hpp"
#include "support/code_of.hpp"

using namespace skald;

namespace {

using tokens = std::vector<token_id>;

/// Every known beginning with its block and when it was last used; nothing but look-ups of whole vectors.
class naive_tree {
public:
    explicit naive_tree(std::size_t block) : block_(block) {}

    struct entry {
        std::uint32_t block;
        std::size_t used;
    };
    std::map<tokens, entry> entries;

    std::vector<std::uint32_t> match(const tokens& text) const {
        std::vector<std::uint32_t> out;
        for (std::size_t n = block_; n <= text.size(); n += block_) {
            const auto at = entries.find(first(text, n));
            if (at == entries.end()) break;
            out.push_back(at->second.block);
        }
        return out;
    }
    void touch(const tokens& text) {
        ++now_;
        for (std::size_t n = block_; n <= text.size(); n += block_) entries.at(first(text, n)).used = now_;
    }
    bool is_leaf(const tokens& text) const {
        for (const auto& [other, unused] : entries)
            if (other.size() == text.size() + block_ && first(other, text.size()) == text) return false;
        return true;
    }
    /// The blocks in the order in which leaves are used least recently.
    std::vector<std::uint32_t> order() const {
        std::vector<std::uint32_t> out;
        for (naive_tree rest = *this; !rest.entries.empty();) {
            std::optional<tokens> oldest;
            for (const auto& [text, e] : rest.entries)
                if (rest.is_leaf(text) && (!oldest || e.used < rest.entries.at(*oldest).used)) oldest = text;
            out.push_back(rest.entries.at(*oldest).block);
            rest.entries.erase(*oldest);
        }
        return out;
    }
    static tokens first(const tokens& text, std::size_t n) { return {text.begin(), text.begin() + static_cast<std::ptrdiff_t>(n)}; }

private:
    std::size_t block_;
    std::size_t now_ = 0;
};

/// The blocks of a match from the first to the last.
std::vector<std::uint32_t> path_of(const kv::prefix_tree& tree, const kv::prefix_match& match) {
    std::vector<std::uint32_t> out(match.blocks);
    std::uint32_t at = match.last;
    for (std::size_t i = match.blocks; i-- > 0; at = tree.parent(at)) out[i] = at;
    CHECK(at == kv::prefix_tree::none);
    return out;
}

std::vector<std::uint32_t> order_of(const kv::prefix_tree& tree) {
    std::vector<std::uint32_t> out;
    for (std::uint32_t n = tree.oldest(); n != kv::prefix_tree::none; n = tree.newer(n)) out.push_back(n);
    return out;
}

}  // namespace

TEST_CASE("a prefix tree agrees with a map of token vectors", "[kv]") {
    const auto seed = Catch::rngSeed();
    CAPTURE(seed);
    std::mt19937 random(static_cast<std::mt19937::result_type>(seed));
    const auto pick = [&](std::size_t n) { return std::uniform_int_distribution<std::size_t>(0, n - 1)(random); };
    for (const std::size_t block : {1, 2, 5}) {
        constexpr std::size_t blocks = 37;
        CAPTURE(block);
        kv::prefix_tree tree(blocks, block, std::pmr::new_delete_resource());
        naive_tree naive(block);
        std::vector<std::uint32_t> unused;
        for (std::uint32_t b = 0; b < blocks; ++b) unused.push_back(b);
        const auto erase = [&](std::uint32_t leaf) {
            tree.erase(leaf);
            std::erase_if(naive.entries, [&](const auto& e) { return e.second.block == leaf; });
            unused.push_back(leaf);
        };

        for (int i = 0; i < 4000; ++i) {
            tokens text(pick(6 * block + 1));
            for (token_id& t : text) t = static_cast<token_id>(pick(block == 1 ? 4 : 2));
            const kv::prefix_match known = tree.match(text);
            REQUIRE(path_of(tree, known) == naive.match(text));
            const std::size_t operation = pick(20);
            if (operation < 10) {
                const std::size_t added = std::min(text.size() / block - known.blocks, unused.size());
                std::shuffle(unused.begin(), unused.end(), random);
                const std::vector<std::uint32_t> chosen(unused.end() - static_cast<std::ptrdiff_t>(added), unused.end());
                unused.resize(unused.size() - added);
                text.resize((known.blocks + added) * block);
                tree.extend(known.last, std::span(text).subspan(known.blocks * block), chosen);
                for (std::size_t k = 0; k < added; ++k)
                    naive.entries[naive_tree::first(text, (known.blocks + k + 1) * block)] = {chosen[k], 0};
                naive.touch(text);
            } else if (operation < 14) {
                text.resize(known.blocks * block);
                tree.touch(known.last);
                naive.touch(text);
            } else if (operation < 19) {
                if (tree.oldest() != kv::prefix_tree::none) erase(tree.oldest());
                if (known.blocks != 0 && tree.contains(known.last) && tree.is_leaf(known.last)) erase(known.last);
            } else if (pick(40) == 0) {
                tree.clear();
                for (const auto& [unused_text, e] : naive.entries) unused.push_back(e.block);
                naive.entries.clear();
            }
            REQUIRE(tree.size() == naive.entries.size());
            REQUIRE(order_of(tree) == naive.order());
            for (const auto& [known_text, e] : naive.entries) {
                REQUIRE(tree.contains(e.block));
                REQUIRE(tree.is_leaf(e.block) == naive.is_leaf(known_text));
            }
            for (const std::uint32_t b : unused) REQUIRE_FALSE(tree.contains(b));
        }
    }
}

TEST_CASE("a prefix tree takes all its memory at once and says how much", "[kv]") {
    counting_resource memory;
    for (const std::size_t blocks : {0, 1, 37, 64}) {
        kv::prefix_tree tree(blocks, 3, &memory);
        CHECK(tree.bytes() == memory.bytes());
        CHECK(kv::prefix_tree::bytes(blocks, 3) == memory.bytes());
        const std::size_t before = memory.allocations();
        tokens text;
        std::vector<std::uint32_t> all;
        for (std::uint32_t b = 0; b < blocks; ++b) {
            text.insert(text.end(), 3, 7);
            all.push_back(b);
        }
        CHECK(tree.match(text).blocks == 0);
        tree.extend(kv::prefix_tree::none, text, all);
        CHECK(tree.match(text).blocks == blocks);
        CHECK(tree.size() == blocks);
        CHECK(memory.allocations() == before);
    }
    CHECK(memory.bytes() == 0);
    using test::code_of;
    CHECK(code_of([&] { kv::prefix_tree(4, 0, &memory); }) == errc::invalid_argument);
    CHECK(code_of([&] { (void)kv::prefix_tree::bytes(std::size_t{1} << 32, 1); }) == errc::invalid_argument);
    CHECK(code_of([&] { (void)kv::prefix_tree::bytes(1 << 20, std::size_t{1} << 60); }) == errc::bad_file);
    CHECK(memory.bytes() == 0);
}
