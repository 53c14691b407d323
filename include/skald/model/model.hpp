// SPDX-License-Identifier: MIT
#pragma once
// A loaded model: a cheap, shared, immutable handle to config, weights and tokenizer. Any number of pipelines, on any number of
// threads, use one model; the last handle frees it.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <skald/backend/ops.hpp>
#include <skald/core/error.hpp>
#include <skald/core/logger.hpp>
#include <skald/model/generation_defaults.hpp>
#include <skald/model/load_options.hpp>
#include <skald/model/weights.hpp>
#include <skald/text/chat_format.hpp>
#include <skald/text/tokenizer.hpp>

namespace skald {

/// A model's text side: absent where the file has no tokenizer or one this version does not know.
struct text_side {
    text::tokenizer tokenizer;
    text::chat_format chat;
};

template <class Backend>
class model {
    static_assert(skald::backend<Backend>,
                  "skald: a model runs on a backend, as load_model<cpu<>>(path); its cache is chosen later, by a pipeline");

public:
    /// What a loader puts together.
    struct parts {
        Backend backend;
        const skald::architecture* architecture;
        model_config config;
        model_weights<Backend> weights;
        std::optional<text_side> text;
        std::string no_text;  ///< why there is no text side
        generation_defaults defaults;
        std::string file;
        std::uint64_t identity;
        skald::logger logger;
        std::shared_ptr<const void> open_file;  ///< what matrices that were not copied lie in; null: all were
    };

    using backend_type = Backend;

    explicit model(parts p) : parts_(std::make_shared<const parts>(std::move(p))) {}

    const Backend& backend() const noexcept { return parts_->backend; }
    const skald::architecture& architecture() const noexcept { return *parts_->architecture; }
    const model_config& config() const noexcept { return parts_->config; }
    const model_weights<Backend>& weights() const noexcept { return parts_->weights; }
    const std::string& file() const noexcept { return parts_->file; }
    /// Stands for weights and hyperparameters (model/identity.hpp).
    std::uint64_t identity() const noexcept { return parts_->identity; }
    /// How the model's makers want it to be sampled.
    const generation_defaults& defaults() const noexcept { return parts_->defaults; }
    /// True for tokens that end a text.
    bool is_end(token_id id) const noexcept { return defaults().is_end(id) || (parts_->text && parts_->text->tokenizer.is_end(id)); }
    /// The bytes of a token; none for one that the model can give and its tokenizer does not know: folders often pad their vocabulary.
    std::string_view piece(token_id id) const {
        const text::tokenizer& t = tokenizer();
        return id >= 0 && static_cast<std::size_t>(id) >= t.size() && static_cast<std::size_t>(id) < config().vocabulary
                   ? std::string_view()
                   : t.piece(id);
    }
    bool has_tokenizer() const noexcept { return parts_->text.has_value(); }

    /// Throws errc::unsupported, saying why, when the model has no tokenizer this version knows.
    const text::tokenizer& tokenizer() const { return text_or_throw().tokenizer; }
    /// As tokenizer().
    const text::chat_format& chat() const { return text_or_throw().chat; }

    /// Hands a line to the host's logger, if it gave one.
    void log(log_level level, std::string_view line) const {
        if (parts_->logger) parts_->logger(level, line);
    }

private:
    const text_side& text_or_throw() const {
        if (!parts_->text) fail(errc::unsupported, parts_->file, parts_->no_text);
        return *parts_->text;
    }

    std::shared_ptr<const parts> parts_;
};

}  // namespace skald
