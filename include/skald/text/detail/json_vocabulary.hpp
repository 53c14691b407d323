// SPDX-License-Identifier: MIT
#pragma once
// The objects "model" and "added_tokens" of a tokenizer.json file, and what tokenizer_config.json adds, as a vocabulary_source.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include <skald/core/error.hpp>
#include <skald/core/types.hpp>
#include <skald/io/detail/quote.hpp>
#include <skald/io/json_file.hpp>
#include <skald/text/detail/json_steps.hpp>
#include <skald/text/detail/scored_tokens.hpp>
#include <skald/text/vocabulary.hpp>

namespace skald::text::detail {

/// Reads and checks both files. `source` points into their values and into this object.
class json_vocabulary {
public:
    /// `config` is tokenizer_config.json, or null.
    json_vocabulary(const io::json_object& file, const io::json_object* config) : file_(file), steps_(file) {
        const auto model = file.object("model");
        if (!model) file.missing("model");
        source.place = file_.file();
        source.byte_level = steps_.byte_level;
        read_model(*model);
        read_added();
        if (config != nullptr) read_config_tokens(*config);
        set_kinds();
        read_special_ids(*model, config);
        source.tokens = tokens_;
        source.kinds = kinds_;
        source.in_model = in_model_;
        source.added = added_;
        source.scores = scores_;
        source.merge_pairs = merge_pairs_;
    }
    json_vocabulary(const json_vocabulary&) = delete;

    vocabulary_source source;

    tokenizer_steps& steps() noexcept { return steps_.steps; }

private:
    void read_model(const io::json_object& m) {
        const std::string type = m.get<std::string>("type").value_or(guess_type(m));
        if (type == "Unigram") {
            source.model = model_kind::unigram;
            source.fuse_unknown = true;
            source.byte_fallback = m.get<bool>("byte_fallback").value_or(false);
            read_scored_tokens(m);
            return;
        }
        read_tokens(m);
        if (type == "BPE") {
            read_bpe(m);
        } else if (type == "WordPiece") {
            source.model = model_kind::word_piece;
            source.continuing_prefix = kept(m.get<std::string>("continuing_subword_prefix").value_or("##"));
            source.longest_word = m.get<std::uint32_t>("max_input_chars_per_word").value_or(100);
        } else if (type == "WordLevel") {
            source.model = model_kind::word_level;
        } else {
            fail(errc::unsupported, m.file(), m.where("type"), " is ", io::detail::in_quotes(type),
                 "; known are BPE, Unigram, WordPiece and WordLevel");
        }
    }

    /// Old files do not say of which type their model is.
    static std::string guess_type(const io::json_object& m) {
        if (m.contains("merges")) return "BPE";
        if (m.contains("unk_id")) return "Unigram";
        return m.contains("continuing_subword_prefix") ? "WordPiece" : "WordLevel";
    }

    void read_bpe(const io::json_object& m) {
        source.byte_fallback = m.get<bool>("byte_fallback").value_or(false);
        source.fuse_unknown = m.get<bool>("fuse_unk").value_or(false);
        source.whole_words = m.get<bool>("ignore_merges").value_or(false);
        source.unknown_for_missing = m.contains("unk_token");
        source.continuing_prefix = kept(m.get<std::string>("continuing_subword_prefix").value_or(""));
        source.ending_suffix = kept(m.get<std::string>("end_of_word_suffix").value_or(""));
        const nlohmann::json* merges = m.array("merges");
        if (merges == nullptr) m.missing("merges");
        const bool pairs = !merges->empty() && merges->front().is_array();  // old files have strings with a space between
        merge_pairs_.reserve(merges->size());
        for (const nlohmann::json& merge : *merges) {
            if (pairs && merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
                merge_pairs_.push_back({view(merge[0]), view(merge[1])});
                continue;
            }
            const std::string_view text = !pairs && merge.is_string() ? view(merge) : std::string_view();
            const std::size_t space = text.find(' ');
            if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos)
                fail(errc::bad_file, m.file(), m.where("merges"), ": element ", merge_pairs_.size(), " is ", io::describe(merge), ", not ",
                     pairs ? "an array of two strings" : "two tokens with a space between them");
            merge_pairs_.push_back({text.substr(0, space), text.substr(space + 1)});
        }
    }

