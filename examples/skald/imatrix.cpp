// SPDX-License-Identifier: MIT
// imatrix: the mean squares of the inputs of a model's matrices over a text.
#include <algorithm>
#include <string>
#include <vector>

#include <skald/backend/cpu/cpu.hpp>
#include <skald/core/error.hpp>
#include <skald/core/thread_pool.hpp>
#include <skald/io/gguf.hpp>
#include <skald/kv/codec.hpp>
#include <skald/kv/contiguous.hpp>
#include <skald/model/forward.hpp>
#include <skald/model/load.hpp>
#include <skald/quantize/observed.hpp>

#include "commands.hpp"
#include "terminal.hpp"

namespace cli {

void imatrix(const imatrix_command& c) {
    using backend = skald::quantize::observed<skald::cpu<>>;
    constexpr std::size_t logits_every = 8;  // rows of which the head's inputs are seen

    const interruptible work;
    const std::string text = read_all(c.file);
    const skald::io::gguf_file file = skald::io::gguf_file::open(c.model.path);
    skald::thread_pool pool(c.model.threads);
    progress_bar bar("reading");
    const auto model = skald::load_model<backend>(file, {.pool = &pool, .compute = c.model.compute, .stop = work.token()});

    const auto& tokenizer = model.tokenizer();
    std::vector<skald::token_id> tokens = tokenizer.encode(text, {.add_bos = tokenizer.add_bos()});
    const std::size_t length = std::min(c.context, tokens.size());
    if (length < 4) skald::fail(skald::errc::invalid_argument, c.file, "has ", tokens.size(), " tokens; at least 4 are needed");
    const std::size_t chunks = std::min(tokens.size() / length, c.chunks);

    std::vector<std::size_t> wanted;
    for (std::size_t i = logits_every - 1; i < length; i += logits_every) wanted.push_back(i);
    auto cache = skald::kv::contiguous<skald::kv::f32>{{.tokens = length}}.make(model.config().cache(), model.backend().memory());
    skald::workspace<backend> workspace(model.backend(), model.architecture(), model.config(), {.rows = length, .wanted = wanted.size()});
    std::vector<float> logits((skald::checked_size(wanted.size(), "logits") * model.config().vocabulary).size());
    const auto sequence = cache.open();
    for (std::size_t i = 0; i < chunks; ++i) {
        const auto chunk = std::span(tokens).subspan(i * length, length);
        if (tokenizer.add_bos()) chunk[0] = tokenizer.bos();
        const skald::kv::segment segment{sequence, 0, length};
        skald::forward(model, workspace, cache, {.tokens = chunk, .segments = {&segment, 1}, .wanted = wanted},
                       skald::matrix_view<float>(logits.data(), {wanted.size(), model.config().vocabulary}), work.token());
        cache.truncate(sequence, 0);
        bar.show(i + 1, chunks);
    }
    bar.clear();

    const auto importance = skald::quantize::importance_of_model(model, file);
    importance.write(c.out,
                     {.text = c.file, .chunks = static_cast<std::uint32_t>(chunks), .chunk_tokens = static_cast<std::uint32_t>(length)});
    write(skald::concat(importance.size(), " tensors over ", chunks * length, " tokens\n"));
}

}  // namespace cli
