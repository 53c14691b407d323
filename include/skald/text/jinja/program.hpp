// SPDX-License-Identifier: MIT
#pragma once
// Chat templates: the part of Jinja2 that published ones are written in, run as transformers runs them (immutable sandbox, trim_blocks,
// lstrip_blocks, loop controls, tojson without HTML escapes), with limits on steps, memory and depth. A template reaches nothing but
// the values it is given. What it writes itself and what it was given stay apart in the result.
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <skald/core/once.hpp>
#include <skald/text/jinja/data.hpp>
#include <skald/text/jinja/limits.hpp>
#include <skald/text/jinja/marked_text.hpp>

namespace skald::text::jinja {

struct tree;

/// A variable of a template. Only what the host itself vouches for is trusted: bos_token, say, but no message.
struct variable {
    std::string name;
    data value;
    bool trusted = false;
};

struct render_options {
    jinja::limits limits{};
    calendar_time now{};  ///< what strftime_now shows; see local_now()
};

/// A template, parsed. Immutable; its const members may be called from several threads.
class program {
public:
    static constexpr std::size_t longest = std::size_t{1} << 18;  ///< bytes of a template's source

    /// Parses a template; `name` stands in messages. Throws errc::bad_file for one that jinja2 would not compile, is too long or nests
    /// too deep, errc::unsupported for {% include %} and its kind.
    static program parse(std::string_view source, std::string_view name);

    const std::string& name() const noexcept { return name_; }

    /// The text that the template makes of the variables. Throws errc::invalid_argument with the template's own message where it calls
    /// raise_exception or cannot go on with what it was given, errc::bad_file where it exceeds the limits.
    marked_text render(const std::vector<variable>& variables, const render_options& options = {}) const;

private:
    program(std::string_view name, std::shared_ptr<const tree> tree) : name_(name), tree_(std::move(tree)) {}

    std::string name_;
    std::shared_ptr<const tree> tree_;
};

}  // namespace skald::text::jinja

#if SKALD_DEFINES
#include <skald/text/jinja/program_impl.hpp>
#endif