    static std::string_view view(const nlohmann::json& v) { return v.get_ref<const std::string&>(); }

    /// A text that lives as long as this object.
    std::string_view kept(std::string text) { return texts_.emplace_back(std::make_unique<std::string>(std::move(text)))->c_str(); }

    /// The place for a token with an id; ids that leave most of a table empty are refused before they cost memory.
    std::size_t place_for(token_id id, std::size_t tokens, std::string_view text, const io::json_object& o, std::string_view key) {
        if (id < 0 || static_cast<std::size_t>(id) > 8 * tokens + 65536)
            fail(errc::bad_file, o.file(), o.where(key), ": token ", io::detail::in_quotes(text), " has the id ", id,
                 ", in a vocabulary of ", tokens, " tokens");
        const auto at = static_cast<std::size_t>(id);
        if (at >= tokens_.size()) {
            tokens_.resize(at + 1);
            in_model_.resize(at + 1, 0);
        }
        return at;
    }

    void put(std::size_t at, std::string_view text, const io::json_object& o, std::string_view key) {
        if (!tokens_[at].empty() && tokens_[at] != text)
            fail(errc::bad_file, o.file(), o.where(key), ": the tokens ", io::detail::in_quotes(tokens_[at]), " and ",
                 io::detail::in_quotes(text), " have the same id ", at);
        tokens_[at] = text;
    }

    void read_tokens(const io::json_object& m) {
        const auto all = m.object("vocab");
        if (!all) m.missing("vocab");
        const std::size_t n = all->value().size();
        tokens_.reserve(n);
        in_model_.reserve(n);
        for (auto at = all->value().begin(); at != all->value().end(); ++at) {
            const auto id = io::value_as<token_id>(at.value());
            if (!id) all->refuse(at.key(), "an id");
            const std::size_t place = place_for(*id, n, at.key(), m, "vocab");
            put(place, at.key(), m, "vocab");
            in_model_[place] = 1;
        }
    }

    void read_scored_tokens(const io::json_object& m) {
        const nlohmann::json* all = m.array("vocab");
        if (all == nullptr) m.missing("vocab");
        for (const nlohmann::json& v : *all) {
            const auto score = v.is_array() && v.size() == 2 && v[0].is_string() ? io::value_as<double>(v[1]) : std::nullopt;
            if (!score)
                fail(errc::bad_file, m.file(), m.where("vocab"), ": element ", tokens_.size(), " is ", io::describe(v),
                     ", not a token and its score");
            tokens_.push_back(view(v[0]));
            scores_.push_back(*score);
        }
        in_model_.assign(tokens_.size(), 1);
    }

    void add(const io::json_object& o, token_id id, std::size_t tokens) {
        const nlohmann::json* content = o.find("content");
        if (content == nullptr || !content->is_string()) o.missing("content");
        const std::size_t at = place_for(id, tokens, view(*content), o, "id");
        put(at, view(*content), o, "id");
        const bool special = o.get<bool>("special").value_or(false);
        added_.push_back({.id = id,
                          .left_strip = o.get<bool>("lstrip").value_or(false),
                          .right_strip = o.get<bool>("rstrip").value_or(false),
                          .single_word = o.get<bool>("single_word").value_or(false),
                          .normalized = o.get<bool>("normalized").value_or(!special)});
        special_.push_back(special);
    }

    void read_added() {
        const nlohmann::json* all = file_.array("added_tokens");
        if (all == nullptr) return;
        const std::size_t most = tokens_.size() + all->size();
        for (std::size_t i = 0; i < all->size(); ++i) {
            const io::json_object o((*all)[i], file_.file(), concat("added_tokens[", i, "]"));
            add(o, o.require<token_id>("id"), most);
        }
    }

