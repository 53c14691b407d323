// SPDX-License-Identifier: MIT
#pragma once
// The objects "normalizer", "pre_tokenizer", "post_processor" and "decoder" of a tokenizer.json file as steps. What is not known is
// refused with its key and type: a step left out would give other tokens without a word.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/json_file.hpp>
#include <skald/text/detail/base64.hpp>
#include <skald/text/published_division.hpp>
#include <skald/text/tokenizer_steps.hpp>

namespace skald::text::detail {

class json_steps {
public:
    /// Reads the steps of the whole file; their special tokens are checked by whoever knows the vocabulary.
    explicit json_steps(const io::json_object& file) : file_(file) {
        const auto each = [&](std::string_view key, auto read) {
            if (const auto object = file.object(key)) read(*object, 0);
        };
        each("normalizer", [&](const io::json_object& o, std::size_t depth) { read_normalizer(o, depth); });
        each("pre_tokenizer", [&](const io::json_object& o, std::size_t depth) { read_pre_tokenizer(o, depth); });
        each("post_processor", [&](const io::json_object& o, std::size_t depth) { read_post_processor(o, depth); });
        each("decoder", [&](const io::json_object& o, std::size_t depth) { read_decoder(o, depth); });
        if (!file.contains("decoder")) decode_.emplace_back(join_decoder{});
        if (!steps.pre.steps.empty() && std::holds_alternative<byte_alphabet_step>(steps.pre.steps.back())) steps.pre.steps.pop_back();
        steps.decode = decoder(std::move(decode_));
    }

    tokenizer_steps steps;
    bool byte_level = false;  ///< words are bytes in the byte alphabet

private:
    static constexpr std::size_t most_steps = 100;  // each costs a pass and a frame of the stack

    [[noreturn]] static void refuse(const io::json_object& o, std::string_view type) {
        fail(errc::unsupported, o.file(), o.where("type"), " is ", io::detail::in_quotes(type), ", which is not supported");
    }

    /// Calls `read` for each object of the array `key` of a Sequence.
    template <class Read>
    static void in_sequence(const io::json_object& o, std::string_view key, std::size_t depth, Read read) {
        const nlohmann::json* all = o.array(key);
        if (all == nullptr) o.missing(key);
        if (all->size() > most_steps) fail(errc::unsupported, o.file(), o.where(key), " has ", all->size(), " steps; at most 100 are read");
        if (depth > 4) fail(errc::unsupported, o.file(), o.where(key), " is a sequence in sequences; at most four of them are read");
        for (std::size_t i = 0; i < all->size(); ++i)
            read(io::json_object((*all)[i], o.file(), concat(path_of(o, key), "[", i, "]")), depth + 1);
    }

    /// The path of a key, out of the words that json_object names it with in messages.
    static std::string path_of(const io::json_object& o, std::string_view key) {
        const std::string where = o.where(key);
        return where.substr(where.find('\'') + 1, where.rfind('\'') - where.find('\'') - 1);
    }

    static std::string type_of(const io::json_object& o) { return o.require<std::string>("type"); }

    /// The object {"String": …} or {"Regex": …} under `pattern`.
    static pattern pattern_of(const io::json_object& o) {
        const auto object = o.object("pattern");
        if (!object) o.missing("pattern");
        const std::string place = concat(o.file(), ": ", o.where("pattern"));
        if (const auto text = object->get<std::string>("String")) return pattern::literal(*text, place);
        return pattern(object->require<std::string>("Regex"), place);
    }

    void read_normalizer(const io::json_object& o, std::size_t depth) {
        const std::string type = type_of(o);
        auto& out = steps.normalize.steps;
        if (type == "Sequence")
            in_sequence(o, "normalizers", depth, [&](const io::json_object& part, std::size_t d) { read_normalizer(part, d); });
        else if (type == "Prepend")
            out.emplace_back(prepend_step{o.require<std::string>("prepend")});
        else if (type == "Replace")
            out.emplace_back(replace_step{pattern_of(o), o.require<std::string>("content")});
        else if (type == "Strip")
            out.emplace_back(strip_step{o.get<bool>("strip_left").value_or(true), o.get<bool>("strip_right").value_or(true)});
        else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD")
            out.emplace_back(unicode_form_step{form_of(type)});
        else if (type == "Lowercase")
            out.emplace_back(lowercase_step{});
        else if (type == "StripAccents")
            out.emplace_back(strip_accents_step{});
        else if (type == "BertNormalizer")
            read_bert_normalizer(o);
        else if (type == "Precompiled")
            out.emplace_back(precompiled_step{charsmap_of(o)});
        else if (type == "ByteLevel") {
            byte_level = true;
            steps.pre.steps.emplace_back(byte_alphabet_step{});
        } else
            refuse(o, type);
        if (out.size() > most_steps) fail(errc::unsupported, o.file(), "the normalizer has more than 100 steps");
    }

