// SPDX-License-Identifier: MIT
#pragma once
// The tokens that are looked for in a text before it is divided into words: user-defined ones anywhere, control tokens where the text
// is trusted to name them.
#include <cstddef>
#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/buffer.hpp>
#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/detail/code_point_set.hpp>
#include <skald/text/detail/piece_trie.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text {

/// An added token as it is looked for.
struct token_needle {
    added_token token;
    std::string text;
    bool control = false;  ///< only where the text is trusted
};

/// A set of added tokens. Move-only.
class added_tokens {
public:
    static constexpr std::size_t longest = 1024;  ///< bytes of an added token; bounds the work a byte of text can cost

    /// A token found: the bytes it is written as, and with the spaces it takes along.
    struct match {
        token_id id;
        std::size_t begin, end, matched_end;
    };

    added_tokens() noexcept = default;  ///< none

    /// Of equal texts the first counts. Throws errc::bad_file for a text longer than `longest`.
    added_tokens(const std::vector<token_needle>& needles, std::string_view place, std::pmr::memory_resource* memory)
        : rules_(needles.size(), memory) {
        std::vector<detail::trie_key> keys;
        for (std::size_t i = needles.size(); i-- > 0;) {  // a trie keeps the last of equals
            const token_needle& n = needles[i];
            if (n.text.empty()) continue;
            if (n.text.size() > longest)
                fail(errc::bad_file, place, "the special token ", n.token.id, " ", io::detail::in_quotes(n.text), " has ", n.text.size(),
                     " bytes; at most ", longest, " are possible");
            const auto number = static_cast<token_id>(needles.size() - 1 - i);
            rules_[static_cast<std::size_t>(number)] = {n.token, n.control};
            keys.push_back({n.text, number});
        }
        empty_ = keys.empty();
        trie_ = detail::piece_trie(std::move(keys), place, memory);
    }

    bool empty() const noexcept { return empty_; }

    /// The first token at or after `at`, the longest that starts there; `open` is where the text not yet taken starts. Control tokens
    /// count only if `trusted(begin, end)`. False: none.
    template <class Trusted>
    bool find(std::string_view text, std::size_t at, std::size_t open, Trusted trusted, match& out) const {
        if (empty_) return false;
        while (at < text.size()) {
            std::size_t end = 0;
            const rule* best = longest_at(text, at, trusted, end);
            if (best == nullptr) {
                ++at;
                continue;
            }
            if (best->token.single_word && !stands_alone(text, at, end)) {
                at = end;
                continue;
            }
            out = {best->token.id, at, end, end};
            if (best->token.left_strip)
                while (out.begin > open && is_space_at(text, detail::unit_before(text, out.begin)))
                    out.begin = detail::unit_before(text, out.begin);
            if (best->token.right_strip)
                while (out.end < text.size() && is_space_at(text, out.end)) out.end += detail::code_unit_at(text, out.end).length;
            return true;
        }
        return false;
    }

private:
    struct rule {
        added_token token;
        bool control;
    };

    template <class Trusted>
    const rule* longest_at(std::string_view text, std::size_t at, Trusted trusted, std::size_t& end) const {
        const rule* best = nullptr;
        detail::piece_trie::node node = trie_.root;
        for (std::size_t i = at; i < text.size();) {
            node = trie_.step(node, text[i++]);
            if (node == trie_.none) break;
            const token_id number = trie_.id(node);
            if (number < 0) continue;
            const rule& r = rules_[static_cast<std::size_t>(number)];
            if (r.control && !trusted(at, i)) continue;
            best = &r;
            end = i;
        }
        return best;
    }

    static bool is_space_at(std::string_view text, std::size_t at) noexcept {
        return detail::is_space(detail::properties_of(detail::code_unit_at(text, at).code));
    }
    static bool is_word_at(std::string_view text, std::size_t at) noexcept {
        const char32_t code = detail::code_unit_at(text, at).code;
        return detail::is_bracketed_word(detail::properties_of(code)) || code == 0x200C || code == 0x200D;
    }
    static bool stands_alone(std::string_view text, std::size_t begin, std::size_t end) noexcept {
        return (begin == 0 || !is_word_at(text, detail::unit_before(text, begin))) && (end == text.size() || !is_word_at(text, end));
    }

    buffer<rule> rules_;
    detail::piece_trie trie_;
    bool empty_ = true;
};

}  // namespace skald::text
