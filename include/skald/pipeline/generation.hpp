// SPDX-License-Identifier: MIT
#pragma once
// A running generation: a move-only range of text pieces. The work happens as it is walked, on the walking thread (and the
// model's pool); destroying it early keeps what was yielded.
#include <cstddef>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/pipeline/request.hpp>

namespace skald {

/// Keeps its session alive, so it may outlive its pipeline. A piece is whole UTF-8 code points, valid until the next ++.
template <class Session>
class generation {
public:
    explicit generation(std::shared_ptr<Session> session) noexcept : session_(std::move(session)) {}
    generation(generation&& other) noexcept : session_(std::move(other.session_)), piece_(std::move(other.piece_)) {}
    generation& operator=(generation&& other) noexcept {
        if (this == &other) return *this;
        close();
        session_ = std::move(other.session_);
        piece_ = std::move(other.piece_);
        return *this;
    }
    ~generation() { close(); }

    class iterator {
    public:
        using value_type = std::string_view;
        using difference_type = std::ptrdiff_t;
        using iterator_concept = std::input_iterator_tag;

        iterator() = default;
        explicit iterator(generation& g) : generation_(&g) {}

        std::string_view operator*() const noexcept { return generation_->piece_; }
        iterator& operator++() {
            generation_->advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept { return i.generation_->piece().empty(); }

    private:
        generation* generation_ = nullptr;
    };

    /// Generates up to the first piece. Call it once.
    iterator begin() {
        advance();
        return iterator(*this);
    }
    std::default_sentinel_t end() const noexcept { return {}; }

    /// Generates exactly one token: for those who want tokens, not text. Nothing when the generation has ended.
    std::optional<generated_token> next() {
        piece_.clear();
        if (!session_->step(piece_)) return std::nullopt;
        return session_->tokens().back();
    }

    /// The text of the last piece or token; empty while a code point or a possible stop string is held back.
    std::string_view piece() const noexcept { return piece_; }
    const std::string& text() const noexcept { return session_->text(); }                       ///< all yielded text
    const std::vector<generated_token>& tokens() const noexcept { return session_->tokens(); }  ///< all tokens, the end token included
    const statistics& stats() const noexcept { return session_->stats(); }
    finish_reason finish() const noexcept { return session_->finish(); }

private:
    void advance() {
        piece_.clear();
        while (piece_.empty() && session_->step(piece_)) {
        }
    }
    void close() noexcept {
        if (session_) session_->end();
    }

    std::shared_ptr<Session> session_;
    std::string piece_;
};

}  // namespace skald
