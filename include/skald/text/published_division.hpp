// SPDX-License-Identifier: MIT
#pragma once
// The pre-tokenizers of published models by the names that GGUF files give them (key tokenizer.ggml.pre): a row each.
#include <array>
#include <string>
#include <string_view>

#include <skald/core/error.hpp>
#include <skald/text/pre_tokenizer.hpp>

namespace skald::text {

/// A pre-tokenizer as patterns, each of which isolates its matches in what the one before left.
struct published_division {
    std::string_view name;
    std::array<std::string_view, 7> patterns{};  ///< empty from the last on
    bool whole_words = false;                    ///< a word that is a token of the vocabulary is not built by merges
    bool add_bos = false;                        ///< default for files that do not say whether texts start with a BOS token
    bool marked_spaces = false;                  ///< tokens are text with U+2581 for spaces, not bytes
};

namespace detail::published {

/// Not a pattern: from here on the text is written in the byte alphabet.
inline constexpr std::string_view bytes = "(bytes)";

inline constexpr std::string_view digit = R"re(\p{Digits})re", three = R"re(\p{N}{1,3})re", newline = R"re([\r\n])re",
                                  lines = R"re([^\n]+|[\n]+)re";
// clang-format off
inline constexpr std::string_view gpt2 = R"re('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re";
inline constexpr std::string_view llama3 = 
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|)re"
    R"re(\s+(?!\S)|\s+)re";
inline constexpr std::string_view qwen2 = R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
inline constexpr std::string_view qwen35 = 
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|)re"
    R"re(\s+(?!\S)|\s+)re";
inline constexpr std::string_view gpt4o = 
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)re"
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)re"
    R"re(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
inline constexpr std::string_view tekken = 
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|)re"
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|)re"
    R"re(\s*[\r\n]+|\s+(?!\S)|\s+)re";
inline constexpr std::string_view youtu = 
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)re"
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)re"
    R"re(\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
inline constexpr std::string_view kimi = 
    R"re([\p{Han}]+|)re"
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|)re"
    R"re('re|'ve|'m|'ll|'d)?|)re"
    R"re([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|)re"
    R"re('re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
inline constexpr std::string_view bailing = R"re('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)re";
inline constexpr std::string_view seed = R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+)re";
inline constexpr std::string_view minicpm5 = 
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|)re"
    R"re(\s+)re";
inline constexpr std::string_view ufakzeka = R"re([^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)re";
inline constexpr std::string_view exaone_moe = 
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}|)re"
    R"re( ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+)re";
inline constexpr std::string_view jais2 = 
    R"re((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|)re"
    R"re(\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|)re"
    R"re(\s{1,2}(?!\S)|\s{1})re";
inline constexpr std::string_view deepseek_v3 = 
    R"re([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|)re"
    R"re(\s*[\r\n]+|\s+(?!\S)|\s+)re";
inline constexpr std::string_view spark = 
    R"re([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|)re"
    R"re(\s+(?!\S)|\s+)re";
inline constexpr std::string_view deepseek_llm_letters = 
    R"re(\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-)re"
    R"re(ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-)re"
    R"re(ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉ)re"
    R"re(ⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀)re"
    R"re(-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+)re";
inline constexpr std::string_view deepseek_llm_signs = R"re(\s?[!-/:-~！-／：-～‘-‟　-。]+)re";
inline constexpr std::string_view cjk = R"re([一-龥ࠀ-一가-퟿]+)re";
inline constexpr std::string_view cjk_and_kana = R"re([一-龥぀-ゟ゠-ヿ]+)re";
inline constexpr std::string_view youtu_scripts = R"re([가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+)re";
inline constexpr std::string_view afmoe_scripts = R"re([一-鿿㐀-䶿豈-﫿぀-ゟ゠-ヿ･-ﾟ⼀-⿟เ-๿຀-໿ក-៿က-႟ꩠ-ꩿꧠ-꧿가-힯ᄀ-ᇿ]+)re";
inline constexpr std::string_view bloom = R"re( ?[^(\s|[.,!?…。，、।۔،])]+)re";
// clang-format on

}  // namespace detail::published