    /// The tokens of added_tokens_decoder that tokenizer.json does not have.
    void read_config_tokens(const io::json_object& config) {
        const auto all = config.object("added_tokens_decoder");
        if (!all) return;
        const std::size_t most = tokens_.size() + all->value().size();
        for (auto at = all->value().begin(); at != all->value().end(); ++at) {
            token_id id = -1;
            const auto [end, status] = std::from_chars(at.key().data(), at.key().data() + at.key().size(), id);
            if (status != std::errc{} || end != at.key().data() + at.key().size()) all->refuse(at.key(), "the key of a token: an id");
            const bool known = std::any_of(added_.begin(), added_.end(), [&](const added_token& t) { return t.id == id; });
            if (!known) add(*all->object(at.key()), id, most);
        }
    }

    void set_kinds() {
        kinds_.assign(tokens_.size(), static_cast<std::int32_t>(token_kind::normal));
        for (std::size_t i = 0; source.byte_fallback && i < tokens_.size(); ++i)
            if (byte_of_token(tokens_[i])) kinds_[i] = static_cast<std::int32_t>(token_kind::byte);
        for (std::size_t i = 0; i < added_.size(); ++i)
            kinds_[static_cast<std::size_t>(added_[i].id)] =
                static_cast<std::int32_t>(special_[i] ? token_kind::control : token_kind::user_defined);
        if (!scores_.empty()) scores_.resize(tokens_.size(), 0.0);
    }

    token_id id_of(std::string_view text) const {
        const auto at = std::find(tokens_.begin(), tokens_.end(), text);
        return text.empty() || at == tokens_.end() ? -1 : static_cast<token_id>(at - tokens_.begin());
    }

    /// The token of a key that is a string or an object with `content`; -1 without it.
    token_id named(const io::json_object& o, std::string_view key) const {
        const nlohmann::json* v = o.find(key);
        if (v != nullptr && v->is_object()) v = io::json_object(*v, o.file(), std::string(key)).find("content");
        return v != nullptr && v->is_string() ? id_of(view(*v)) : -1;
    }

    void read_special_ids(const io::json_object& m, const io::json_object* config) {
        if (source.model == model_kind::unigram) {
            source.unknown = m.get<token_id>("unk_id").value_or(-1);
            if (source.unknown >= 0 && static_cast<std::size_t>(source.unknown) >= tokens_.size())
                m.refuse("unk_id", "an id of the vocabulary");
        } else if (const auto unknown = m.get<std::string>("unk_token"); unknown && !unknown->empty()) {
            source.unknown = id_of(*unknown);
            if (source.unknown < 0 && source.model != model_kind::bpe) m.refuse("unk_token", "a token of the vocabulary");
        }
        auto& steps = steps_.steps;
        if (config != nullptr) {
            source.bos = named(*config, "bos_token");
            source.eos = named(*config, "eos_token");
            // What the template does not do, and what it does although the configuration says no.
            const auto add_bos = config->get<bool>("add_bos_token"), add_eos = config->get<bool>("add_eos_token");
            source.add_bos = add_bos.value_or(false) && source.bos >= 0;
            source.add_eos = add_eos.value_or(false) && source.eos >= 0;
            if (add_bos == false && steps.before == std::vector{source.bos}) steps.before.clear();
            if (add_eos == false && steps.after == std::vector{source.eos}) steps.after.clear();
        }
        if (source.bos < 0 && steps.before.size() == 1) source.bos = steps.before[0];
        if (source.eos < 0 && steps.after.size() == 1) source.eos = steps.after[0];
    }

    const io::json_object& file_;
    json_steps steps_;
    std::vector<std::string_view> tokens_;
    std::vector<merge_text> merge_pairs_;
    std::vector<std::uint8_t> in_model_;
    std::vector<std::int32_t> kinds_;
    std::vector<double> scores_;
    std::vector<added_token> added_;
    std::vector<bool> special_;  // of each added token
    std::vector<std::unique_ptr<std::string>> texts_;
};

}  // namespace skald::text::detail