    static normal_form form_of(std::string_view name) noexcept {
        const bool composed = name.ends_with('C');
        return name[2] == 'K' ? (composed ? normal_form::nfkc : normal_form::nfkd) : (composed ? normal_form::nfc : normal_form::nfd);
    }

    void read_bert_normalizer(const io::json_object& o) {
        bert_step step;
        step.clean_text = o.get<bool>("clean_text").value_or(true);
        step.chinese_chars = o.get<bool>("handle_chinese_chars").value_or(true);
        step.lowercase = o.get<bool>("lowercase").value_or(true);
        step.strip_accents = o.get<bool>("strip_accents").value_or(step.lowercase);
        steps.normalize.steps.emplace_back(step);
    }

    static charsmap charsmap_of(const io::json_object& o) {
        std::optional<std::string> bytes = from_base64(o.get<std::string>("precompiled_charsmap").value_or(""));
        if (!bytes) o.refuse("precompiled_charsmap", "bytes in base64");
        return charsmap(std::move(*bytes), o.file());
    }

    static split_behavior behavior_of(const io::json_object& o) {
        const std::string name = o.get<std::string>("behavior").value_or("Isolated");
        constexpr std::pair<std::string_view, split_behavior> names[] = {{"Isolated", split_behavior::isolated},
                                                                         {"Removed", split_behavior::removed},
                                                                         {"MergedWithPrevious", split_behavior::merged_with_previous},
                                                                         {"MergedWithNext", split_behavior::merged_with_next},
                                                                         {"Contiguous", split_behavior::contiguous}};
        for (const auto& [known, behavior] : names)
            if (known == name) return behavior;
        o.refuse("behavior", "Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
    }

    void read_pre_tokenizer(const io::json_object& o, std::size_t depth) {
        const std::string type = type_of(o);
        auto& out = steps.pre.steps;
        if (type == "Sequence") {
            in_sequence(o, "pretokenizers", depth, [&](const io::json_object& part, std::size_t d) { read_pre_tokenizer(part, d); });
        } else if (type == "ByteLevel") {
            byte_level = true;
            if (o.get<bool>("add_prefix_space").value_or(true)) out.emplace_back(prefix_space_step{});
            if (o.get<bool>("use_regex").value_or(true)) out.emplace_back(split_step{pattern(published::gpt2)});
            out.emplace_back(byte_alphabet_step{});
        } else if (type == "Split") {
            out.emplace_back(split_step{pattern_of(o), behavior_of(o), o.get<bool>("invert").value_or(false)});
        } else if (type == "Metaspace") {
            read_metaspace(o);
        } else if (type == "Digits") {
            const bool each = o.get<bool>("individual_digits").value_or(false);
            out.emplace_back(split_step{pattern(published::digit), each ? split_behavior::isolated : split_behavior::contiguous});
        } else if (type == "Punctuation") {
            out.emplace_back(split_step{pattern("\\p{Signs}"), behavior_of(o)});
        } else if (type == "Whitespace") {  // here, the joiners U+200C and U+200D belong to words
            out.emplace_back(split_step{pattern("[\\w\\u200C\\u200D]+|[^\\w\\s\\u200C\\u200D]+"), split_behavior::removed, true});
        } else if (type == "WhitespaceSplit") {
            out.emplace_back(split_step{pattern("\\s"), split_behavior::removed});
        } else if (type == "BertPreTokenizer") {
            out.emplace_back(split_step{pattern("\\s"), split_behavior::removed});
            out.emplace_back(split_step{pattern("\\p{Signs}")});
        } else if (type == "CharDelimiterSplit") {
            out.emplace_back(split_step{pattern::literal(o.require<std::string>("delimiter")), split_behavior::removed});
        } else if (type == "FixedLength") {
            const auto length = o.get<std::uint32_t>("length").value_or(5);
            if (length == 0) o.refuse("length", "a positive number");
            out.emplace_back(chunk_step{length});
        } else {
            refuse(o, type);
        }
        if (out.size() > most_steps) fail(errc::unsupported, o.file(), "the pre-tokenizer has more than 100 steps");
    }

    /// Where marks are put before texts: `prepend_scheme`, or, in old files, `add_prefix_space`.
    static space_mark_step::where scheme_of(const io::json_object& o) {
        using where = space_mark_step::where;
        const auto scheme = o.get<std::string>("prepend_scheme");
        if (!scheme) return o.get<bool>("add_prefix_space").value_or(true) ? where::always : where::never;
        if (*scheme == "always") return where::always;
        if (*scheme == "first") return where::first;
        if (*scheme == "never") return where::never;
        o.refuse("prepend_scheme", "always, first or never");
    }

    void read_metaspace(const io::json_object& o) {
        const std::string mark = o.get<std::string>("replacement").value_or("\u2581");
        steps.pre.steps.emplace_back(space_mark_step{mark, scheme_of(o)});
        if (o.get<bool>("split").value_or(true))
            steps.pre.steps.emplace_back(split_step{pattern::literal(mark), split_behavior::merged_with_next});
    }

    void read_post_processor(const io::json_object& o, std::size_t depth) {
        const std::string type = type_of(o);
        if (type == "Sequence")
            in_sequence(o, "processors", depth, [&](const io::json_object& part, std::size_t d) { read_post_processor(part, d); });
        else if (type == "TemplateProcessing")
            read_template(o);
        else if (type == "BertProcessing" || type == "RobertaProcessing")
            enclose({pair_id(o, "cls")}, {pair_id(o, "sep")});
        else if (type != "ByteLevel")
            refuse(o, type);
    }

    void enclose(const std::vector<token_id>& before, const std::vector<token_id>& after) {
        steps.before.insert(steps.before.begin(), before.begin(), before.end());
        steps.after.insert(steps.after.end(), after.begin(), after.end());
    }

    /// The id of ["[SEP]", 102].
    static token_id pair_id(const io::json_object& o, std::string_view key) {
        const nlohmann::json* pair = o.array(key);
        if (pair == nullptr) o.missing(key);
        const auto id = pair->size() == 2 ? io::value_as<token_id>((*pair)[1]) : std::nullopt;
        if (!id) o.refuse(key, "a token and its id");
        return *id;
    }

    void read_template(const io::json_object& o) {
        const nlohmann::json* parts = o.array("single");
        if (parts == nullptr) o.missing("single");
        const auto special = o.object("special_tokens");
        std::vector<token_id> before, after;
        bool met = false;
        for (std::size_t i = 0; i < parts->size(); ++i) {
            const io::json_object part((*parts)[i], o.file(), concat("post_processor.single[", i, "]"));
            if (part.contains("Sequence")) {
                if (met) fail(errc::unsupported, o.file(), part.where("Sequence"), ": the text stands twice in the template");
                met = true;
                continue;
            }
            const auto token = part.object("SpecialToken");
            if (!token) part.missing("SpecialToken");
            const auto name = token->require<std::string>("id");
            const auto entry = special ? special->object(name) : std::nullopt;
            if (!entry) token->refuse("id", "one of special_tokens");
            for (const token_id id : entry->values<token_id>("ids")) (met ? after : before).push_back(id);
        }
        if (!met) fail(errc::bad_file, o.file(), o.where("single"), " has no place for the text");
        enclose(before, after);
    }

    void read_decoder(const io::json_object& o, std::size_t depth) {
        const std::string type = type_of(o);
        if (type == "Sequence")
            in_sequence(o, "decoders", depth, [&](const io::json_object& part, std::size_t d) { read_decoder(part, d); });
        else if (type == "ByteLevel")
            decode_.emplace_back(byte_alphabet_decoder{});
        else if (type == "Metaspace")
            decode_.emplace_back(
                space_mark_decoder{o.get<std::string>("replacement").value_or("\u2581"), scheme_of(o) != space_mark_step::where::never});
        else if (type == "ByteFallback")
            decode_.emplace_back(byte_token_decoder{});
        else if (type == "Fuse")
            decode_.emplace_back(fuse_decoder{});
        else if (type == "Strip")
            decode_.emplace_back(strip_decoder{o.get<std::string>("content").value_or(" "), o.get<std::uint32_t>("start").value_or(0),
                                               o.get<std::uint32_t>("stop").value_or(0)});
        else if (type == "Replace")
            decode_.emplace_back(replace_step{pattern_of(o), o.require<std::string>("content")});
        else if (type == "WordPiece")
            decode_.emplace_back(word_decoder{o.get<std::string>("prefix").value_or("##"), o.get<bool>("cleanup").value_or(true)});
        else if (type == "BPEDecoder")
            decode_.emplace_back(suffix_decoder{o.get<std::string>("suffix").value_or("</w>")});
        else
            refuse(o, type);
    }

    io::json_object file_;
    std::vector<decoder_step> decode_;
};

}  // namespace skald::text::detail