/// The pre-tokenizers this version knows.
inline constexpr auto published_divisions = [] {
    using namespace detail::published;
    return std::array{
        published_division{.name = "default", .patterns = {gpt2}},
        published_division{.name = "gpt-2", .patterns = {gpt2}},
        published_division{.name = "phi-2", .patterns = {gpt2}},
        published_division{.name = "jais", .patterns = {gpt2}},
        published_division{.name = "mpt", .patterns = {gpt2}},
        published_division{.name = "olmo", .patterns = {gpt2}},
        published_division{.name = "jina-es", .patterns = {gpt2}},
        published_division{.name = "jina-de", .patterns = {gpt2}},
        published_division{.name = "jina-v2-es", .patterns = {gpt2}},
        published_division{.name = "jina-v2-de", .patterns = {gpt2}},
        published_division{.name = "jina-v1-en", .patterns = {gpt2}},
        published_division{.name = "jina-v2-code", .patterns = {gpt2}},
        published_division{.name = "roberta-bpe", .patterns = {gpt2}},
        published_division{.name = "gigachat", .patterns = {gpt2}},
        published_division{.name = "a.x-4.0", .patterns = {gpt2}},
        published_division{.name = "mellum", .patterns = {gpt2}},
        published_division{.name = "modern-bert", .patterns = {gpt2}},
        published_division{.name = "exaone4", .patterns = {gpt2}},
        published_division{.name = "trillion", .patterns = {gpt2}},
        published_division{.name = "granite-docling", .patterns = {gpt2}},
        published_division{.name = "smollm", .patterns = {digit, gpt2}},
        published_division{.name = "starcoder", .patterns = {digit, gpt2}},
        published_division{.name = "refact", .patterns = {digit, gpt2}},
        published_division{.name = "codeshell", .patterns = {digit, gpt2}},
        published_division{.name = "command-r", .patterns = {digit, gpt2}},
        published_division{.name = "exaone", .patterns = {digit, gpt2}},
        published_division{.name = "minerva-7b", .patterns = {digit, gpt2}},
        published_division{.name = "mellum2", .patterns = {digit, gpt2}},
        published_division{.name = "llama-bpe", .patterns = {llama3}, .whole_words = true, .add_bos = true},
        published_division{.name = "llama-v3", .patterns = {llama3}, .whole_words = true, .add_bos = true},
        published_division{.name = "llama3", .patterns = {llama3}, .whole_words = true, .add_bos = true},
        published_division{.name = "falcon3", .patterns = {llama3}, .whole_words = true, .add_bos = true},
        published_division{.name = "falcon-h1", .patterns = {llama3}, .whole_words = true, .add_bos = true},
        published_division{.name = "pixtral", .patterns = {llama3}, .whole_words = true, .add_bos = true},
        published_division{.name = "midm-2.0", .patterns = {llama3}, .whole_words = true, .add_bos = true},
        published_division{.name = "lfm2", .patterns = {llama3}, .whole_words = true, .add_bos = true},
        published_division{.name = "jina-v5-nano", .patterns = {llama3}, .whole_words = true, .add_bos = true},
        published_division{.name = "dbrx", .patterns = {llama3}},
        published_division{.name = "smaug-bpe", .patterns = {llama3}},
        published_division{.name = "chatglm-bpe", .patterns = {llama3}},
        published_division{.name = "glm4", .patterns = {llama3}, .whole_words = true},
        published_division{.name = "glm5", .patterns = {llama3}, .whole_words = true},
        published_division{.name = "qwen2", .patterns = {qwen2}},
        published_division{.name = "deepseek-r1-qwen", .patterns = {qwen2}},
        published_division{.name = "kormo", .patterns = {qwen2}},
        published_division{.name = "f2llmv2", .patterns = {qwen2}},
        published_division{.name = "stablelm2", .patterns = {qwen2}},
        published_division{.name = "megrez", .patterns = {qwen2}},
        published_division{.name = "hunyuan", .patterns = {qwen2}},
        published_division{.name = "solar-open", .patterns = {qwen2}},
        published_division{.name = "grok-2", .patterns = {qwen2}},
        published_division{.name = "qwen35", .patterns = {qwen35}},
        published_division{.name = "laguna", .patterns = {lines, qwen2}},
        published_division{.name = "deepseek-coder",
                           .patterns = {newline, std::string_view(R"re(\s?\p{L}+)re"), std::string_view(R"re(\s?\p{P}+)re"), cjk, digit}},
        published_division{.name = "deepseek-llm",
                           .patterns = {newline, deepseek_llm_letters, deepseek_llm_signs, std::string_view(R"re(\s+$)re"), cjk, digit}},
        published_division{.name = "deepseek-v3", .patterns = {three, cjk_and_kana, deepseek_v3}},
        published_division{.name = "hunyuan-dense", .patterns = {three, cjk_and_kana, deepseek_v3}},
        published_division{.name = "joyai-llm", .patterns = {three, cjk_and_kana, deepseek_v3}},
        published_division{.name = "hy_v4", .patterns = {three, cjk_and_kana, deepseek_v3}},
        published_division{.name = "spark2_5", .patterns = {three, cjk_and_kana, spark, std::string_view(R"re(\p{N})re")}},
        published_division{.name = "afmoe",
                           .patterns = {std::string_view(R"re(\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N})))re"), afmoe_scripts, deepseek_v3}},
        published_division{.name = "youtu", .patterns = {youtu_scripts, youtu}, .whole_words = true},
        published_division{.name = "gpt-4o", .patterns = {gpt4o}},
        published_division{.name = "llama4", .patterns = {gpt4o}},
        published_division{.name = "kanana2", .patterns = {gpt4o}},
        published_division{.name = "talkie", .patterns = {gpt4o}},
        published_division{.name = "minimax-m2", .patterns = {gpt4o}},
        published_division{.name = "granite-embed-multi-97m", .patterns = {gpt4o}, .whole_words = true},
        published_division{.name = "tiny_aya", .patterns = {std::string_view(R"re(\d{1,3}(?=(?:\d{3})*\b))re"), gpt4o}},
        published_division{.name = "cohere2moe", .patterns = {std::string_view(R"re(\d{1,3}(?=(?:\d{3})*\b))re"), gpt4o}},
        published_division{.name = "tekken", .patterns = {tekken}, .whole_words = true, .add_bos = true},
        published_division{.name = "kimi-k2", .patterns = {kimi}},
        published_division{.name = "bailingmoe", .patterns = {bailing}},
        published_division{.name = "bailingmoe2", .patterns = {bailing}},
        published_division{.name = "llada-moe", .patterns = {bailing}},
        published_division{.name = "seed-coder", .patterns = {seed}},
        published_division{.name = "minicpm5", .patterns = {three, minicpm5}, .whole_words = true},
        published_division{.name = "ufakzeka", .patterns = {ufakzeka}},
        published_division{.name = "exaone-moe", .patterns = {exaone_moe}},
        published_division{.name = "jais-2", .patterns = {jais2}},
        published_division{.name = "superbpe",
                           .patterns = {std::string_view(R"re(\p{N}+)re"), std::string_view(R"re((?=(\d{3})+(?!\d)))re")}},
        published_division{.name = "bloom", .patterns = {bloom}},
        published_division{.name = "poro-chat", .patterns = {bloom}},
        published_division{.name = "gpt3-finnish", .patterns = {bloom}},
        published_division{.name = "viking", .patterns = {bloom, digit}},
        published_division{.name = "falcon",
                           .patterns = {std::string_view(R"re(\p{Signs}+)re"), gpt2, bytes, std::string_view(R"re(\p{Digits}+)re"),
                                        std::string_view(R"re([0-9][0-9][0-9])re")}},
        published_division{
            .name = "chameleon",
            .patterns = {std::string_view(R"re(<sentinel:[0-9]+>)re"), std::string_view(R"re((IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z)re"),
                         std::string_view(R"re(([\t\n]|    |  ))re"), digit, std::string_view(R"re(\p{Signs})re"), gpt2},
            .add_bos = true},
        published_division{.name = "gemma4", .patterns = {lines}, .marked_spaces = true},
        published_division{.name = "granite-embed-multi-311m", .patterns = {lines}, .marked_spaces = true},
        published_division{.name = "sarvam-moe", .patterns = {lines}, .marked_spaces = true},
    };
}();

/// The row of that name; throws errc::unsupported naming it and, as `place`, its file.
inline const published_division& find_division(std::string_view name, std::string_view place) {
    std::string known;
    for (const published_division& d : published_divisions) {
        if (d.name == name) return d;
        known.append(known.empty() ? "" : ", ").append(d.name);
    }
    fail(errc::unsupported, place, "the pre-tokenizer '", name.substr(0, 64), "' (key 'tokenizer.ggml.pre') is not supported; known are ",
         known);
}

/// The pre-tokenizer of a row.
inline pre_tokenizer make_pre_tokenizer(const published_division& d) {
    pre_tokenizer out{std::string(d.name)};
    for (const std::string_view p : d.patterns) {
        if (p.empty()) break;
        if (p == detail::published::bytes)
            out.steps.emplace_back(byte_alphabet_step{});
        else
            out.steps.emplace_back(split_step{pattern(p, d.name)});
    }
    return out;
}

}  // namespace skald::text
