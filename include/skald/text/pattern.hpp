// SPDX-License-Identifier: MIT
#pragma once
// Regular expressions over texts: what tokenizer.json files divide and rewrite texts by. Backtracking, with Oniguruma's choice of
// match; once a text needs much of it, what failed is remembered, so that no text takes more than linear time.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <skald/core/error.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/text/detail/pattern_program.hpp>

namespace skald::text {

/// A compiled regular expression. Cheap to move; const members may be called from several threads.
class pattern {
public:
    /// Throws errc::unsupported for constructs that are not known, errc::bad_file for what is no regular expression, with the offset.
    explicit pattern(std::string_view text, std::string_view place = "pattern")
        : program_(detail::pattern_compiler::compile(text, place)), text_(text) {}

    /// The pattern that matches these characters.
    static pattern literal(std::string_view characters, std::string_view place = "pattern") {
        std::string escaped;
        for (const char c : characters) {
            if (std::string_view("\\^$.|?*+()[]{}").find(c) != std::string_view::npos) escaped += '\\';
            escaped += c;
        }
        return pattern(escaped, place);
    }

    std::string_view text() const noexcept { return text_; }

    /// Whether both match the same by the same steps; how they are written does not matter.
    friend bool operator==(const pattern& a, const pattern& b) { return a.program_ == b.program_; }

private:
    friend class pattern_matcher;

    detail::pattern_program program_;
    std::string text_;
};

/// Bytes [begin, end) of a text.
struct text_range {
    std::size_t begin, end;
};

/// Finds a pattern's matches in texts, one text after another; keeps its scratch memory.
class pattern_matcher {
public:
    explicit pattern_matcher(const pattern& p) noexcept : pattern_(&p), program_(&p.program_) {}

    /// Turns to a text, which must live while matches are asked for.
    void reset(std::string_view text) noexcept {
        text_ = text;
        next_ = 0;
        last_end_ = none;
        remembers_ = false;
        steps_ = 0;
    }

    /// The next match that does not overlap the last one, leftmost first; an empty one not right after another. False: no more.
    /// Throws errc::unsupported where possessive groups take a text more than linear time.
    bool next(text_range& found) {
        for (; next_ <= text_.size(); next_ += next_ < text_.size() ? detail::code_unit_at(text_, next_).length : 1) {
            std::size_t end = 0;
            if (!match_at(next_, end) || (end == next_ && last_end_ == end)) continue;
            found = {next_, end};
            next_ = last_end_ = end;
            return true;
        }
        return false;
    }

private:
    using instruction = detail::pattern_instruction;
    using op = detail::pattern_op;

    static constexpr std::size_t none = static_cast<std::size_t>(-1);
    static constexpr std::size_t steps_before_memory = 24;  // a unit of text; usual patterns take below ten

    enum class outcome { no, yes, too_long };

    /// Where to go on after a failure. A loop's gives back one unit at a time, down to `low`.
    struct choice {
        std::uint32_t pc;
        bool loop;
        std::size_t at, low, path;
    };
    enum class known { no, yes, unknown };  // whether a place leads to an accept

    /// With memory each slot is visited once at each place, but for what groups that keep their first match visit again.
    std::size_t most_steps() const noexcept { return (remembers_ ? 4 * program_->slots + 64 : steps_before_memory) * (text_.size() + 64); }

    bool match_at(std::size_t start, std::size_t& end) {
        outcome o = run(0, start, end, false);
        if (o == outcome::too_long && !remembers_) {
            remembers_ = true;
            steps_ = 0;
            failed_.assign((text_.size() + 1) * program_->slots, false);
            succeeded_.assign(failed_.size(), false);
            choices_.clear();
            path_.clear();
            o = run(0, start, end, false);
        }
        if (o == outcome::too_long)
            fail(errc::unsupported, "text", "the regular expression ", io::detail::in_quotes(pattern_->text()), " takes too long on it");
        return o == outcome::yes;
    }

