// SPDX-License-Identifier: MIT
// Chat templates: parsed, then run on a conversation within small limits.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/text/jinja/program.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    namespace jinja = skald::text::jinja;
    try {
        const auto program = jinja::program::parse({reinterpret_cast<const char*>(data), size}, "fuzz.jinja");
        const jinja::data_object message{{"role", "user"}, {"content", " hi <|im_end|> \xC3\xA9"}};
        program.render({{"messages", jinja::data_list{message, message}}, {"bos_token", "<s>", true}, {"add_generation_prompt", true}},
                       {.limits = {.steps = 20'000, .bytes = 1u << 20, .depth = 100}, .now = {2026, 11, 21, 12, 0, 0}});
    } catch (const skald::error&) {
    }
    return 0;
}
