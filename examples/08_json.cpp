// SPDX-License-Identifier: MIT
// Answers that a program can read: JSON that satisfies a schema.
//
//     08_json model.gguf
#include <exception>
#include <iostream>
#include <string_view>

#include <skald/grammar/json_schema.hpp>
#include <skald/skald.hpp>

int main(int argc, char** argv) try {
    namespace sk = skald;
    if (argc < 2) return std::cerr << "usage: 08_json MODEL\n", 2;

    sk::thread_pool pool;
    const auto model = sk::load_model<sk::cpu<>>(argv[1], {.pool = &pool});

    const auto recipe = sk::grammar::from_json_schema(R"({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 40},
            "minutes": {"type": "integer", "minimum": 1, "maximum": 600},
            "ingredients": {"type": "array", "items": {"type": "string", "maxLength": 30}, "minItems": 2, "maxItems": 8},
            "difficulty": {"enum": ["easy", "medium", "hard"]}
        },
        "required": ["name", "minutes", "ingredients", "difficulty"]
    })");

    // The grammar stands first: it needs all candidates to find those that go on with it.
    sk::pipeline cook{model, sk::kv::paged<sk::kv::f16>{{.tokens = 1024}},
                      sk::sampling::chain{sk::sampling::grammar_constraint{recipe, model.tokenizer()}, sk::sampling::greedy{}}};

    for (std::string_view piece : cook.chat("A recipe for pancakes, as JSON.", {.max_tokens = 300})) std::cout << piece << std::flush;
    std::cout << '\n';
    return 0;
} catch (const std::exception& e) {
    std::cerr << e.what() << '\n';
    return 1;
}