    /// Runs from `pc` at `at` until an accept, where `end` is set. In a `look` it is known of some places that they accept.
    outcome run(std::uint32_t pc, std::size_t at, std::size_t& end, bool in_look) {
        const std::size_t base = choices_.size(), path_base = path_.size();
        const auto leave = [&](outcome o) {
            choices_.resize(base);
            path_.resize(path_base);
            return o;
        };
        for (;;) {
            bool failed = false;
            const instruction& i = program_->code[pc];
            switch (i.op) {
                case op::set:
                    failed = !take(i, at);
                    ++pc;
                    break;
                case op::jump: pc = i.target; break;
                case op::assert_:
                    failed = !holds(i.assertion, at);
                    ++pc;
                    break;
                case op::split:
                    if (remembers_) {
                        const known k = visit(i, at, in_look);
                        if (k == known::yes) return succeed(base, path_base);
                        if (k == known::no) {
                            failed = true;
                            break;
                        }
                    }
                    choices_.push_back({i.target, false, at, 0, path_.size()});
                    ++pc;
                    break;
                case op::loop:
                    if (remembers_ && i.most == detail::pattern_node::unbounded) {
                        const known k = loop_remembering(i, pc, at, in_look);
                        if (k == known::yes) return succeed(base, path_base);
                        failed = k == known::no;
                    } else {
                        failed = !loop(i, pc, at);
                    }
                    ++pc;
                    break;
                case op::look:
                case op::atomic: {
                    std::size_t from = at, inner_end = at;
                    bool there = true;
                    for (std::uint32_t n = 0; n < i.behind && there; ++n) {
                        there = from > 0;
                        if (there) from = detail::unit_before(text_, from);
                    }
                    const outcome o = there ? run(pc + 1, from, inner_end, i.op == op::look) : outcome::no;
                    if (o == outcome::too_long) return leave(o);
                    failed = (o == outcome::yes) == i.negative;
                    if (i.op == op::atomic) at = inner_end;
                    pc = i.target;
                    break;
                }
                case op::accept:
                    if (in_look)
                        remember_success(path_base);
                    else
                        forget_failures(path_base);
                    end = at;
                    return leave(outcome::yes);
            }
            if (!failed) continue;
            if (choices_.size() == base) return leave(outcome::no);
            if (++steps_ > most_steps()) return leave(outcome::too_long);
            choice& c = choices_.back();
            pc = c.pc;
            at = c.at;
            if (remembers_) path_.resize(c.path);
            if (!c.loop || c.at == c.low)
                choices_.pop_back();
            else
                c.at = detail::unit_before(text_, c.at);
        }
    }

    bool take(const instruction& i, std::size_t& at) const noexcept {
        if (at >= text_.size()) return false;
        const detail::code_unit u = detail::code_unit_at(text_, at);
        if (!program_->sets[i.set].contains(u.code)) return false;
        at += u.length;
        return true;
    }

    /// Takes all it can, and notes that it may give back.
    bool loop(const instruction& i, std::uint32_t pc, std::size_t& at) {
        std::size_t low = at;
        std::uint32_t count = 0;
        for (; count < i.most && take(i, at); ++count)
            if (count < i.least) low = at;
        steps_ += count;
        if (count < i.least) return false;
        if (!i.possessive && low < at) choices_.push_back({pc + 1, true, detail::unit_before(text_, at), low, path_.size()});
        return true;
    }

    /// As loop(), for loops without end, of which `least` is 0 or 1: a visit for each unit, so that no run of units is taken twice.
    known loop_remembering(const instruction& i, std::uint32_t pc, std::size_t& at, bool in_look) {
        if (i.least > 0 && !take(i, at)) return known::no;
        for (;;) {
            if (const known k = visit(i, at, in_look); k != known::unknown) return k;
            const std::size_t before = at;
            if (!take(i, at)) return known::unknown;
            if (!i.possessive) choices_.push_back({pc + 1, false, before, 0, path_.size()});
        }
    }

    /// What is known of a split or loop at a place. An unknown one is held to fail from now on, unless it turns out to lie on the
    /// way to an accept. It is known in a look only that a place accepts: elsewhere each accept ends the search.
    known visit(const instruction& i, std::size_t at, bool in_look) {
        const std::size_t where = at * program_->slots + i.slot;
        if (in_look && succeeded_[where]) return known::yes;
        if (failed_[where]) return known::no;
        ++steps_;
        failed_[where] = true;
        path_.push_back(where);
        return known::unknown;
    }

    /// Leaves a look from a place known to accept.
    outcome succeed(std::size_t base, std::size_t path_base) {
        remember_success(path_base);
        choices_.resize(base);
        path_.resize(path_base);
        return outcome::yes;
    }

    bool is_word_at(std::size_t at) const noexcept {
        return (detail::properties_of(detail::code_unit_at(text_, at).code) & detail::is_word) != 0;
    }

    bool holds(detail::assertion_kind kind, std::size_t at) const noexcept {
        using detail::assertion_kind;
        const bool first = at == 0, last = at == text_.size();
        switch (kind) {
            case assertion_kind::text_start: return first;
            case assertion_kind::text_end: return last;
            case assertion_kind::last_line_end: return last || (at + 1 == text_.size() && text_[at] == '\n');
            case assertion_kind::line_start: return first || (text_[at - 1] == '\n' && !last);
            case assertion_kind::line_end: return last || text_[at] == '\n';
            default: break;
        }
        const bool before = !first && is_word_at(detail::unit_before(text_, at)), after = !last && is_word_at(at);
        return (before != after) == (kind == assertion_kind::word_border);
    }

    void forget_failures(std::size_t from) {
        for (std::size_t i = from; i < path_.size(); ++i) failed_[path_[i]] = false;
    }
    void remember_success(std::size_t from) {
        forget_failures(from);
        for (std::size_t i = from; i < path_.size(); ++i) succeeded_[path_[i]] = true;
    }

    const pattern* pattern_;
    const detail::pattern_program* program_;
    std::string_view text_;
    std::size_t next_ = 0, last_end_ = none, steps_ = 0;
    bool remembers_ = false;
    std::vector<choice> choices_;
    std::vector<std::size_t> path_;         // while remembering, the visits on the way here
    std::vector<bool> failed_, succeeded_;  // of a place and a slot: no way to an accept; one to the accept of a look
};

}  // namespace skald::text
